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

"""Trajectories: stamped poses, and the TUM text format (`timestamp tx ty tz qx qy qz qw`, seconds and metres)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.text import naming_file, number_of, read_text, split_rows

_NS_PER_S = 10**9
_MAX_STAMP_NS = 2**63 - 1
# seconds up to 1e10 fit 64-bit nanoseconds; times since 1973 in microseconds, and in nanoseconds, are at least so large
_MICROSECONDS_FROM, _NANOSECONDS_FROM = 10**14, 10**17
_COLUMNS = 8
_OTHER_FORMATS = {
    10: "COLMAP's images.txt, whose poses are camera_from_world",
    12: "KITTI's rows of a 3x4 matrix",
    17: "EuRoC's csv of nanoseconds and qw qx qy qz",
}
_UNIT_TOLERANCE = 1e-2
# a body that gains 1 m/s in a second is up to 5 mm off the straight line between poses that are so far apart
LARGEST_GAP_NS = 200_000_000
HEADER = "# timestamp[s] tx ty tz[m] qx qy qz qw"


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Poses over time.

    Attributes:
        stamps_ns: (N,) int64, strictly increasing nanoseconds.
        poses: one pose per stamp.

    Raises:
        InputError: the counts differ or the stamps do not increase.
    """

    stamps_ns: npt.NDArray[np.int64]
    poses: tuple[Pose, ...]

    def __post_init__(self) -> None:
        stamps_ns = np.array(self.stamps_ns, dtype=np.int64).reshape(-1)
        poses = tuple(self.poses)
        if len(stamps_ns) != len(poses):
            raise InputError(f"a trajectory has {len(stamps_ns)} stamps and {len(poses)} poses, expected as many")
        if (np.diff(stamps_ns) <= 0).any():
            row = int(np.argmax(np.diff(stamps_ns) <= 0)) + 1
            raise InputError(f"a trajectory's stamp {row + 1} is not later than the one before; sort it by time")
        stamps_ns.flags.writeable = False
        object.__setattr__(self, "stamps_ns", stamps_ns)
        object.__setattr__(self, "poses", poses)

    def __len__(self) -> int:
        return len(self.poses)

    def interpolate(self, stamp_ns: int, *, largest_gap_ns: int | None = None) -> Pose | None:
        """Interpolate the pose at a time, linearly and with a constant turn rate.

        None outside the trajectory, and in its gaps: between poses that are further apart than the largest one allowed.
        """
        after = bisect_right(self.stamps_ns, stamp_ns)
        if after == 0:
            return None
        before = self.poses[after - 1]
        if self.stamps_ns[after - 1] == stamp_ns:
            return before
        if after == len(self):
            return None
        start_ns, end_ns = int(self.stamps_ns[after - 1]), int(self.stamps_ns[after])
        if largest_gap_ns is not None and end_ns - start_ns > largest_gap_ns:
            return None
        return _interpolate_pose(before, self.poses[after], (stamp_ns - start_ns) / (end_ns - start_ns))


def _interpolate_pose(start: Pose, end: Pose, fraction: float) -> Pose:
    turn = Pose(start.rotation.T @ end.rotation, np.zeros(3)).rotation_vector * fraction
    translation = start.translation + fraction * (end.translation - start.translation)
    return Pose(
        (Pose(start.rotation, np.zeros(3)) @ Pose.from_rotation_vector(turn, np.zeros(3))).rotation, translation
    )


def read_tum(path: Path) -> Trajectory:
    """Read a TUM file; `#` starts a comment, blank lines are skipped.

    Raises:
        InputError: the file is missing, holds no pose, or a line is not a pose; the message names the line.
    """
    stamps_ns: list[int] = []
    poses: list[Pose] = []
    for number, words in split_rows(read_text(path)):
        with naming_file(path, line=number):
            stamp_ns, pose = stamp_from_seconds(words[0]), parse_pose(words)
            if stamps_ns and stamp_ns <= stamps_ns[-1]:
                raise InputError("the stamp is not later than the one before; sort the file and drop duplicates")
        stamps_ns.append(stamp_ns)
        poses.append(pose)
    if not poses:
        raise InputError(f"{path}: holds no pose, expected TUM rows: timestamp tx ty tz qx qy qz qw")
    return Trajectory(np.array(stamps_ns, dtype=np.int64), tuple(poses))


def write_tum(path: Path, trajectory: Trajectory) -> None:
    """Write a TUM file with stamps exact to the nanosecond."""
    rows = [
        format_tum_row(int(stamp), pose) for stamp, pose in zip(trajectory.stamps_ns, trajectory.poses, strict=True)
    ]
    write_bytes_atomically(path, "\n".join([HEADER, *rows, ""]).encode())


def format_tum_row(stamp_ns: int, pose: Pose) -> str:
    """Format one TUM line, without the newline."""
    return f"{format_stamp(stamp_ns)} {format_pose(pose)}"


def format_stamp(stamp_ns: int) -> str:
    """Seconds with nine decimal digits, exact."""
    sign, (seconds, fraction) = "-" * (stamp_ns < 0), divmod(abs(stamp_ns), _NS_PER_S)
    return f"{sign}{seconds}.{fraction:09d}"


def format_pose(pose: Pose) -> str:
    """Format what follows the time in a TUM line."""
    return " ".join(f"{value:.9f}" for value in (*pose.translation, *pose.quaternion))


def stamp_from_seconds(text: str) -> int:
    """Convert decimal seconds to integer nanoseconds, without floating-point numbers.

    Large numbers are micro- or nanoseconds.

    Raises:
        InputError: the text is no finite decimal number, or the result does not fit 64 bits.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise InputError(f"the stamp is {text!r}, expected seconds") from None
    if not number.is_finite() or abs(number) > _MAX_STAMP_NS:
        raise InputError(f"the stamp is {text!r}, expected seconds, or nanoseconds, that are finite")
    if abs(number) >= _NANOSECONDS_FROM:
        stamp_ns = number
    else:
        stamp_ns = number * (1000 if abs(number) >= _MICROSECONDS_FROM else _NS_PER_S)
    if abs(stamp_ns) > _MAX_STAMP_NS:
        raise InputError(f"the stamp is {text!r}, expected seconds, or nanoseconds, that fit 64-bit nanoseconds")
    return int(stamp_ns.to_integral_value(ROUND_HALF_EVEN))


def is_stamp(text: str) -> bool:
    """Whether a text is a number, be it a time or none."""
    try:
        Decimal(text)
    except InvalidOperation:
        return False
    return True


def parse_pose(words: Sequence[str], *, first: str = "timestamp") -> Pose:
    """The pose of a row's words, the first of which is a time or a name.

    Raises:
        InputError: they are not that many finite numbers, or the quaternion is not of length 1.
    """
    if len(words) != _COLUMNS:
        hint = "" if len(words) not in _OTHER_FORMATS else f"; this looks like {_OTHER_FORMATS[len(words)]}: convert it"
        raise InputError(f"{len(words)} columns, expected 8: {first} tx ty tz qx qy qz qw{hint}")
    try:
        values = np.array([number_of(word) for word in words[1:]])
    except ValueError as error:
        raise InputError(f"{error}, expected numbers") from None
    if not np.isfinite(values).all():
        raise InputError("a value is not finite, expected numbers; leave out frames without a pose")
    norm = float(np.linalg.norm(values[3:]))
    if abs(norm - 1) > _UNIT_TOLERANCE:
        raise InputError(f"the quaternion has length {norm:.4g}, expected 1; the order is qx qy qz qw")
    return Pose.from_quaternion(values[3:], values[:3])
