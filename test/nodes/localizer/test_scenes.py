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

"""A map of two scenes in the nodes: poses and TF are in the frame of the scene that the robot is in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Point, PoseArray, PoseWithCovarianceStamped
from nodes_world import BASE_FROM_CAMERA, START_NS, Wall
from plane_scene import PlaneScene, make_plane_scene
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import TOLERANCE_NS, Robot
from ros_session import Ros
from sensor_msgs.msg import PointCloud2

from vloc_msgs.msg import LocalizationStatus, MapInfo
from vloc_msgs.srv import GetLandmarks, LoadMap
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import pose_of, pose_with_covariance_stamped, stamp_ns_of
from vloc_ros.storage.maps import write_map

OK, HELD = LocalizationStatus.OK, LocalizationStatus.HELD
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def kitchen() -> PlaneScene:
    return make_plane_scene(seed=5)


@pytest.fixture(scope="module")
def house(wall: Wall, kitchen: PlaneScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    maps = [
        replace(scene.landmark_map, scenes=(replace(scene.landmark_map.scene(), frame_id=frame),))
        for frame, scene in (("hall", wall.scene), ("kitchen", kitchen))
    ]
    folder = tmp_path_factory.mktemp("merged") / "house"
    write_map(merge_maps(maps, name="house", config=MappingConfig()), folder)
    return folder


def _robot(ros: Ros, wall: Wall, house: Path, **parameters: Any) -> Robot:
    robot = Robot(ros, wall, map=str(house), **parameters)
    robot.activate()
    return robot


def test_a_robot_that_is_kidnapped_into_another_scene(ros: Ros, wall: Wall, kitchen: PlaneScene, house: Path) -> None:
    robot = _robot(ros, wall, house, carry_last_fix=True, transform_rate_hz=0.0, **{"fix_filter.enabled": True})
    before = [robot.status_of(robot.send(index)) for index in range(2)]
    robot.wall = replace(wall, scene=kitchen)
    after = [robot.status_of(robot.send(index)) for index in range(2, 6)]
    assert [status.status for status in before + after] == [HELD, OK, HELD, HELD, OK, OK]
    assert [status.map_frame for status in before + after] == ["", "hall", "", "", "kitchen", "kitchen"]
    assert "in kitchen, while the last fix was in hall" in after[0].reason
    assert "3 fixes in a row agree" in after[2].reason
    assert after[3].candidate == "prior"
    for status in (before[1], after[2], after[3]):
        map_from_base = wall.views[(stamp_ns_of(status) - START_NS) // 200_000_000] @ BASE_FROM_CAMERA.inverse()
        assert map_from_base.distance_to(pose_of(status.pose.pose))[0] < 0.05
    last = robot.stamp_ns(5)
    messages = robot.transforms.wait(lambda all_: last in _parents_of_odom(all_), "the last transform")
    parents = _parents_of_odom(messages)
    assert [parents[robot.stamp_ns(index)] for index in (1, 4, 5)] == ["hall", "kitchen", "kitchen"]


def _parents_of_odom(messages: list[Any]) -> dict[int, str]:
    """By the stamp of the image."""
    return {
        stamp_ns_of(t) - TOLERANCE_NS: t.header.frame_id
        for message in messages
        for t in message.transforms
        if t.child_frame_id == "odom"
    }


def test_initialpose_in_any_scene(ros: Ros, wall: Wall, kitchen: PlaneScene, house: Path) -> None:
    robot = _robot(ros, replace(wall, scene=kitchen), house)
    publisher = ros.node.create_publisher(PoseWithCovarianceStamped, "initialpose", 1)
    ros.until(lambda: publisher.get_subscription_count() > 0)
    robot.status_of(robot.send(0))
    map_from_base = wall.views[1] @ BASE_FROM_CAMERA.inverse()
    covariance = np.diag([0.01] * 3 + [0.001] * 3)
    publisher.publish(pose_with_covariance_stamped(robot.stamp_ns(1), "kitchen", map_from_base, covariance))
    ros.until(lambda: robot.node._initial_pose.prior(robot.node.get_clock().now().nanoseconds) is not None)
    status = robot.status_of(robot.send(1))
    assert (status.status, status.map_frame, status.candidate) == (OK, "kitchen", "prior")


def test_the_map_server_publishes_every_scene_in_its_frame(ros: Ros, house: Path, wall: Wall) -> None:
    ros.add(MapServerNode, autostart=True, map=str(house), maps_folder=str(wall.map.parent))
    info = ros.collect(MapInfo, "vloc_map_server/map_info", LATCHED).wait(lambda all_: len(all_) > 0, "map_info")[0]
    assert list(info.frame_ids) == ["hall", "kitchen"]
    for kind, topic, suffix in ((PointCloud2, "landmarks", "_origin"), (PoseArray, "keyframes", "")):
        shown = ros.collect(kind, f"vloc_map_server/{topic}", LATCHED).wait(lambda all_: len(all_) > 1, topic)
        assert [message.header.frame_id for message in shown] == [f"hall{suffix}", f"kitchen{suffix}"]
    loaded = ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name="wall"))
    assert loaded.result == LoadMap.Response.SUCCESS
    late = ros.collect(PointCloud2, "vloc_map_server/landmarks", LATCHED)
    shown = late.wait(lambda all_: len(all_) > 0, "landmarks")
    assert {message.header.frame_id for message in shown} == {"map_origin"}


def test_landmarks_are_those_of_one_scene(ros: Ros, house: Path, kitchen: PlaneScene) -> None:
    ros.add(MapServerNode, autostart=True, map=str(house))
    sphere = {"selection": GetLandmarks.Request.IN_SPHERE, "centre": Point(x=2.0, y=1.5, z=0.0), "radius_m": 100.0}
    response = ros.call(
        GetLandmarks, "vloc_map_server/get_landmarks", GetLandmarks.Request(frame_id="kitchen", **sphere)
    )
    assert response.header.frame_id == "kitchen_origin"
    assert len(response.points) == len(kitchen.landmark_map.points)
    for frame in ("", "garden"):
        bad = ros.call(GetLandmarks, "vloc_map_server/get_landmarks", GetLandmarks.Request(frame_id=frame, **sphere))
        assert bad.result == GetLandmarks.Response.BAD_REQUEST
        assert "hall, kitchen" in bad.message
