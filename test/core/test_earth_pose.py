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

"""A camera's place on Earth by a datum that is turned and uncertain."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.geometry.earth_pose import EarthPose
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Pose


def test_a_camera_has_the_uncertainty_of_its_pose_and_of_the_datum() -> None:
    datum = Datum(47.0, 8.0, 400.0, np.radians(90.0), 0.3, 0.5, 0.01)  # x points north, y west
    looks_down = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])  # the image's upper edge is y
    pose = Pose(looks_down, np.array([200.0, 0.0, 30.0]))
    found = EarthPose.of_camera(datum, pose, np.diag([4.0, 1.0, 0.25, 0.0, 0.0, 0.0004]))
    # the datum's yaw moves the camera by 0.01 rad * 200 m along y, which is west
    np.testing.assert_allclose(found.covariance, np.diag([1.0 + 4.0 + 0.09, 4.0 + 0.09, 0.25 + 0.25]), atol=1e-9)
    assert found.heading_std_rad == pytest.approx(np.hypot(0.02, 0.01))
    assert found.heading_rad == pytest.approx(np.radians(270.0))
    np.testing.assert_allclose(
        datum.local(found.latitude, found.longitude, found.altitude_m), pose.translation, atol=1e-6
    )


def test_a_tilted_view_heads_along_its_optical_axis_with_the_uncertainty_of_its_tilt() -> None:
    datum, down = Datum(47.0, 8.0, 400.0, yaw_std_rad=0.01), np.radians(40.0)
    axis = np.array([np.cos(down), 0.0, -np.sin(down)])  # ahead is east
    pose = Pose(np.column_stack([[0.0, -1.0, 0.0], np.cross(axis, [0.0, -1.0, 0.0]), axis]), np.array([5.0, 2.0, 1.0]))
    covariance = np.diag([0.01, 0.01, 0.01, 0.0004, 0.0009, 0.0001])
    found = EarthPose.of_view(datum, pose, covariance)
    assert found.heading_rad == pytest.approx(np.pi / 2)
    rotated = Pose.from_rotation_vector([1e-6, 0.0, 0.0], [0.0, 0.0, 0.0]).rotation @ axis
    by_roll = np.arctan2(rotated[1], rotated[0]) / 1e-6
    expected = np.sqrt(by_roll**2 * 0.0004 + 0.0001 + 0.01**2)
    assert found.heading_std_rad == pytest.approx(expected, rel=1e-5)


def test_a_robot_heads_where_its_x_axis_points() -> None:
    ahead_is_y = Pose.from_rotation_vector([0.0, 0.0, np.pi / 2], [3.0, 4.0, 0.0])
    found = EarthPose.of_base(Datum(47.0, 8.0, 400.0), ahead_is_y, np.eye(6))
    assert found.heading_rad % (2 * np.pi) == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(found.covariance, np.eye(3))


def test_the_orientation_is_against_east_north_and_up_where_the_body_is() -> None:
    datum = Datum(60.0, 8.0, 400.0, yaw_rad=2.0)
    pose = Pose.from_rotation_vector([0.3, -0.2, 0.9], [1500.0, -900.0, 40.0])
    found = EarthPose.of_base(datum, pose, np.eye(6))
    there = Datum(found.latitude, found.longitude, found.altitude_m)  # its axes are east, north and up
    ends = [there.local(*datum.geodetic(pose.apply(axis))) for axis in np.eye(3)]
    np.testing.assert_allclose(found.enu_from_body, np.array(ends).T, atol=1e-7)
    heading = np.arctan2(found.enu_from_body[0, 0], found.enu_from_body[1, 0]) % (2 * np.pi)
    assert found.heading_rad == pytest.approx(heading, abs=1e-3), "meridians converge"
