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

"""Poses of 7-Scenes and 12-Scenes by joint structure from motion of all images.

Brachmann, Humenberger, Rother and Sattler (On the Limits of Pseudo Ground Truth in Visual Camera Re-localisation, 2021)
publish them as `chess_train.txt` and `chess_test.txt`, `apt1_kitchen_train.txt` and so on, with rows `IMAGE qw qx qy qz
tx ty tz f` of camera_from_world and the focal length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.datasets.benchmarks.scene import BenchmarkScene, query_of, require, require_below
from vloc_ros.datasets.posed_files import PosedFile
from vloc_ros.storage.colmap_models import pose_from_wxyz
from vloc_ros.storage.images import read_image
from vloc_ros.storage.text import naming_file, numbers_of, read_text

_SOURCE = "https://github.com/tsattler/visloc_pseudo_gt_limitations (folder pgt/sfm)"
_COLUMNS = 9


def read_sfm_scene(folder: Path, scene_folder: Path, *, name: str, width: int) -> BenchmarkScene:
    """A scene by the poses and focal lengths of these files.

    Args:
        folder: with the files.
        scene_folder: of the images that they name.
        name: of the scene in the names of the files.
        width: of the images that the focal lengths are of.
    """
    parts = [
        _read_files(require(folder / f"{name}_{part}.txt", source=_SOURCE), scene_folder, width)
        for part in ("train", "test")
    ]
    return BenchmarkScene(name, parts[0], [query_of(file) for file in parts[1]])


def _read_files(path: Path, scene_folder: Path, width: int) -> Sequence[PosedFile]:
    files, size = list[PosedFile](), None
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        with naming_file(path, line=number):
            if len(words) != _COLUMNS:
                raise InputError(f"{len(words)} columns, expected 9: IMAGE qw qx qy qz tx ty tz f")
            values = numbers_of(words[1:])
            image = require_below(scene_folder, words[0], source="the pages of the data set")
            size = size or read_image(image).shape[1::-1]
            camera = Camera("SIMPLE_PINHOLE", size[0], size[1], (values[7] * size[0] / width, size[0] / 2, size[1] / 2))
            files.append(PosedFile(words[0], image, camera, pose_from_wxyz(values[:4], values[4:7]).inverse()))
    return sorted(files, key=lambda file: file.name)
