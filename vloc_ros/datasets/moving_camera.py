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

"""The images of a moving camera with its odometry, and with truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.up_axis import check_up_axis
from vloc_ros.storage.images import list_images
from vloc_ros.storage.pose_files import SAME_TIME_NS, ImagePose, list_unpaired_rows, pair_poses

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class MovingImages:
    """Images in the order of time.

    Attributes:
        paths: of the images.
        odom_from_camera: pose of the optical frame of each, in a frame whose z axis points up.
        notes: on images and rows that were left out, and on poses that are odd.
    """

    paths: tuple[Path, ...]
    odom_from_camera: tuple[Pose, ...]
    notes: tuple[str, ...]


def read_moving_images(folder: Path, odometry: Path, *, z_is_up: bool = False) -> MovingImages:
    """The images of a folder that odometry has a pose of, see `pair_poses`.

    Args:
        folder: of the images.
        odometry: file of the poses.
        z_is_up: the z axis of odometry points up, whatever the poses look like.

    Raises:
        InputError: the folder holds no image, the poses do not fit them, or their z axis does not point up.
    """
    paths = list_images(folder)
    names = [path.name for path in paths]
    paired = pair_poses(names, odometry, within_ns=SAME_TIME_NS)
    poses = tuple(one.pose for one in paired)
    doubt = "" if z_is_up else _check_up_axis(odometry, poses)
    rows = list_unpaired_rows(odometry, names, paired)
    notes = (
        _describe_left_out(f"images in {folder} have no pose in {odometry}", _names_without(names, paired)),
        _describe_left_out(f"rows of {odometry} have no image in {folder}", rows),
        doubt and f"{odometry}: {doubt}",
    )
    return MovingImages(tuple(paths[one.index] for one in paired), poses, tuple(filter(None, notes)))


def read_true_poses(paths: Sequence[Path], truth: Path) -> tuple[list[Pose | None], str]:
    """The true pose of each image, None where the file has none, and a note on these.

    Raises:
        InputError: the file has none of any image, or cannot be read.
    """
    order = sorted(range(len(paths)), key=lambda k: paths[k].name)
    names = [paths[k].name for k in order]
    paired = pair_poses(names, truth, within_ns=SAME_TIME_NS)
    found: list[Pose | None] = [None] * len(paths)
    for one in paired:
        found[order[one.index]] = one.pose
    return found, _describe_left_out(f"images have no pose in {truth}", _names_without(names, paired))


def _check_up_axis(odometry: Path, poses: Sequence[Pose]) -> str:
    try:
        return check_up_axis(poses)
    except InputError as error:
        raise InputError(f"{odometry}: {error}; if it does point up, say so (--z-is-up)") from None


def _names_without(names: Sequence[str], paired: Sequence[ImagePose]) -> list[str]:
    known = {one.index for one in paired}
    return [name for k, name in enumerate(names) if k not in known]


def _describe_left_out(what: str, names: Sequence[str]) -> str:
    """How many there are, and the first of them; empty without any."""
    if not names:
        return ""
    listed = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    return f"{len(names)} {what} and are left out: {listed}"
