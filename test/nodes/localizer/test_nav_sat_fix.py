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

"""Where the map has a datum, a fix is published as latitude and longitude too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nodes_world import BASE_FROM_CAMERA, Wall
from robot import Robot
from ros_session import Ros
from sensor_msgs.msg import NavSatFix

from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.nodes.rclpy_support.conversion import stamp_ns_of
from vloc_ros.storage.maps import write_map

DATUM = Datum(46.84, -91.99, 200.0, yaw_rad=0.5, position_std_m=2.0, altitude_std_m=3.0)


@pytest.mark.parametrize("two_d", [False, True])
def test_a_fix_has_latitude_longitude_and_known_covariance(ros: Ros, wall: Wall, tmp_path: Path, two_d: bool) -> None:
    landmark_map = wall.scene.landmark_map
    write_map(replace(landmark_map, scenes=(replace(landmark_map.scene(), datum=DATUM),)), tmp_path / "map")
    robot = Robot(ros, replace(wall, map=tmp_path / "map"), two_d_mode=two_d)
    fixes = ros.collect(NavSatFix, "vloc_localizer/fix")
    robot.activate()
    stamp_ns = robot.send(2)
    (fix,) = fixes.wait(lambda all_: len(all_) > 0, "a fix")
    assert (stamp_ns_of(fix), fix.header.frame_id) == (stamp_ns, "base_link")
    assert fix.position_covariance_type == NavSatFix.COVARIANCE_TYPE_KNOWN
    assert fix.status.status == fix.status.STATUS_FIX
    expected = (wall.views[2] @ BASE_FROM_CAMERA.inverse()).translation
    found = DATUM.local(fix.latitude, fix.longitude, DATUM.altitude_m)
    assert np.hypot(*(found - expected)[:2]) < 0.05
    covariance = fix.position_covariance.reshape(3, 3)
    assert 4.0 < covariance[0, 0] < 4.1
    if two_d:
        assert np.isnan(fix.altitude)
        assert covariance[2, 2] > 1e5
    else:
        assert fix.altitude == pytest.approx(200.0 + expected[2], abs=0.05)
        assert 9.0 < covariance[2, 2] < 9.1


def test_a_map_without_datum_gives_none(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    fixes = ros.collect(NavSatFix, "vloc_localizer/fix")
    robot.activate()
    assert robot.status_of(robot.send(2)).reason == ""
    assert not fixes.messages
