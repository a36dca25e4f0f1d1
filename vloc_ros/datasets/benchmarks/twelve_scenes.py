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

"""12-Scenes (Valentin et al., Learning to Navigate the Energy Landscape, 2016).

A scene such as `apt1/kitchen` holds `data` with `frame-000000.color.jpg` and `frame-000000.pose.txt`, the 4x4 matrix
of map_from_camera; `info.txt` with the calibration; and `split.txt`, whose first row gives the number of frames of the
test sequence: `sequence0 [frames=357] [start=0 ; end=356]`. All frames after it are for the map. Frames whose pose is
INF are left out. Of a copy with fewer frames, those of the test are told by their numbers.
"""

from __future__ import annotations

import re
from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.datasets.benchmarks.scene import BenchmarkScene, query_of, require
from vloc_ros.datasets.benchmarks.seven_scenes import read_pose_file, scale_cameras
from vloc_ros.datasets.benchmarks.sfm_poses import read_sfm_scene
from vloc_ros.datasets.posed_files import PosedFile
from vloc_ros.storage.text import integer_of, number_of, read_text

SCENES = (
    *("apt1/kitchen", "apt1/living", "apt2/bed", "apt2/kitchen", "apt2/living", "apt2/luke"),
    *("office1/gates362", "office1/gates381", "office1/lounge", "office1/manolis", "office2/5a", "office2/5b"),
)
SOURCE = "http://graphics.stanford.edu/projects/reloc/"
_FRAMES = re.compile(r"\[frames=(\d+)\]")


def read_scene(root: Path, name: str, *, sfm_poses: Path | None = None) -> BenchmarkScene:
    """A scene, by its own poses or by those of structure from motion; smaller images than the published are scaled.

    Raises:
        MissingDataError: a part of it is not there.
        InputError: a file is not as published.
    """
    folder = require(root / name, source=SOURCE)
    camera = _read_camera(require(folder / "info.txt", source=SOURCE))
    if sfm_poses is not None:
        return read_sfm_scene(sfm_poses, folder, name=name.replace("/", "_"), width=camera.width)
    tests = _count_tests(require(folder / "split.txt", source=SOURCE))
    paths = sorted(require(folder / "data", source=SOURCE).glob("frame-*.color.jpg"))
    of_test = [path for path in paths if _number(path) < tests]
    if not 0 < len(of_test) < len(paths):
        raise InputError(
            f"{folder}: has {len(paths)} frames, of which split.txt gives {tests} to the test, expected some for the "
            "test and some for the map; copy it again"
        )
    files = [_read_frame(folder, path, camera) for path in paths]
    count = len(of_test)
    found = [[file for file in part if file is not None] for part in (files[:count], files[count:])]
    queries, map_files = (scale_cameras(part) for part in found)
    return BenchmarkScene(name, map_files, [query_of(file) for file in queries], files.count(None))


def _number(path: Path) -> int:
    """357 of frame-000357.color.jpg."""
    number = path.name.removeprefix("frame-").partition(".")[0]
    if not number.isdigit():
        raise InputError(f"{path}: its name has no number, expected frame-000000.color.jpg and so on; move it away")
    return int(number)


def _read_frame(folder: Path, path: Path, camera: Camera) -> PosedFile | None:
    pose = read_pose_file(path.with_name(path.name.replace(".color.jpg", ".pose.txt")), source=SOURCE)
    return None if pose is None else PosedFile(path.relative_to(folder).as_posix(), path, camera, pose)


def _count_tests(path: Path) -> int:
    found = _FRAMES.search(read_text(path))
    if found is None:
        raise InputError(
            f"{path}: has no [frames=N], expected a row such as sequence0 [frames=357] [start=0 ; end=356]"
        )
    return int(found[1])


def _read_camera(path: Path) -> Camera:
    """The calibration of the colour images, in ROS's pixel convention there."""
    rows = [line.partition("=") for line in read_text(path).splitlines()]
    values = {name.strip(): value.split() for name, _, value in rows}
    try:
        matrix = [number_of(word) for word in values["m_calibrationColorIntrinsic"]]
        k = [matrix[4 * row + column] for row in range(3) for column in range(3)]
        width, height = (integer_of(values[name][0]) for name in ("m_colorWidth", "m_colorHeight"))
        return Camera.from_ros("plumb_bob", width, height, k, [])
    except (KeyError, IndexError, ValueError):
        raise InputError(
            f"{path}: has no m_colorWidth, m_colorHeight and m_calibrationColorIntrinsic, expected the info.txt of a "
            "scene"
        ) from None
