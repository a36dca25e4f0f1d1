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


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "has 1 poses, expected 2"),
        (("--every", "0"), "--every 0"),
        (("--every", "3"), "none of 2 images"),
        (("--reach", "0"), "0 m"),
        (("--reach", "inf"), "--reach inf"),
        (("--scale-std", "nan"), "--scale-std nan"),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], expected: str
) -> None:
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4), np.uint8))
    (tmp_path / "odometry.txt").write_text("0.0 0 0 0 0 0 0 1\n")
    given = ["--map", "M", "--images", str(tmp_path), "--camera", "C", "--odometry", str(tmp_path / "odometry.txt")]
    assert main(["place", "pose", *given, *options]) == 1
    assert expected in capsys.readouterr().err
