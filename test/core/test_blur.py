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

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vloc_ros.core.features.blur import measure_blur
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.lighting import DAY, blur_by_motion
from vloc_ros.simulation.render import render
from vloc_ros.simulation.trajectories import drive
from vloc_ros.simulation.world import make_world

_CAMERA = Camera("PINHOLE", 320, 240, (262.5, 262.5, 160.0, 120.0))


@pytest.fixture(scope="module")
def photograph() -> Array:
    world = make_world("room", 0)
    lap = drive(world, 8, 0)
    return render(world, _CAMERA, lap.map_from_base[1] @ lap.base_from_camera, lighting=DAY)


@pytest.mark.parametrize("angle", [0.0, 0.8, np.pi / 2])
def test_motion_in_any_direction_is_blur(photograph: Array, angle: float) -> None:
    measured = [measure_blur(blur_by_motion(photograph, length, angle)) for length in (1.0, 4.0, 8.0)]
    assert measured[0] + 0.05 < measured[1] < measured[2] <= 1.0


def test_grey_and_colour_images_are_alike(photograph: Array) -> None:
    assert photograph.ndim == 3
    grey = cv2.cvtColor(photograph, cv2.COLOR_BGR2GRAY)
    assert measure_blur(grey) == pytest.approx(measure_blur(photograph))


def test_images_of_high_resolution_are_reduced(photograph: Array) -> None:
    wide = cv2.resize(photograph, (1280, 960), interpolation=cv2.INTER_CUBIC)
    half = cv2.resize(wide, (640, 480), interpolation=cv2.INTER_AREA)
    assert measure_blur(wide) == pytest.approx(measure_blur(half), abs=1e-3)


def test_an_image_of_one_grey_has_nothing_sharp() -> None:
    assert measure_blur(np.full((48, 64), 90, np.uint8)) == 1.0
