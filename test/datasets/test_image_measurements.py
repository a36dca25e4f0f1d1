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

"""Positions and gravity by the images' names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.sources import PosedImage
from vloc_ros.datasets.image_measurements import with_gravity, with_positions

_CAMERA = Camera("PINHOLE", 32, 24, (30.0, 30.0, 16.0, 12.0))
_IMAGES = [PosedImage(f"{k}.png", lambda: np.zeros((24, 32), np.uint8), _CAMERA) for k in range(3)]


def _file(folder: Path, text: str) -> Path:
    path = folder / "measured.txt"
    path.write_text(text)
    return path


def test_rows_belong_to_the_images_that_they_name(tmp_path: Path) -> None:
    path = _file(tmp_path, "# in any order\n2.png 1 2 3 0.2\n0.png, 4, 5, 6, 0.1  # and not for all\n")
    first, second, third = (image.position for image in with_positions(_IMAGES, path))
    assert first is not None
    assert third is not None
    assert second is None
    np.testing.assert_array_equal([first.position, third.position], [[4, 5, 6], [1, 2, 3]])
    np.testing.assert_array_equal([first.std, third.std], [[0.1] * 3, [0.2] * 3])


def test_directions_of_gravity_have_length_one(tmp_path: Path) -> None:
    gravity = with_gravity(_IMAGES, _file(tmp_path, "1.png 0 9.81 0 2\n"))[1].gravity
    assert gravity is not None
    np.testing.assert_allclose(gravity.direction, [0, 1, 0])
    assert gravity.std_rad == pytest.approx(np.radians(2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "holds no row"),
        ("7.png 1 2 3 0.2", r"line 1: 7\.png names none of the images, such as 0\.png"),
        ("0.png 1 2 3 0.2\n0.png 1 2 3 0.2", r"line 2: 0\.png names an image twice"),
        ("0.png 1 2 3", r"line 1: found '1 2 3', expected IMAGE x y z std"),
        ("0.png 1 2 3 0", "expected IMAGE x y z std"),
        ("0.png 1 2 nan 0.2", "expected IMAGE x y z std"),
        ("0.png 1 2 north 0.2", "could not convert"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        with_positions(_IMAGES, _file(tmp_path, text))


def test_gravity_needs_a_direction(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a direction of gravity is 0 0 0"):
        with_gravity(_IMAGES, _file(tmp_path, "0.png 0 0 0 1"))
