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

"""Cambridge Landmarks (Kendall, Grimes and Cipolla, PoseNet, 2015).

A scene holds `dataset_train.txt` and `dataset_test.txt`, with three lines above rows `seq1/frame00001.png X Y Z W P Q
R`: the position of the camera and the quaternion w x y z of camera_from_world; the images, 1920x1080 or upright; and
`reconstruction.nvm`, which has their focal lengths under names that end with .jpg.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.datasets.benchmarks.nvm import NvmImage, pose_from_centre, read_nvm
from vloc_ros.datasets.benchmarks.scene import (
    BenchmarkScene,
    query_of,
    refuse_sfm_poses,
    require,
    require_below,
)
from vloc_ros.datasets.posed_files import PosedFile
from vloc_ros.storage.images import read_image
from vloc_ros.storage.text import naming_file, numbers_of, read_text

SCENES = ("GreatCourt", "KingsCollege", "OldHospital", "ShopFacade", "StMarysChurch")
SOURCE = "http://mi.eng.cam.ac.uk/projects/relocalisation/"
_HEADER_LINES = 3
# longer side of the published images, which the focal lengths are of; images that were made smaller keep the whole view
_LONGER_SIDE = 1920
_COLUMNS = 8
# cameras that the reconstruction has thrown far away; DSAC* leaves them out too
_FARTHEST_M = 10_000.0


def read_scene(root: Path, name: str, *, sfm_poses: Path | None = None) -> BenchmarkScene:
    """A scene; images that the reconstruction lacks, or has thrown far away, are left out.

    Raises:
        MissingDataError: a part of it is not there.
        InputError: a file is not as published, or other poses are given, of which none are published.
    """
    refuse_sfm_poses(sfm_poses, "Cambridge Landmarks")
    folder = require(root / name, source=SOURCE)
    model = read_nvm(require(folder / "reconstruction.nvm", source=SOURCE))
    images = {Path(image).with_suffix("").as_posix(): found for image, found in model.items()}
    parts, left_out = [], 0
    for split in ("dataset_train.txt", "dataset_test.txt"):
        files = _read_split(require(folder / split, source=SOURCE), folder, images)
        parts.append([file for file in files if file is not None])
        left_out += files.count(None)
    return BenchmarkScene(name, parts[0], [query_of(file) for file in parts[1]], left_out)


def _read_split(path: Path, folder: Path, images: dict[str, NvmImage]) -> list[PosedFile | None]:
    files: list[PosedFile | None] = []
    sizes = dict[Path, tuple[int, int]]()
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if number <= _HEADER_LINES or not words:
            continue
        with naming_file(path, line=number):
            if len(words) != _COLUMNS:
                raise InputError(f"{len(words)} columns, expected 8: IMAGE X Y Z W P Q R")
            values = numbers_of(words[1:])
            pose = pose_from_centre(values[3:], values[:3])
        image = images.get(Path(words[0]).with_suffix("").as_posix())
        if image is None or np.abs(pose.translation).max() > _FARTHEST_M:
            files.append(None)
            continue
        file = require_below(folder, words[0], source=SOURCE)
        # images of a sequence are of one size; there are too many to open them all
        if file.parent not in sizes:
            height, width = read_image(file).shape[:2]
            sizes[file.parent] = width, height
        size = sizes[file.parent]
        scaled = replace(image, focal_px=image.focal_px * max(size) / _LONGER_SIDE)
        files.append(PosedFile(words[0], file, scaled.camera(*size), pose))
    return files
