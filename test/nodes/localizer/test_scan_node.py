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

"""A robot without a camera: the localizer takes scans, in a map of LiDAR places that the map server sends in parts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nodes_world import START_NS, STEP_NS
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_session import Ros
from sensor_msgs.msg import PointCloud2, PointField
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.bags.point_clouds import point_cloud_message
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedScan
from vloc_ros.mapping.maps.lidar_places import make_lidar_map
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import header, pose_of, stamp_ns_of, transform_message
from vloc_ros.simulation.lidar_drives import LidarDrive, drive_with_lidar
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.maps import map_hash, write_map

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BASE_FROM_LIDAR = Pose.from_rotation_vector([0.0, 0.0, 1.2], [0.2, -0.1, 0.6])
MAP_FROM_ODOM = Pose.from_rotation_vector([0.0, 0.0, 0.3], [1.0, 2.0, 0.0])


@pytest.fixture(scope="module")
def drive() -> LidarDrive:
    """Scans in an apartment; every other one is of the map."""
    return drive_with_lidar(make_world("apartment", 7), spacing_m=0.4, seed=3, longest_m=16.0)


@pytest.fixture(scope="module")
def lidar_map(drive: LidarDrive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map on disk."""
    folder = tmp_path_factory.mktemp("maps") / "apartment"
    scans = [
        PosedScan(f"{k:03d}", partial(_cloud, drive.scan(k)), drive.map_from_lidar[k]) for k in range(0, len(drive), 2)
    ]
    write_map(make_lidar_map(scans, name="apartment", spacing_m=0.2), folder)
    return folder


def _cloud(points: Array) -> PointCloud:
    return PointCloud(points)


class ScanRobot:
    """Publishes scans, odometry and extrinsics, and collects the output of the localizer."""

    def __init__(self, ros: Ros, drive: LidarDrive, **parameters: Any) -> None:
        self.ros, self.drive = ros, drive
        values = {"sensor": "lidar", "carry_last_fix": False, "fix_filter.enabled": False, "diagnostics.budget_s": 5.0}
        self.node = ros.add(LocalizerNode, autostart=False, **(values | parameters))
        self.statuses = ros.collect(LocalizationStatus, "vloc_localizer/status")
        self.poses = ros.collect(PoseStamped, "vloc_localizer/pose")
        self._points = ros.node.create_publisher(PointCloud2, "points", 10)
        self._tf = ros.node.create_publisher(TFMessage, "/tf", 10)
        self._static = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert ros.call(ChangeState, "vloc_localizer/change_state", request).success
        ros.until(lambda: self._points.get_subscription_count() > 0)
        ros.until(lambda: self.node.count_subscribers("vloc_localizer/status") > 0)
        self._static.publish(TFMessage(transforms=[transform_message(0, "base_link", "lidar", BASE_FROM_LIDAR)]))

    def map_from_base(self, index: int) -> Pose:
        return self.drive.map_from_lidar[index] @ BASE_FROM_LIDAR.inverse()

    def send(self, index: int, *, points: Array | None = None, frame_id: str = "lidar") -> int:
        """Publish a scan with odometry; return its stamp."""
        stamp_ns = START_NS + index * STEP_NS
        odom_from_base = MAP_FROM_ODOM.inverse() @ self.map_from_base(index)
        self._tf.publish(TFMessage(transforms=[transform_message(stamp_ns, "odom", "base_link", odom_from_base)]))
        measured = self.drive.scan(index) if points is None else points
        self._points.publish(_message(PointCloud(measured, stamp_ns=stamp_ns, frame_id=frame_id)))
        return stamp_ns

    def status_of(self, stamp_ns: int) -> LocalizationStatus:
        self.statuses.wait(lambda all_: any(stamp_ns_of(m) == stamp_ns for m in all_), f"status of {stamp_ns}")
        return next(m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns)


def _message(cloud: PointCloud) -> PointCloud2:
    made = point_cloud_message(cloud)
    fields = [PointField(name=f.name, offset=f.offset, datatype=f.datatype, count=f.count) for f in made.fields]
    return PointCloud2(
        header=header(cloud.stamp_ns, cloud.frame_id), height=1, width=made.width, fields=fields, is_bigendian=False,
        point_step=made.point_step, row_step=made.row_step, data=made.data.tobytes(), is_dense=True,
    )  # fmt: skip


def test_a_robot_without_a_camera_is_localized_in_a_map_from_the_server(
    ros: Ros, drive: LidarDrive, lidar_map: Path, tmp_path: Path
) -> None:
    ros.add(MapServerNode, autostart=True, map=str(lidar_map))
    robot = ScanRobot(ros, drive, map="", map_cache=str(tmp_path / "cache"))
    ros.until(lambda: robot.node.map_hash == map_hash(lidar_map))
    for index in (5, 21):
        status = robot.status_of(robot.send(index))
        assert status.status == LocalizationStatus.OK, status.reason
        assert (status.map_frame, status.body_frame, status.candidate) == ("map", "base_link", "retrieval/lidar")
        metres, radians = pose_of(status.pose.pose).distance_to(robot.map_from_base(index))
        assert metres < 0.1
        assert radians < np.radians(1.0)
        assert 0 < status.pose.covariance[0] < 0.04
    robot.poses.wait(lambda all_: len(all_) == 2, "poses")


def test_scans_that_cannot_be_used_have_a_status(ros: Ros, drive: LidarDrive, lidar_map: Path) -> None:
    robot = ScanRobot(ros, drive, map=str(lidar_map), transform_timeout_s=0.05)
    nowhere = robot.status_of(robot.send(1, frame_id="nowhere"))
    assert (nowhere.status, any(nowhere.pose.covariance)) == (LocalizationStatus.NO_TRANSFORM, False)
    lost = robot.status_of(robot.send(2, points=np.zeros((50, 3), np.float32)))
    assert (lost.status, "none that is finite" in lost.reason) == (LocalizationStatus.BAD_IMAGE, True)
    few = robot.status_of(robot.send(3, points=np.ones((50, 3), np.float32)))
    assert (few.status, "voxels with points" in few.reason) == (LocalizationStatus.NO_FEATURES, True)
    optical = drive.scan(4)[:, [1, 2, 0]] * np.float32([-1, -1, 1])
    wrong = robot.status_of(robot.send(4, points=optical))
    assert wrong.status in (LocalizationStatus.POSE_REJECTED, LocalizationStatus.AMBIGUOUS)
    assert robot.status_of(robot.send(5)).status == LocalizationStatus.OK


def test_a_scan_that_is_late_is_refused(ros: Ros, drive: LidarDrive, lidar_map: Path) -> None:
    robot = ScanRobot(ros, drive, map=str(lidar_map), max_image_age_s=1.0)
    late = robot.status_of(robot.send(5))
    assert late.status == LocalizationStatus.STALE
    assert "the scan is" in late.reason
