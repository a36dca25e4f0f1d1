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

"""A drone without GNSS starts on the aerial tiles of its map, and is localized by the landmarks that it flies to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from aerial_ground import MAP_FROM_TILES, hover, make_map_of_both, map_datum
from drone import BASE_FROM_CAMERA, Drone
from ros_session import Ros
from sensor_msgs.msg import NavSatFix

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import pose_of, stamp_ns_of
from vloc_ros.storage.maps import write_map

OK, HELD = LocalizationStatus.OK, LocalizationStatus.HELD
TILT = (0.06, -0.04)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps") / "both"
    write_map(make_map_of_both(), folder)
    return folder


def error_of(status: LocalizationStatus, map_from_camera: Pose) -> float:
    """Of a localized position of the base, metres."""
    assert status.status == OK, status.reason
    return pose_of(status.pose.pose).distance_to(map_from_camera @ BASE_FROM_CAMERA.inverse())[0]


def std_of(status: LocalizationStatus) -> float:
    return float(np.sqrt(status.pose.covariance.reshape(6, 6)[:3, :3].trace()))


def test_a_drone_starts_above_tiles_and_flies_to_the_landmarks(ros: Ros, both: Path, tmp_path: Path) -> None:
    ros.add(MapServerNode, map=str(both))
    drone = Drone(ros, map_cache=str(tmp_path / "cache"))
    drone.activate()
    ros.until(lambda: drone.node.map_hash != "")
    way = [hover(x, 20.0, 60.0, yaw=1.0, tilt=TILT) for x in range(-68, 17, 12)]
    statuses = [drone.status_of(drone.send(pose)) for pose in way]
    assert (statuses[0].status, statuses[0].candidate) == (HELD, "retrieval/aerial"), statuses[0].reason
    for status, pose in zip(statuses[1:3], way[1:3], strict=True):
        assert status.candidate == "retrieval/aerial"
        assert error_of(status, pose) < 0.5
        assert 0.5 < std_of(status) < 3.0, "the datums' uncertainty is a part of it"
    for status, pose in zip(statuses[-2:], way[-2:], strict=True):
        assert status.candidate in ("prior", "whole_map")
        assert error_of(status, pose) < 0.5
        assert std_of(status) < 0.2
    # on Earth, with known covariance
    fixes = {stamp_ns_of(fix): fix for fix in drone.fixes.wait(lambda all_: len(all_) >= 3)}
    fix = fixes[stamp_ns_of(statuses[1])]
    assert fix.position_covariance_type == NavSatFix.COVARIANCE_TYPE_KNOWN
    found = map_datum().local(fix.latitude, fix.longitude, fix.altitude)
    np.testing.assert_allclose(found, (way[1] @ BASE_FROM_CAMERA.inverse()).translation, atol=0.5)
    poses = drone.poses.wait(lambda all_: len(all_) >= 3)
    assert {message.header.frame_id for message in poses} == {"map"}
