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

"""Which pose of a file is which image's: by the name in its row, by the time or number in the name, or by the row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.pose_forms import form_of, read_named_poses
from vloc_ros.storage.text import naming_file, read_text, split_rows
from vloc_ros.storage.trajectories import Trajectory, read_tum, stamp_from_seconds
from vloc_ros.storage.trajectory_formats import read_kitti_poses

_NANOSECONDS_NAME, _MICROSECONDS_NAME = re.compile(r"[0-8]\d{18}"), re.compile(r"\d{16}")
_SECONDS_NAME = re.compile(r"\d{1,10}\.\d{1,9}")
_SECOND_NS = 1_000_000_000
SAME_TIME_NS = 1_000_000
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class ImagePose:
    """The pose of an image.

    Attributes:
        index: of the image among the names.
        stamp_ns: its time, None where neither the file nor the name has one.
        pose: as the file has it.
    """

    index: int
    stamp_ns: int | None
    pose: Pose


def stamps_in_names(names: Sequence[str]) -> list[int] | None:
    """Nanoseconds from names that are times; None unless all are.

    Such as 1403636579763555584.png, in microseconds 1418381798086398.png, or in seconds 1305031102.175304.jpg.
    """
    files = [Path(name) for name in names]
    stems = [file.stem if file.suffix[1:].isalpha() else file.name for file in files]
    for pattern, to_ns in (
        (_NANOSECONDS_NAME, int),
        (_MICROSECONDS_NAME, lambda stem: 1000 * int(stem)),
        (_SECONDS_NAME, stamp_from_seconds),
    ):
        if all(pattern.fullmatch(stem) for stem in stems):
            return [to_ns(stem) for stem in stems]
    return None


def pair_poses(
    names: Sequence[str], path: Path, *, what: str = "images", within_ns: int | None = None
) -> list[ImagePose]:
    """The pose of every image, in the order of time, or of names where there is no time.

    Rows are TUM's, `t x y z qx qy qz qw`, or begin with the name of an image instead: `IMAGE x y z qx qy qz qw`; or
    they are KITTI's. Rows with times are paired by time where the names are times, by number where all times
    of the file are whole and those of the images are their numbers, and otherwise one by one with the names in their
    order; KITTI's by the number of the row, from 0, or one by one. Rows of no image are left out where names say so.

    Args:
        names: of the images, in name order.
        path: of the file.
        what: the names are of, for messages.
        within_ns: largest difference of the times of an image and of its pose; images without such a pose are left out,
            and a pose is that of the nearest image only. None expects a pose for every image, within a millisecond.

    Raises:
        InputError: the file cannot be read, an image has no pose, or the order of the names is in doubt.
    """
    form = form_of(path)
    if form == "named":
        return _pair_by_name(names, path, read_named_poses(path))
    if form == "kitti":
        return _pair_by_place(names, path, read_kitti_poses(path), what)
    trajectory = read_tum(path)
    stamps_ns = stamps_in_names(names) or _whole_times(names, trajectory)
    if stamps_ns is None:
        return _pair_by_row(names, path, trajectory.poses, trajectory.stamps_ns.tolist(), what)
    return _pair_by_time(names, path, trajectory, stamps_ns, within_ns)


def list_unpaired_rows(path: Path, names: Sequence[str], paired: Sequence[ImagePose]) -> list[str]:
    """What the rows begin with that `pair_poses` paired with no image; of KITTI's, which have no times, their numbers.

    Args:
        path: of the file.
        names: of the images, in name order.
        paired: with rows of the file.
    """
    form = form_of(path)
    if form == "named":
        return [name for name in read_named_poses(path) if name not in set(names)]
    if form == "kitti":
        count, numbers = len(read_kitti_poses(path)), set(_numbers_in_names(names) or ())
        return [] if len(paired) == count else [str(row) for row in range(count) if row not in numbers]
    rows_ns, times_ns = read_tum(path).stamps_ns, np.array(sorted(one.stamp_ns or 0 for one in paired), np.int64)
    earlier = np.searchsorted(times_ns, rows_ns - SAME_TIME_NS, side="left")
    not_later = np.searchsorted(times_ns, rows_ns + SAME_TIME_NS, side="right")
    return [f"{stamp_ns / _SECOND_NS:.6f}" for stamp_ns in rows_ns[earlier == not_later].tolist()]


def _whole_times(names: Sequence[str], trajectory: Trajectory) -> list[int] | None:
    """The numbers in the names as seconds; None unless all times are whole, and those of the images among them."""
    numbers = _numbers_in_names(names)
    if numbers is None or (trajectory.stamps_ns % _SECOND_NS).any():
        return None
    stamps_ns = [_SECOND_NS * number for number in numbers]
    return stamps_ns if set(stamps_ns) <= set(trajectory.stamps_ns.tolist()) else None


def poses_at(stamps_ns: Sequence[int], path: Path, *, within_ns: int) -> tuple[list[Pose | None], bool]:
    """The pose at each time, None where there is none so near, and whether they were paired by row instead.

    Rows without times are those of a recording's images one by one. So are rows with times, if they are as many and
    none is near any image: their clock is another.

    Args:
        stamps_ns: times of all images of a recording.
        path: of the file.
        within_ns: largest difference.

    Raises:
        InputError: the file cannot be read, or no pose is near and there is not one for each image.
    """
    form = form_of(path)
    if form == "named":
        raise InputError(f"{path}: its rows begin with names of images, expected times: images of a bag have no names")
    poses: Sequence[Pose]
    if form == "kitti":
        poses, apart = read_kitti_poses(path), "KITTI's poses have no times"
    else:
        trajectory = read_tum(path)
        poses, rows = trajectory.poses, _nearest_rows(trajectory, stamps_ns, within_ns)
        if any(row is not None for row in rows):
            return [None if row is None else poses[row] for row in rows], False
        apart = f"none is within {within_ns / _SECOND_NS:g} s of an image"
    if len(poses) != len(stamps_ns):
        raise InputError(
            f"{path}: has {len(poses)} poses, the bag {len(stamps_ns)} images; {apart}, expected one each, in order"
        )
    return list(poses), True


def _nearest_rows(trajectory: Trajectory, stamps_ns: Sequence[int], within_ns: int) -> list[int | None]:
    """The row nearest to each time; None where none is so near, or it is nearer to another of the times."""
    nearest = [int(np.abs(trajectory.stamps_ns - stamp_ns).argmin()) for stamp_ns in stamps_ns]
    apart_ns = [abs(int(trajectory.stamps_ns[row]) - stamp) for row, stamp in zip(nearest, stamps_ns, strict=True)]
    least_ns = dict[int, int]()
    for row, apart in zip(nearest, apart_ns, strict=True):
        least_ns[row] = min(apart, least_ns.get(row, within_ns))
    return [row if apart <= least_ns[row] else None for row, apart in zip(nearest, apart_ns, strict=True)]


def read_times(path: Path, names: Sequence[str]) -> list[int]:
    """The time of each image in nanoseconds: the first column of a file with one row per image, in name order.

    Raises:
        InputError: the file cannot be read, has another count, a row begins with no time, or the times do not increase.
    """
    rows = list(split_rows(read_text(path)))
    if len(rows) != len(names):
        raise InputError(f"{path}: holds {len(rows)} times, expected one for each of {len(names)} images in name order")
    _check_order(names, path)
    stamps_ns = list[int]()
    for number, words in rows:
        with naming_file(path, line=number):
            stamps_ns.append(stamp_from_seconds(words[0]))
    if any(later <= earlier for earlier, later in pairwise(stamps_ns)):
        raise InputError(f"{path}: its times do not increase from row to row; sort it by time")
    return stamps_ns


def _pair_by_name(names: Sequence[str], path: Path, poses: Mapping[str, Pose]) -> list[ImagePose]:
    _check_all_posed(path, [name for name in names if name not in poses], len(names))
    stamps_ns = stamps_in_names(names)
    paired = [ImagePose(i, stamps_ns[i] if stamps_ns else None, poses[name]) for i, name in enumerate(names)]
    return sorted(paired, key=lambda one: one.stamp_ns or 0)


def _pair_by_time(
    names: Sequence[str], path: Path, trajectory: Trajectory, stamps_ns: Sequence[int], within_ns: int | None
) -> list[ImagePose]:
    """By time; where that may leave images out, not all of them."""
    poses = trajectory.poses
    found = _nearest_rows(trajectory, stamps_ns, SAME_TIME_NS if within_ns is None else within_ns)
    paired = [ImagePose(i, stamps_ns[i], poses[row]) for i, row in enumerate(found) if row is not None]
    if len(paired) < len(names) and (within_ns is None or not paired):
        _refuse_unpaired(
            names, path, trajectory, stamps_ns, [i for i, row in enumerate(found) if row is None], within_ns
        )
    return sorted(paired, key=lambda one: one.stamp_ns or 0)


def _refuse_unpaired(
    names: Sequence[str],
    path: Path,
    trajectory: Trajectory,
    stamps_ns: Sequence[int],
    missing: Sequence[int],
    within_ns: int | None,
) -> NoReturn:
    first = missing[0]
    nearest_ns = int(trajectory.stamps_ns[np.abs(trajectory.stamps_ns - stamps_ns[first]).argmin()])
    limit_ms = (SAME_TIME_NS if within_ns is None else within_ns) / 1e6
    raise InputError(
        f"{path}: has no pose at the time of {names[first]}, {stamps_ns[first] / _SECOND_NS:.6f} s, and of "
        f"{len(missing)} images in all; the nearest is at {nearest_ns / _SECOND_NS:.6f} s, expected within "
        f"{limit_ms:g} ms; interpolate the poses at the times of the images, or move these away"
    )


def _pair_by_place(names: Sequence[str], path: Path, poses: Sequence[Pose], what: str) -> list[ImagePose]:
    """By the number of the row where the names have one that is that of a row, otherwise one by one."""
    stamps_ns: list[int] | list[None] = stamps_in_names(names) or [None] * len(names)
    numbers = _numbers_in_names(names)
    if numbers is None or max(numbers) >= len(poses):
        return _pair_by_row(names, path, poses, stamps_ns, what)
    return [ImagePose(i, stamps_ns[i], poses[number]) for i, number in enumerate(numbers)]


def _pair_by_row(
    names: Sequence[str], path: Path, poses: Sequence[Pose], stamps_ns: Sequence[int | None], what: str
) -> list[ImagePose]:
    if len(poses) != len(names):
        raise InputError(
            f"{path} holds {len(poses)} poses, there are {len(names)} {what}; expected one row for each, in name "
            "order; add the missing rows, move away images that have none, or begin each row with the name of its image"
        )
    _check_order(names, path)
    return [ImagePose(i, stamp_ns, pose) for i, (stamp_ns, pose) in enumerate(zip(stamps_ns, poses, strict=True))]


def _check_order(names: Sequence[str], path: Path) -> None:
    """Refuse to pair rows with names whose order as text is not that of their numbers."""
    last = dict[str, tuple[list[int], str]]()
    for name in names:
        text, numbers = re.sub(r"\d+", "#", name), [int(number) for number in re.findall(r"\d+", name)]
        before, earlier = last.get(text, ([], ""))
        if numbers < before:
            raise InputError(
                f"{path}: its rows may be in the order of names, in which {earlier} comes before {name}, or of their "
                "numbers, expected names for which both are one; number the images with leading zeros, or begin each "
                "row with the name of its image in place of a time"
            )
        last[text] = numbers, name


def _check_all_posed(path: Path, missing: Sequence[str], count: int) -> None:
    if missing:
        listed = ", ".join(missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
        raise InputError(
            f"{path}: has no pose of {len(missing)} of {count} images, {listed}; add their rows, or move them away"
        )


def _numbers_in_names(names: Sequence[str]) -> list[int] | None:
    """The number in each name; None unless the names differ by one number, and by nothing else."""
    parts = [re.split(r"(\d+)", Path(name).stem) for name in names]
    if len({(len(part), *part[::2]) for part in parts}) != 1:
        return None
    varying = [i for i in range(1, len(parts[0]), 2) if len({int(part[i]) for part in parts}) > 1]
    return [int(part[varying[0]]) for part in parts] if len(varying) == 1 else None
