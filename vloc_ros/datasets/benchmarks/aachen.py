"""Aachen Day-Night, v1 and v1.1 (Sattler et al., Benchmarking 6DOF Outdoor Visual Localization, 2018).

The root holds `images_upright` (v1: `images/images_upright`) with `db` and `query`; `3D-models`: of v1.1 the COLMAP
model `aachen_v_1_1`, of v1 `aachen_cvpr2018_db.nvm` and `database_intrinsics.txt`; and in `queries` the lists
`day_time_queries_with_intrinsics.txt` and `night_...`, rows `IMAGE MODEL WIDTH HEIGHT PARAMS`. The true poses of the
queries are on the server of https://www.visuallocalization.net alone.
"""

from __future__ import annotations

from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.datasets.benchmarks.nvm import read_nvm
from vloc_ros.datasets.benchmarks.scene import BenchmarkQuery, BenchmarkScene, MissingDataError, require, require_below
from vloc_ros.datasets.posed_files import PosedFile
from vloc_ros.storage.colmap_models import read_colmap_images
from vloc_ros.storage.text import read_text

SCENES = ("aachen",)
SOURCE = "https://www.visuallocalization.net/datasets/"
_NVM, _INTRINSICS = "aachen_cvpr2018_db.nvm", "database_intrinsics.txt"
_LISTS = "*_time_queries_with_intrinsics.txt"


def read_scene(root: Path, name: str, *, sfm_poses: Path | None = None) -> BenchmarkScene:
    """The database images with their poses, and the queries of day and night.

    Raises:
        MissingDataError: a part of it is not there.
        InputError: a file is not as published, or other poses are given, of which none are published.
    """
    if sfm_poses is not None:
        raise InputError("the poses of Aachen are by structure from motion already; leave out --sfm-poses")
    images = root / "images_upright"
    if not images.is_dir():
        images = require(root / "images" / "images_upright", source=SOURCE)
    lists = sorted(require(root / "queries", source=SOURCE).glob(_LISTS))
    if not lists:
        raise MissingDataError(f"{root}/queries: holds no {_LISTS}, expected those of {SOURCE}")
    queries = [query for path in lists for query in _read_queries(path, images)]
    map_files = _read_database(require(root / "3D-models", source=SOURCE), images)
    return BenchmarkScene(name, map_files, queries)


def _read_database(models: Path, images: Path) -> list[PosedFile]:
    nvm, inner = models / _NVM, sorted(path.parent for path in models.glob("*/images.*"))
    if nvm.is_file() and not inner:
        cameras = _read_intrinsics(require(models / _INTRINSICS, source=SOURCE))
        known = {_below_db(name): camera for name, camera in cameras.items()}
        files = [(name, known.get(_below_db(name)), found.world_from_camera) for name, found in read_nvm(nvm).items()]
    else:
        files = [
            (one.name, one.camera, one.world_from_camera) for one in read_colmap_images(inner[0] if inner else models)
        ]
    found = []
    for name, camera, pose in files:
        if camera is None:
            raise InputError(f"{models / _INTRINSICS}: has no {name}, expected every image of {_NVM}")
        found.append(PosedFile(name, require_below(images, name, source=SOURCE), camera, pose))
    return found


def _below_db(name: str) -> str:
    """Names of one image differ by a leading `./`."""
    return Path(name).as_posix()


def _read_queries(path: Path, images: Path) -> list[BenchmarkQuery]:
    group = path.name.partition("_")[0]
    return [
        BenchmarkQuery(name, require_below(images, name, source=SOURCE), camera, group=group)
        for name, camera in _read_intrinsics(path).items()
    ]


def _read_intrinsics(path: Path) -> dict[str, Camera]:
    """Calibrations by image: rows `IMAGE MODEL WIDTH HEIGHT PARAMS`, as COLMAP's cameras have them."""
    cameras = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            name, model, width, height, *parameters = words
            cameras[name] = Camera(model, int(width), int(height), tuple(float(value) for value in parameters))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        except ValueError:
            raise InputError(
                f"{path}, line {number}: found {line!r}, expected IMAGE MODEL WIDTH HEIGHT PARAMS"
            ) from None
    return cameras
