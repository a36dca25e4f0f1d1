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

"""Aachen Day-Night, v1 and v1.1 (Sattler et al., Benchmarking 6DOF Outdoor Visual Localization, 2018).

The root holds `images_upright` or `images/images_upright`, or parts of the images in each as the archives of v1 and of
v1.1 are unpacked, with `db`, `query` and `sequences`; `3D-models`: of v1.1 the COLMAP model `aachen_v_1_1`, of v1
`aachen_cvpr2018_db.nvm` and `database_intrinsics.txt`, there or in `aachen_v_1`; and in `queries` the lists
`day_time_queries_with_intrinsics.txt` and `night_...`, rows `IMAGE MODEL WIDTH HEIGHT PARAMS`. v1.1 has more queries at
night; where both lists were kept, its own is `night_time_queries_with_intrinsics_v1_1.txt`. The true poses of the
queries are on the server of https://www.visuallocalization.net alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.benchmarks.nvm import read_nvm
from vloc_ros.datasets.benchmarks.scene import (
    BenchmarkQuery,
    BenchmarkScene,
    MissingDataError,
    refuse_sfm_poses,
    require,
    require_below_any,
)
from vloc_ros.datasets.posed_files import PosedFile
from vloc_ros.storage.colmap_models import read_colmap_images
from vloc_ros.storage.text import integer_of, naming_file, number_of, read_text

SCENES = ("aachen",)
SOURCE = "https://www.visuallocalization.net/datasets/"
_NVM, _INTRINSICS = "aachen_cvpr2018_db.nvm", "database_intrinsics.txt"
_GROUPS = ("day", "night")
_LIST = "{}_time_queries_with_intrinsics{}.txt"


def read_scene(root: Path, name: str, *, sfm_poses: Path | None = None) -> BenchmarkScene:
    """The database images with their poses, and the queries of day and night.

    Raises:
        MissingDataError: a part of it is not there.
        InputError: a file is not as published, or other poses are given, of which none are published.
    """
    refuse_sfm_poses(sfm_poses, "Aachen")
    folders = [folder for folder in (root / "images_upright", root / "images" / "images_upright") if folder.is_dir()]
    folders = folders or [require(root / "images" / "images_upright", source=SOURCE)]
    models, lists = (require(root / name, source=SOURCE) for name in ("3D-models", "queries"))
    inner = sorted(path.parent for path in models.glob("*/images.*"))
    nvm = next((path for path in (models / _NVM, models / "aachen_v_1" / _NVM) if path.is_file()), None)
    if nvm is not None and not inner:
        files = _read_nvm_database(nvm)
    else:
        files = [(one.name, one.camera, one.world_from_camera) for one in read_colmap_images((inner or [models])[0])]
    map_files = [
        PosedFile(name, require_below_any(folders, name, source=SOURCE), camera, pose) for name, camera, pose in files
    ]
    return BenchmarkScene(name, map_files, _read_queries(lists, folders, newer=bool(inner)))


def _read_nvm_database(nvm: Path) -> list[tuple[str, Camera, Pose]]:
    """Name, calibration and pose of the database images of v1."""
    intrinsics = require(nvm.with_name(_INTRINSICS), source=SOURCE)
    known = {_below_db(name): camera for name, camera in _read_intrinsics(intrinsics).items()}
    found = read_nvm(nvm)
    if (missing := next((name for name in found if _below_db(name) not in known), None)) is not None:
        raise InputError(f"{intrinsics}: has no {missing}, expected every image of {_NVM}")
    return [(name, known[_below_db(name)], image.world_from_camera) for name, image in found.items()]


def _below_db(name: str) -> str:
    """Names of one image differ by a leading `./`."""
    return Path(name).as_posix()


def _read_queries(lists: Path, folders: Sequence[Path], *, newer: bool) -> list[BenchmarkQuery]:
    """The queries of day and night; of v1.1 by its own list where that is kept beside the one of v1."""
    queries = list[BenchmarkQuery]()
    for group in _GROUPS:
        names = [_LIST.format(group, suffix) for suffix in (("_v1_1", "") if newer else ("",))]
        path = next((lists / name for name in names if (lists / name).is_file()), None)
        if path is not None:
            queries += [
                BenchmarkQuery(name, require_below_any(folders, name, source=SOURCE), camera, group=group)
                for name, camera in _read_intrinsics(path).items()
            ]
    if not queries:
        raise MissingDataError(f"{lists}: holds no {_LIST.format('day', '')} or night_..., expected those of {SOURCE}")
    return queries


def _read_intrinsics(path: Path) -> dict[str, Camera]:
    """Calibrations by image: rows `IMAGE MODEL WIDTH HEIGHT PARAMS`, as COLMAP's cameras have them."""
    cameras = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        with naming_file(path, line=number):
            try:
                name, model, width, height, *parameters = words
                cameras[name] = Camera(model, integer_of(width), integer_of(height), tuple(map(number_of, parameters)))
            except ValueError:
                raise InputError(f"found {line!r}, expected IMAGE MODEL WIDTH HEIGHT PARAMS") from None
    return cameras
