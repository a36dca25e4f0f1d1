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

"""The plan of the page: a map from above whichever of its axes points up, and a fix in it."""

from __future__ import annotations

import numpy as np
import pytest
from plane_scene import make_plane_scene

pytest.importorskip("fastapi", reason="no FastAPI: pip install 'vloc_ros[server]'")

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.server.answers import Fix, PlaceShape
from vloc_ros.server.plan import Plan, find_extent
from vloc_ros.server.queries import make_fix

# of a map whose y axis points down, as those from images alone
PLAN = Plan.of_landmarks(make_plane_scene().landmark_map)
STD = np.array([0.01, 0.5, 0.02, 0.3, 0.004, 0.3])


def look(*, left_rad: float = 0.0, upwards_rad: float = 0.0) -> Pose:
    """From (1, 2, 3), turned away from z."""
    turn = Pose.from_rotation_vector([0.0, -left_rad, 0.0], np.zeros(3)).rotation
    tilt = Pose.from_rotation_vector([upwards_rad, 0.0, 0.0], np.zeros(3)).rotation
    return Pose(turn @ tilt, np.array([1.0, 2.0, 3.0]))


def fix_of(pose: Pose, *, covariance: Array | None = None) -> Fix:
    covariance = np.diag(STD**2) if covariance is None else covariance
    return make_fix(PLAN, pose, covariance, ahead=pose.rotation[:, 2], earth=None)


def test_the_plan_has_the_level_axes() -> None:
    assert [axis.name for axis in PLAN.describe_axes()] == ["x", "z"]
    np.testing.assert_array_equal(PLAN.level_from_map() @ [0, -1, 0], [0, 0, 1])
    assert [axis.name for axis in Plan.of_ground().describe_axes()] == ["x", "y"]
    tilted = Plan(PLAN.axes @ look(upwards_rad=0.2).rotation)
    assert [(axis.name, axis.is_exact) for axis in tilted.describe_axes()] == [("x", True), ("z", False)]


def test_a_fix_is_drawn_from_above() -> None:
    fix = fix_of(look(left_rad=0.3))
    assert (fix.x, fix.y, fix.z) == (1.0, 2.0, 3.0)
    assert fix.at == (1.0, 3.0)
    assert fix.yaw_deg == pytest.approx(90 + np.degrees(0.3))
    assert fix.yaw_std_deg == pytest.approx(np.degrees(0.004))
    # the vertical, whose standard deviation is 0.5, is not in it
    away = np.linalg.norm(np.array(fix.ellipse) - fix.at, axis=1)
    assert away.max() == pytest.approx(0.02 * 2.4477, rel=1e-3)
    assert away.min() == pytest.approx(0.01 * 2.4477, rel=1e-3)


def test_a_steep_view_has_a_short_direction() -> None:
    level, steep = fix_of(look()), fix_of(look(upwards_rad=1.4))
    assert np.linalg.norm(level.ahead) == pytest.approx(1.0)
    assert np.linalg.norm(steep.ahead) == pytest.approx(np.cos(1.4))
    assert steep.pitch_deg == pytest.approx(np.degrees(1.4))
    assert steep.yaw_std_deg > 50 * level.yaw_std_deg


def test_the_orientation_is_that_of_the_pose() -> None:
    pose = look(left_rad=0.5, upwards_rad=-0.2)
    np.testing.assert_allclose(
        Pose.from_quaternion(fix_of(pose).orientation, np.zeros(3)).rotation, pose.rotation, atol=1e-12
    )


def test_the_plan_shows_all_places_and_no_far_points() -> None:
    points = np.random.default_rng(0).uniform(0, 1, (1000, 2))
    points[::200] = 500.0
    tile = PlaceShape(name="a", x=-2.0, y=0.0, side_m=2.0, yaw_deg=45.0)
    keyframe = PlaceShape(name="b", x=0.0, y=7.0, side_m=0.0, yaw_deg=12.0)
    lower, upper = find_extent([tile, keyframe], points)
    assert lower == pytest.approx((-2 - np.sqrt(2), -np.sqrt(2)))
    assert upper == pytest.approx((1.0, 7.0), abs=0.05)
    assert find_extent([keyframe], np.zeros((0, 2))) == ((0.0, 7.0), (0.0, 7.0))
