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

"""A folder of images to localize or to build a map from, its times, true poses and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedImage, QuerySource
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.pose_files import pair_poses, stamps_in_names
from vloc_ros.storage.text import naming_file

_FOCAL_OVER_WIDTH = 0.9


def make_query_sources(
    paths: Sequence[Path], stamps_ns: Sequence[int | None] | None, camera: Camera | None
) -> list[QuerySource]:
    """One query per image, read when it is needed; without a time it is at 0, without a camera see `guess_camera`."""
    times = [stamp_ns or 0 for stamp_ns in stamps_ns or [None] * len(paths)]
    pairs = zip(paths, times, strict=True)
    return [QuerySource(path.name, partial(_read_query, path, stamp, camera), stamp) for path, stamp in pairs]


def _read_query(path: Path, stamp_ns: int, camera: Camera | None) -> Query:
    image = read_image(path)
    with naming_file(path):
        return Query.single(image, camera or guess_camera(*image.shape[1::-1]), stamp_ns=stamp_ns)


def guess_camera(width: int, height: int) -> Camera:
    """A pinhole with focal length 0.9 x width: for negatives, of which no calibration is known."""
    return Camera("SIMPLE_PINHOLE", width, height, (_FOCAL_OVER_WIDTH * width, width / 2, height / 2))


def stamps_of(paths: Sequence[Path]) -> list[int] | None:
    """The times in the names of images in nanoseconds; None unless all have one."""
    return stamps_in_names([path.name for path in paths])


def list_posed_paths(
    folder: Path, poses_file: Path, *, within_ns: int | None = None
) -> list[tuple[Path, int | None, Pose]]:
    """The images of a folder, each with its time and pose, in the order of time; see `pair_poses` for `within_ns`.

    Raises:
        InputError: the folder holds no image, or the poses do not fit them.
    """
    paths = list_images(folder)
    paired = pair_poses([path.name for path in paths], poses_file, within_ns=within_ns)
    return [(paths[one.index], one.stamp_ns, one.pose) for one in paired]


def list_posed_images(folder: Path, camera: Camera, *, poses_file: Path | None) -> list[PosedImage]:
    """The images of a folder to build or extend a map from, read when they are needed.

    Raises:
        InputError: the folder holds no image, or the poses do not fit them.
    """
    if poses_file is None:
        paths = list_images(folder)
        return [PosedImage(path.name, partial(read_image, path), camera) for path in paths]
    return [
        PosedImage(path.name, partial(read_image, path), camera, pose, stamp_ns or 0)
        for path, stamp_ns, pose in list_posed_paths(folder, poses_file)
    ]
