# Copyright 2026 vloc_ros maintainers
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""7-Scenes (Shotton et al., Scene Coordinate Regression Forests, 2013).

The archive of a scene holds those of its sequences, `chess/seq-01.zip`, which are to be unpacked too. A scene holds
`TrainSplit.txt` and `TestSplit.txt` with rows such as `sequence1`, and sequences `seq-01` with
`frame-000000.color.png` and `frame-000000.pose.txt`, the 4x4 matrix of map_from_camera. The published focal length,
585, is that of the depth camera; colour images are used with 525, as by DSAC* and in the comparisons of Brachmann et
al. (2021), whose structure from motion finds 526 for chess. Poses are those of the depth camera, to which the colour
images are not registered; as in these comparisons, they are taken for the colour camera's.
"""

from __future__ import annotations

import re
from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.benchmarks.scene import BenchmarkScene, query_of, require
from vloc_ros.datasets.benchmarks.sfm_poses import read_sfm_scene
from vloc_ros.datasets.posed_files import PosedFile
from vloc_ros.storage.images import read_image
from vloc_ros.storage.text import number_of, read_text
from vloc_ros.storage.trajectory_formats import pose_from_matrix

SCENES = ("chess", "fire", "heads", "office", "pumpkin", "redkitchen", "stairs")
SOURCE = "https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes/"
_CAMERA = Camera("SIMPLE_PINHOLE", 640, 480, (525.0, 320.0, 240.0))
# what recorders write in place of a pose that was lost, also as Windows spells it
_NO_NUMBER = re.compile(r"inf|nan|ind", re.IGNORECASE)


def read_scene(root: Path, name: str, *, sfm_poses: Path | None = None) -> BenchmarkScene:
    """A scene, by its own poses or by those of structure from motion; smaller images than the published are scaled.

    Raises:
        MissingDataError: a part of it is not there.
        InputError: a file is not as published.
    """
    folder = require(root / name, source=SOURCE)
    if sfm_poses is not None:
        return read_sfm_scene(sfm_poses, folder, name=name, width=_CAMERA.width)
    parts, left_out = [], 0
    for split in ("TrainSplit.txt", "TestSplit.txt"):
        paths = [
            path
            for sequence in _read_split(require(folder / split, source=SOURCE))
            for path in sorted(require(folder / sequence, source=SOURCE).glob("frame-*.color.png"))
        ]
        if not paths:
            raise InputError(f"{folder}: the sequences of {split} hold no frame-*.color.png; unpack their zip files")
        files = [file for path in paths if (file := _read_frame(folder, path)) is not None]
        left_out += len(paths) - len(files)
        parts.append(scale_cameras(files))
    return BenchmarkScene(name, parts[0], [query_of(file) for file in parts[1]], left_out)


def _read_split(path: Path) -> list[str]:
    """The folders of its sequences: `sequence1` is `seq-01`."""
    numbers = [re.fullmatch(r"sequence(\d+)", line.strip()) for line in read_text(path).split()]
    if not numbers or None in numbers:
        raise InputError(f"{path}: holds {read_text(path)[:40]!r}, expected rows such as sequence1")
    return [f"seq-{int(number[1]):02d}" for number in numbers if number]


def _read_frame(folder: Path, path: Path) -> PosedFile | None:
    pose = read_pose_file(path.with_name(path.name.replace(".color.png", ".pose.txt")), source=SOURCE)
    return None if pose is None else PosedFile(path.relative_to(folder).as_posix(), path, _CAMERA, pose)


def read_pose_file(path: Path, *, source: str) -> Pose | None:
    """The pose of a file with a 4x4 matrix of map_from_camera; None where the recorder had lost it.

    Raises:
        MissingDataError: it is not there.
        InputError: it holds no such matrix.
    """
    text = read_text(require(path, source=source))
    if _NO_NUMBER.search(text):
        return None
    try:
        return pose_from_matrix([number_of(word) for word in text.split()])
    except ValueError as error:
        raise InputError(f"{path}: {error}, expected numbers") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def scale_cameras(files: list[PosedFile]) -> list[PosedFile]:
    """Files of one camera, with its calibration for the size that their images have: many keep smaller copies."""
    if not files:
        return files
    height, width = read_image(files[0].path).shape[:2]
    camera = files[0].camera
    if (width, height) == (camera.width, camera.height):
        return files
    scaled = camera.scaled(width, height)
    return [PosedFile(file.name, file.path, scaled, file.map_from_camera) for file in files]
