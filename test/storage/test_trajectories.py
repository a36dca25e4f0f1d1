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

"""TUM files are read back as written, and errors name the line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.trajectories import (
    Trajectory,
    format_tum_row,
    read_tum,
    stamp_from_seconds,
    write_tum,
)

_POSE = Pose.from_rotation_vector([0.1, -0.2, 0.3], [1.0, 2.0, -3.0])
_GOOD = "1.5 0 0 0 0 0 0 1"


def _file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "poses.txt"
    path.write_text("\n".join(lines))
    return path


@given(st.integers(-(2**62), 2**62))
def test_stamps_survive_text_to_the_nanosecond(stamp_ns: int) -> None:
    assert stamp_from_seconds(format_tum_row(stamp_ns, _POSE).split()[0]) == stamp_ns


@given(st.decimals(-9_000_000_000, 9_000_000_000, places=9))
def test_decimal_seconds_are_read_exactly(seconds: Decimal) -> None:
    assert stamp_from_seconds(str(seconds)) == int(seconds.scaleb(9))


def test_a_stamp_that_floats_cannot_hold() -> None:
    assert stamp_from_seconds("1700000000.123456789") == 1700000000123456789
    assert stamp_from_seconds("1.700000000123456789e9") == 1700000000123456789


@given(st.integers(10**17, 2**62))
def test_nanoseconds_are_seen_by_their_size(stamp_ns: int) -> None:
    assert stamp_from_seconds(str(stamp_ns)) == stamp_ns


def test_microseconds_are_seen_by_their_size() -> None:
    assert stamp_from_seconds("1418381798086398") == 1418381798086398000


def test_rows_of_nanoseconds(tmp_path: Path) -> None:
    path = _file(tmp_path, "1403636579763555584 0 0 0 0 0 0 1", "1403636579813555584 1 0 0 0 0 0 1")
    assert read_tum(path).stamps_ns.tolist() == [1403636579763555584, 1403636579813555584]


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1e40", "abc", "", "1_0.x"])
def test_stamps_that_are_no_time(text: str) -> None:
    with pytest.raises(InputError, match="the stamp is"):
        stamp_from_seconds(text)


def test_round_trip(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    poses = tuple(Pose.from_rotation_vector(generator.normal(size=3), generator.normal(size=3) * 50) for _ in range(20))
    stamps_ns = 1_700_000_000_000_000_000 + np.cumsum(generator.integers(1, 10**9, 20))
    write_tum(tmp_path / "t.txt", Trajectory(stamps_ns, poses))
    back = read_tum(tmp_path / "t.txt")
    assert back.stamps_ns.tolist() == stamps_ns.tolist()
    for found, expected in zip(back.poses, poses, strict=True):
        assert max(found.distance_to(expected)) < 5e-9


def test_comments_blank_lines_commas_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = _file(tmp_path, "\ufeff# header", "", "  ", f"{_GOOD} # first", "2.5,1,2,3,0,0,1,0", "")
    trajectory = read_tum(path)
    assert trajectory.stamps_ns.tolist() == [1_500_000_000, 2_500_000_000]
    assert trajectory.poses[1].translation.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2.5 0 0 0 0 0 1", "7 columns, expected 8"),
        ("2.5 0 0 0 0 0 0 0 1", "9 columns, expected 8"),
        ("1 0 0 0 0 1 0 0 0 0 1 0", "12 columns, .* like KITTI"),
        ("2.5 0 0 0 1 0 0 0" + 9 * " 0", "17 columns, .* like EuRoC"),
        ("2.5 0 0 nan 0 0 0 1", "not finite"),
        ("2.5 0 0 inf 0 0 0 1", "not finite"),
        ("2.5 0 0 x 0 0 0 1", "expected numbers"),
        ("2.5 0 0 1_0 0 0 0 1", "expected numbers"),
        ("nan 0 0 0 0 0 0 1", "the stamp is 'nan'"),
        ("2.5 0 0 0 0 0 0 2", "the quaternion has length 2"),
        ("2.5 0 0 0 0 0 0 0", "the quaternion has length 0"),
        ("1.5 0 0 0 0 0 0 1", "not later than the one before"),
        ("1.4 0 0 0 0 0 0 1", "not later than the one before"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    path = _file(tmp_path, "# header", _GOOD, line)
    with pytest.raises(InputError, match=rf"poses\.txt, line 3: .*{reason}") as error:
        read_tum(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"# only comments\n"])
def test_a_file_without_poses(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "poses.txt").write_bytes(content)
    with pytest.raises(InputError, match="holds no pose"):
        read_tum(tmp_path / "poses.txt")


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(InputError, match=r"image\.jpg: is not a text file"):
        read_tum(tmp_path / "image.jpg")
    with pytest.raises(InputError, match=r"none\.txt: cannot be read \(No such file"):
        read_tum(tmp_path / "none.txt")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\), expected a file; name the one in it"):
        read_tum(tmp_path)


def test_a_trajectory_checks_itself() -> None:
    with pytest.raises(InputError, match="3 stamps and 2 poses"):
        Trajectory(np.array([1, 2, 3]), (_POSE, _POSE))
    with pytest.raises(InputError, match="stamp 2 is not later"):
        Trajectory(np.array([2, 2]), (_POSE, _POSE))


def test_interpolation_has_a_constant_turn_rate() -> None:
    turns = [np.array([0.0, 0.0, angle]) for angle in (0.0, 1.0, 1.0)]
    poses = tuple(Pose.from_rotation_vector(turn, [x, 0, 0]) for turn, x in zip(turns, (0.0, 4.0, 4.0), strict=True))
    trajectory = Trajectory(np.array([1000, 2000, 3000]), poses)
    quarter = trajectory.interpolate(1250)
    assert quarter is not None
    np.testing.assert_allclose(quarter.rotation_vector, [0, 0, 0.25], atol=1e-12)
    np.testing.assert_allclose(quarter.translation, [1, 0, 0])
    assert trajectory.interpolate(2000) is poses[1]
    assert trajectory.interpolate(3000) is poses[2]
    assert trajectory.interpolate(999) is None
    assert trajectory.interpolate(3001) is None


def test_nothing_is_interpolated_over_a_gap() -> None:
    """Between poses that are further apart than is allowed; a pose of that very time is always one."""
    poses = tuple(Pose(np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, 1.0, 2.0))
    trajectory = Trajectory(np.array([0, 100, 1000]), poses)
    for stamp_ns, gap_ns, known in ((50, 100, True), (50, 99, False), (110, 900, True), (110, 899, False)):
        assert (trajectory.interpolate(stamp_ns, largest_gap_ns=gap_ns) is not None) == known
    assert trajectory.interpolate(1000, largest_gap_ns=0) is poses[2]
    assert trajectory.interpolate(550) is not None
