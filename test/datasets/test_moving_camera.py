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

"""Images of a moving camera are paired with its poses; what has no counterpart is left out, and named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.datasets.moving_camera import MovingImages, read_moving_images, read_true_poses

# the optical axis along x, the camera upright
AHEAD = "-0.5 0.5 -0.5 0.5"


def _read(folder: Path, names: tuple[str, ...], rows: tuple[str, ...]) -> MovingImages:
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((4, 4), np.uint8))
    odometry = folder / "odometry.txt"
    odometry.write_text("\n".join(f"{row} 0 0 {AHEAD}" for row in rows))
    return read_moving_images(folder, odometry)


def _pairs(drive: MovingImages) -> list[tuple[str, float]]:
    return [
        (path.name, float(pose.translation[0])) for path, pose in zip(drive.paths, drive.odom_from_camera, strict=True)
    ]


def test_by_time(tmp_path: Path) -> None:
    names = ("10.000000.png", "9.000000.png", "11.000000.png", "12.000000.png")
    drive = _read(tmp_path, names, ("8.5 0", "9.0004 1", "9.5 2", "10 3", "10.5 4", "11.0 5", "12.002 6"))
    assert _pairs(drive) == [("9.000000.png", 1.0), ("10.000000.png", 3.0), ("11.000000.png", 5.0)]
    images, rows = drive.notes
    assert images.startswith("1 images in ")
    assert images.endswith("left out: 12.000000.png")
    assert rows.startswith("4 rows of ")
    assert rows.endswith("left out: 8.500000, 9.500000, 10.500000, ...")


def test_by_name(tmp_path: Path) -> None:
    drive = _read(tmp_path, ("a.png", "b.png"), ("b.png 1", "a.png 2", "c.png 3"))
    assert _pairs(drive) == [("a.png", 2.0), ("b.png", 1.0)]
    assert [note.endswith("left out: c.png") for note in drive.notes] == [True]


def test_by_row_where_neither_says_which(tmp_path: Path) -> None:
    assert _pairs(_read(tmp_path, ("a.png", "b.png"), ("0.1 1", "0.2 2"))) == [("a.png", 1.0), ("b.png", 2.0)]
    with pytest.raises(InputError, match="holds 3 poses, there are 2 images"):
        _read(tmp_path, (), ("0.1 1", "0.2 2", "0.3 3"))


def test_by_the_number_of_the_row(tmp_path: Path) -> None:
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / f"{number:06}.png"), np.zeros((4, 4), np.uint8))
    rows = [f"0 0 1 {x} -1 0 0 0 0 -1 0 0" for x in range(4)]
    (tmp_path / "poses.txt").write_text("\n".join(rows))
    drive = read_moving_images(tmp_path, tmp_path / "poses.txt")
    assert _pairs(drive) == [("000001.png", 1.0), ("000002.png", 2.0)]
    assert [note.endswith("left out: 0, 3") for note in drive.notes] == [True]


def test_a_camera_on_its_side_is_noted(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4), np.uint8))
    (tmp_path / "odometry.txt").write_text("0 0 0 0 0 0.7071068 0 0.7071068")
    (doubt,) = read_moving_images(tmp_path, tmp_path / "odometry.txt").notes
    assert "odometry.txt: the camera is not upright" in doubt


def test_poses_that_look_wrong_are_refused_unless_they_are_said_to_be_right(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((4, 4), np.uint8))
    (tmp_path / "odometry.txt").write_text("\n".join(f"{z} 0 0 {z} 0 0 0 1" for z in range(3)))  # along an optical axis
    with pytest.raises(InputError, match=r"odometry\.txt: the camera looks up and moves along its view.*--z-is-up"):
        read_moving_images(tmp_path, tmp_path / "odometry.txt")
    assert read_moving_images(tmp_path, tmp_path / "odometry.txt", z_is_up=True).notes == ()


def test_true_poses_may_be_of_some_images(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("9.000000.png", "10.000000.png", "11.000000.png")]
    truth = tmp_path / "truth.txt"
    truth.write_text(f"9 1 0 0 {AHEAD}\n10.5 2 0 0 {AHEAD}\n11 3 0 0 {AHEAD}\n")
    found, note = read_true_poses(paths, truth)
    assert [None if pose is None else float(pose.translation[0]) for pose in found] == [1.0, None, 3.0]
    assert note.endswith("left out: 10.000000.png")
