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

"""Where geographic_msgs is installed and the map has a datum, a fix is published as a GeoPoseStamped too."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nodes_world import BASE_FROM_CAMERA, Wall
from robot import Robot
from ros_session import Ros
from sensor_msgs.msg import NavSatFix

from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.nodes.rclpy_support.conversion import rotation_of, stamp_ns_of
from vloc_ros.storage.maps import write_map

DATUM = Datum(46.84, -91.99, 200.0, yaw_rad=0.5)


def write_georeferenced(wall: Wall, folder: Path) -> Wall:
    landmark_map = wall.scene.landmark_map
    write_map(replace(landmark_map, scenes=(replace(landmark_map.scene(), datum=DATUM),)), folder)
    return replace(wall, map=folder)


def test_a_fix_has_a_position_and_an_orientation_on_earth(ros: Ros, wall: Wall, tmp_path: Path) -> None:
    geographic = pytest.importorskip("geographic_msgs.msg", reason="no geographic_msgs: of ROS, not among the wheels")
    robot = Robot(ros, write_georeferenced(wall, tmp_path / "map"))
    poses = ros.collect(geographic.GeoPoseStamped, "vloc_localizer/geo_pose")
    robot.activate()
    stamp_ns = robot.send(2)
    (found,) = poses.wait(lambda all_: len(all_) > 0, "a pose")
    assert (stamp_ns_of(found), found.header.frame_id) == (stamp_ns, "base_link")
    expected, at = wall.views[2] @ BASE_FROM_CAMERA.inverse(), found.pose.position
    np.testing.assert_allclose(DATUM.local(at.latitude, at.longitude, at.altitude), expected.translation, atol=0.05)
    cosine, sine = np.cos(DATUM.yaw_rad), np.sin(DATUM.yaw_rad)
    enu_from_map = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(rotation_of(found.pose.orientation), enu_from_map @ expected.rotation, atol=0.01)


def test_without_geographic_msgs_there_is_the_fix_alone(
    ros: Ros, wall: Wall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "geographic_msgs", None)
    robot = Robot(ros, write_georeferenced(wall, tmp_path / "map"))
    fixes = ros.collect(NavSatFix, "vloc_localizer/fix")
    robot.activate()
    stamp_ns = robot.send(2)
    (fix,) = fixes.wait(lambda all_: len(all_) > 0, "a fix")
    assert stamp_ns_of(fix) == stamp_ns
    assert not ros.node.count_publishers("vloc_localizer/geo_pose")
