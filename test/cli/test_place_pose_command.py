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

"""`vloc place pose` refuses what does not fit together, in one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vloc_ros.cli.main import main

# the optical axis along x, the camera upright
AHEAD = "-0.5 0.5 -0.5 0.5"


@pytest.fixture
def drive(tmp_path: Path) -> list[str]:
    """The command for two images, and odometry that has another row."""
    for name in ("0.200000.png", "0.100000.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4), np.uint8))
    rows = [f"{stamp} {x} 0 0 {AHEAD}" for x, stamp in enumerate(("0.1", "0.15", "0.2"))]
    (tmp_path / "odometry.txt").write_text("\n".join(rows))
    given = ("--images", str(tmp_path), "--odometry", str(tmp_path / "odometry.txt"), "--camera", "C", "--map", "M")
    return ["place", "pose", *given]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--every", "0"), "--every 0"),
        (("--every", "3"), "none of 2 images"),
        (("--reach", "0"), "0 m"),
        (("--reach", "inf"), "--reach inf"),
        (("--scale-std", "nan"), "--scale-std nan"),
        (("--yaw-std", "-1"), "--yaw-std -1"),
        (("--reach-up", "nan"), "--reach-up nan"),
    ],
)
def test_bad_input_is_named(
    drive: list[str], capsys: pytest.CaptureFixture[str], options: tuple[str, ...], expected: str
) -> None:
    assert main([*drive, *options]) == 1
    assert expected in capsys.readouterr().err


def test_rows_without_an_image_are_named(drive: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(drive) == 1
    error = capsys.readouterr().err
    assert "vloc: note: 1 rows of" in error
    assert "left out: 0.150000\n" in error
    assert "vloc: C: cannot be read" in error


def test_odometry_in_an_optical_frame_is_refused(
    tmp_path: Path, drive: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odometry.txt").write_text("0.1 0 0 0 0 0 0 1\n0.2 0 0 3 0 0 0 1\n")
    assert main(drive) == 1
    assert "odometry.txt: the camera looks up and moves along its view" in capsys.readouterr().err


def test_truth_of_other_images_is_refused(tmp_path: Path, drive: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    truth = tmp_path / "truth.txt"
    truth.write_text("0.1 0 0 0 0 0 0 1\n")
    assert main([*drive, "--truth", str(truth), "--every", "2"]) == 1
    assert "truth.txt: has a pose of no image that is localized" in capsys.readouterr().err
