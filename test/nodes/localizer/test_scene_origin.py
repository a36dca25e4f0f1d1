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

"""A map far from the origin of its frame, as in UTM: poses in the map frame, points relative to its origin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import Point, PoseArray
from nodes_world import BASE_FROM_CAMERA, Wall
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import Robot
from ros_session import Ros
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import GetLandmarks, LoadMap
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import pose_of
from vloc_ros.storage.maps import write_map

UTM = np.array([500_000.0, 5_400_000.0, 0.0])
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def far(wall: Wall, tmp_path: Path) -> Wall:
    """The wall in UTM coordinates."""
    landmark_map = wall.scene.landmark_map
    moved = replace(landmark_map, scenes=(replace(landmark_map.scene(), origin=UTM),))
    write_map(moved, tmp_path / "far")
    return replace(wall, map=tmp_path / "far")


def test_poses_and_tf_are_in_the_map_frame(ros: Ros, wall: Wall, far: Wall) -> None:
    robot = Robot(ros, far, publish_tf="map_base")
    robot.activate()
    status = robot.status_of(robot.send(2, odometry=False))
    assert status.status == LocalizationStatus.OK, status.reason
    near = wall.views[2] @ BASE_FROM_CAMERA.inverse()
    expected = Pose(near.rotation, near.translation + UTM)
    assert expected.distance_to(pose_of(status.pose.pose))[0] < 0.05

    def bases(messages: list[TFMessage]) -> list[Pose]:
        sent = [t for m in messages for t in m.transforms]
        return [pose_of(t.transform) for t in sent if (t.header.frame_id, t.child_frame_id) == ("map", "base_link")]

    on_tf = bases(robot.transforms.wait(lambda all_: len(bases(all_)) > 0, "map -> base_link"))[0]
    assert max(on_tf.distance_to(pose_of(status.pose.pose))) < 1e-6


def test_points_are_relative_to_an_origin_that_tf_has(ros: Ros, wall: Wall, far: Wall) -> None:
    transforms = ros.collect(TFMessage, "/tf_static", LATCHED)
    ros.add(MapServerNode, autostart=True, map=str(far.map))
    cloud = ros.collect(PointCloud2, "vloc_map_server/landmarks", LATCHED).wait(lambda all_: len(all_) > 0, "points")[0]
    poses = ros.collect(PoseArray, "vloc_map_server/keyframes", LATCHED).wait(lambda all_: len(all_) > 0, "poses")[0]
    sent = transforms.wait(lambda all_: len(all_) > 0, "the origin")[0].transforms[0]
    assert (sent.header.frame_id, sent.child_frame_id, cloud.header.frame_id) == ("map", "map_origin", "map_origin")
    assert pose_of(sent.transform).distance_to(Pose(np.eye(3), UTM)) == (0.0, 0.0)
    points = np.frombuffer(cloud.data, np.float32).reshape(cloud.width, 4)[:, :3]
    np.testing.assert_array_equal(points, wall.scene.landmark_map.points)
    assert poses.header.frame_id == "map"
    first = wall.scene.landmark_map.keyframes.pose(0)
    np.testing.assert_allclose(pose_of(poses.poses[0]).translation, first.translation + UTM, atol=1e-6)


def test_the_origin_of_a_swapped_map_replaces_that_of_the_former(ros: Ros, wall: Wall, far: Wall) -> None:
    """A StaticTransformBroadcaster of tf2_ros sends only the first transform of each frame."""
    ros.add(MapServerNode, autostart=True, map=str(far.map), maps_folder=str(wall.map.parent))
    transforms = ros.collect(TFMessage, "/tf_static", LATCHED)
    transforms.wait(lambda all_: len(all_) > 0, "the first origin")
    assert ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name=wall.map.name)).result == 0
    late = ros.collect(TFMessage, "/tf_static", LATCHED)
    for inbox in (transforms, late):
        inbox.wait(lambda all_: all_ and abs(all_[-1].transforms[0].transform.translation.x) < 1.0, "the new origin")


def test_a_sphere_is_given_in_the_map_frame(ros: Ros, wall: Wall, far: Wall) -> None:
    ros.add(MapServerNode, autostart=True, map=str(far.map))
    points = wall.scene.landmark_map.points.astype(np.float64)
    x, y, z = points[7] + UTM
    request = GetLandmarks.Request(
        selection=GetLandmarks.Request.IN_SPHERE, centre=Point(x=x, y=y, z=z), radius_m=0.2, max_points=1
    )
    response = ros.call(GetLandmarks, "vloc_map_server/get_landmarks", request)
    assert (response.result, response.header.frame_id) == (GetLandmarks.Response.SUCCESS, "map_origin")
    found = response.points[0]
    np.testing.assert_allclose([found.x, found.y, found.z], points[7], atol=1e-4)
