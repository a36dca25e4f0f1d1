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

"""Every image gets its own pose, or the file is refused: by name, time, number or row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.pose_files import pair_poses, poses_at, read_times, stamps_in_names
from vloc_ros.storage.trajectories import format_pose

_S = 10**9


def _file(tmp_path: Path, *first: object) -> Path:
    """Rows that begin with these words; the x of the pose is the row's number."""
    rows = [f"{word} {format_pose(Pose(np.eye(3), np.array([row, 0.0, 0.0])))}" for row, word in enumerate(first)]
    (tmp_path / "poses.txt").write_text("\n".join(["# header", *rows]))
    return tmp_path / "poses.txt"


def _rows_of(names: Sequence[str], path: Path) -> dict[str, int]:
    """The row that each image got."""
    return {names[one.index]: round(one.pose.translation[0]) for one in pair_poses(names, path)}


def test_names_may_have_spaces(tmp_path: Path) -> None:
    """As `vloc localize` and `vloc evaluate` write them."""
    names = ["1 b,c #2.png", "1  a.png", "IMG 0001 (2).jpg"]
    path = _file(tmp_path, *names)
    assert _rows_of(names, path) == {name: row for row, name in enumerate(names)}
    path.write_text("a b.png, 0, 0, 0, 0, 0, 0, 1  # the first\n")
    assert _rows_of(["a b.png"], path) == {"a b.png": 0}
    path.write_text("a b.png 0 0 0 0 0 1\n")
    with pytest.raises(InputError, match=r"poses.txt, line 1: .*expected"):
        pair_poses(["a b.png"], path)


def test_rows_that_name_their_image_may_be_in_any_order(tmp_path: Path) -> None:
    path = _file(tmp_path, "img2.jpg", "img10.jpg", "img1.jpg", "another.jpg")
    names = ["img1.jpg", "img10.jpg", "img2.jpg"]
    assert _rows_of(names, path) == {"img1.jpg": 2, "img10.jpg": 1, "img2.jpg": 0}
    assert {one.stamp_ns for one in pair_poses(names, path)} == {None}
    with pytest.raises(InputError, match=r"poses\.txt: has no pose of 2 of 4 images, img3.jpg, img4.jpg; add"):
        pair_poses(["img1.jpg", "img2.jpg", "img3.jpg", "img4.jpg"], path)
    with pytest.raises(InputError, match=r"line 3: names img2.jpg again"):
        pair_poses(["img2.jpg"], _file(tmp_path, "img2.jpg", "img2.jpg"))


def test_images_without_a_pose_near_are_left_out_where_that_is_allowed(tmp_path: Path) -> None:
    """As evo associates: the nearest within the limit, and every pose once."""
    path = _file(tmp_path, 1.0, 1.5, 2.0)
    names = ["1.004.png", "1.006.png", "1.509.png", "1.511.png", "3.000.png"]
    paired = pair_poses(names, path, within_ns=10_000_000)
    assert [(names[one.index], one.stamp_ns) for one in paired] == [
        ("1.004.png", 1_004_000_000),
        ("1.509.png", 1_509_000_000),
    ]
    assert [one.index for one in pair_poses(names, path, within_ns=1_000_000_000)] == [0, 2, 4]
    with pytest.raises(InputError, match="of 5 images in all"):
        pair_poses(names, path, within_ns=1_000_000)


def _kitti(folder: Path, count: int) -> Path:
    rows = [" ".join(map(str, [1, 0, 0, k, 0, 1, 0, 0, 0, 0, 1, 0])) for k in range(count)]
    (folder / "04.txt").write_text("\n".join(rows) + "\n")
    return folder / "04.txt"


def test_rows_of_kitti_are_those_of_the_images_numbers_or_one_by_one(tmp_path: Path) -> None:
    path = _kitti(tmp_path, 4)
    paired = pair_poses(["000001.png", "000003.png"], path)
    assert [(one.stamp_ns, one.pose.translation[0]) for one in paired] == [(None, 1.0), (None, 3.0)]
    paired = pair_poses(["a.png", "b.png", "c.png", "d.png"], path)
    assert [one.pose.translation[0] for one in paired] == [0.0, 1.0, 2.0, 3.0]
    with pytest.raises(InputError, match="4 poses, there are 2 images"):
        pair_poses(["a.png", "b.png"], path)


@pytest.mark.parametrize("header", ["#timestamp, p_RS_R_x [m], q_RS_w []\n", ""])
def test_ground_truth_of_a_body_is_not_taken_for_the_cameras(tmp_path: Path, header: str) -> None:
    row = "1403636579763555584,1,2,3,0,1,0,0" + 9 * ",0"
    (tmp_path / "data.csv").write_text(f"{header}{row}\n")
    with pytest.raises(InputError, match="--euroc"):
        pair_poses(["1403636579763555584.png"], tmp_path / "data.csv")


def test_rows_of_no_format_are_refused_with_all_formats(tmp_path: Path) -> None:
    (tmp_path / "poses.txt").write_text("1 2 3 4 5\n")
    with pytest.raises(InputError, match=r"has 5 columns, expected the 8 of TUM .* 12 of KITTI"):
        pair_poses(["1.png"], tmp_path / "poses.txt")


def test_poses_of_a_recording_are_paired_by_time_or_one_by_one(tmp_path: Path) -> None:
    stamps_ns = [5 * _S, 6 * _S, 7 * _S]

    def at(path: Path) -> tuple[list[float | None], bool]:
        poses, by_row = poses_at(stamps_ns, path, within_ns=10**7)
        return [pose and pose.translation[0] for pose in poses], by_row

    assert at(_file(tmp_path, 5.005, 6.5, 7.0, 8.0)) == ([0.0, None, 2.0], False)
    assert at(_file(tmp_path, 0.0, 1.0, 2.0)) == ([0.0, 1.0, 2.0], True)
    assert at(_file(tmp_path, 7.0, 8.0, 9.0)) == ([None, None, 0.0], False), "as many, of the same clock, begun later"
    assert at(_kitti(tmp_path, 3)) == ([0.0, 1.0, 2.0], True)
    with pytest.raises(InputError, match=r"has 2 poses, the bag 3 images; none is within 0.01 s"):
        at(_file(tmp_path, 0.0, 1.0))
    (tmp_path / "named.txt").write_text("a.png 0 0 0 0 0 0 1\n")
    with pytest.raises(InputError, match="begin with names of images, expected times"):
        at(tmp_path / "named.txt")


def test_times_in_the_names_find_their_rows(tmp_path: Path) -> None:
    """Among more rows, within a millisecond, and in the order of time; the time in its name is the image's own."""
    path = _file(tmp_path, 1.0, 1.5, 2.0, 2.5, 10.0)
    names = ["10.0002.png", "1.500.png", "2.500.png"]
    assert _rows_of(names, path) == {"10.0002.png": 4, "1.500.png": 1, "2.500.png": 3}
    assert [one.stamp_ns for one in pair_poses(names, path)] == [15 * 10**8, 25 * 10**8, 10 * _S + 200_000]
    with pytest.raises(InputError, match=r"no pose at the time of 2.250.png, 2.250000 s, .* is at 2.000000 s, .*1 ms"):
        pair_poses(["1.500.png", "2.250.png"], path)
    nanoseconds = _file(tmp_path, 1403636579763555584, 1403636579813555584)
    assert _rows_of(["1403636579813555584.png"], nanoseconds) == {"1403636579813555584.png": 1}


def test_numbers_in_the_names_find_their_rows(tmp_path: Path) -> None:
    """Where the times are whole numbers, and all of the images' among them: names in the order of text are not."""
    with pytest.raises(InputError, match="holds 31 poses, there are 3 images"):  # the first three of ten a second
        pair_poses(["0.png", "1.png", "2.png"], _file(tmp_path, *(k / 10 for k in range(31))))
    path = _file(tmp_path, 1, 2, 3, 10)
    names = ["frame-1.jpg", "frame-10.jpg", "frame-2.jpg", "frame-3.jpg"]
    found = _rows_of(names, path)
    assert list(found) == ["frame-1.jpg", "frame-2.jpg", "frame-3.jpg", "frame-10.jpg"]
    assert list(found.values()) == [0, 1, 2, 3]


def test_rows_are_paired_one_by_one_in_the_order_of_names(tmp_path: Path) -> None:
    path = _file(tmp_path, 0.0, 0.1, 0.2)
    assert _rows_of(["a.jpg", "b.jpg", "c.jpg"], path) == {"a.jpg": 0, "b.jpg": 1, "c.jpg": 2}
    assert _rows_of(["img005.jpg", "img010.jpg", "img100.jpg"], path)["img100.jpg"] == 2
    with pytest.raises(InputError, match="holds 3 poses, there are 2 images; expected one row for each"):
        pair_poses(["a.jpg", "b.jpg"], path)


def test_an_order_in_doubt_is_refused(tmp_path: Path) -> None:
    names = ["img1.jpg", "img10.jpg", "img2.jpg"]
    with pytest.raises(InputError, match=r"img10.jpg comes before img2.jpg, or of their numbers.*leading zeros"):
        pair_poses(names, _file(tmp_path, 0.0, 0.1, 0.2))
    with pytest.raises(InputError, match="leading zeros"):
        read_times(_file(tmp_path, 0.0, 0.1, 0.2), names)


def test_times_of_rows(tmp_path: Path) -> None:
    names = ["a.jpg", "b.jpg"]
    assert read_times(_file(tmp_path, 0.5, 1403636579763555584), names) == [_S // 2, 1403636579763555584]
    (tmp_path / "times.txt").write_text("0.5\n0.75\n")
    assert read_times(tmp_path / "times.txt", names) == [_S // 2, 3 * _S // 4]
    with pytest.raises(InputError, match="do not increase"):
        read_times(_file(tmp_path, 1.0, 0.5), names)
    with pytest.raises(InputError, match="holds 3 times, expected one for each of 2 images"):
        read_times(_file(tmp_path, 1.0, 2.0, 3.0), names)
    with pytest.raises(InputError, match=r"line 2: the stamp is 'a.jpg'"):
        read_times(_file(tmp_path, "a.jpg", "b.jpg"), names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["1403636579763555584.png"], [1403636579763555584]),
        (["1305031102.175304.jpg", "1305031103.5.jpg"], [1305031102175304000, 1305031103500000000]),
        (["0000000001500000000"], [1_500_000_000]),
        (["1418381798086398.png"], [1418381798086398000]),
        (["14183817980863980.png"], None),
        (["1305031102.175304.jpg", "frame-1.jpg"], None),
        (["000123.jpg"], None),
    ],
)
def test_times_in_names(names: list[str], expected: list[int] | None) -> None:
    assert stamps_in_names(names) == expected
