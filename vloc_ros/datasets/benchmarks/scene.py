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

"""A scene of a published benchmark: posed images for the map, and images to localize in it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import QuerySource
from vloc_ros.datasets.posed_files import PosedFile, read_query


class MissingDataError(InputError):
    """A part of a benchmark is not on this machine; the message says where it is expected and where it comes from."""


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkQuery:
    """An image to localize.

    Attributes:
        name: below the folder of the scene.
        path: of the file.
        camera: its calibration.
        map_from_camera: its true pose; None where only the benchmark's server has it.
        group: part of the queries that is scored by itself, such as `night`; empty for one part.
    """

    name: str
    path: Path
    camera: Camera
    map_from_camera: Pose | None = None
    group: str = ""

    def to_source(self) -> QuerySource:
        """The image, read when it is needed."""
        return QuerySource(self.name, partial(read_query, self.path, self.camera, 0))


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkScene:
    """A scene.

    Attributes:
        name: of the scene.
        map_files: the published training or database images that have a pose.
        queries: the published test images that have a pose, or whose pose is on the server.
        left_out: number of published images without a pose.
    """

    name: str
    map_files: Sequence[PosedFile]
    queries: Sequence[BenchmarkQuery]
    left_out: int = 0

    def thinned(self, *, map_every: int, query_every: int) -> BenchmarkScene:
        """Every n-th image of the map, and every n-th query."""
        return replace(self, map_files=self.map_files[::map_every], queries=self.queries[::query_every])

    def digests(self) -> dict[str, str]:
        """One of the names, calibrations and poses of the map's images, and one of the queries'."""
        return {"map": _digest(self.map_files), "queries": _digest(self.queries)}


def _digest(images: Sequence[PosedFile] | Sequence[BenchmarkQuery]) -> str:
    digest = hashlib.sha256()
    for image in images:
        pose = None if image.map_from_camera is None else image.map_from_camera.matrix.tolist()
        digest.update(f"{image.name} {image.camera} {pose}\n".encode())
    return digest.hexdigest()


def query_of(file: PosedFile) -> BenchmarkQuery:
    """An image whose true pose is known."""
    return BenchmarkQuery(file.name, file.path, file.camera, file.map_from_camera)


def require(path: Path, *, source: str) -> Path:
    """The path, which must be there.

    Raises:
        MissingDataError: it is not.
    """
    if not path.exists():
        raise MissingDataError(
            f"{path}: is not there, expected the data as it is published at {source}{_explain_packed(path)}"
        )
    return path


def _explain_packed(path: Path) -> str:
    """What to unpack, where the archive that a folder or the file is published in is there; empty without any."""
    for part in (path, *path.parents):
        packed = part.with_name(f"{part.name}.zip") if part.name else part
        if packed.is_file():
            return f"; {packed.name} is there: unzip {packed} -d {packed.parent}"
    return ""


def refuse_sfm_poses(sfm_poses: Path | None, benchmark: str) -> None:
    """Refuse other poses of a benchmark for which none are published.

    Raises:
        InputError: they are given.
    """
    if sfm_poses is not None:
        raise InputError(f"the poses of {benchmark} are by structure from motion already; leave out --sfm-poses")


def require_below_any(folders: Sequence[Path], name: str, *, source: str) -> Path:
    """The same below the first of several folders that has it.

    Raises:
        MissingDataError: none has it.
        InputError: the name leads out of the folder.
    """
    for folder in folders[:-1]:
        if (folder / name).exists():
            return require_below(folder, name, source=source)
    return require_below(folders[-1], name, source=source)


def require_below(folder: Path, name: str, *, source: str) -> Path:
    """A file below a folder by the name that a list gives it, which must be there.

    Raises:
        MissingDataError: it is not.
        InputError: the name leads out of the folder.
    """
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise InputError(f"{folder}: a list names the image {name!r}, expected one below this folder; copy it again")
    return require(folder / name, source=source)
