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

"""A robot with a LiDAR in a mapped apartment, with a localizer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

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
from vloc_ros.nodes.rclpy_support.conversion import header, stamp_ns_of, transform_message
from vloc_ros.simulation.lidar_drives import LidarDrive, drive_with_lidar
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.maps import write_map

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BASE_FROM_LIDAR = Pose.from_rotation_vector([0.0, 0.0, 1.2], [0.2, -0.1, 0.6])
MAP_FROM_ODOM = Pose.from_rotation_vector([0.0, 0.0, 0.3], [1.0, 2.0, 0.0])


def drive_through_apartment() -> LidarDrive:
    """Scans in an apartment; every other one is of the map."""
    return drive_with_lidar(make_world("apartment", 7), spacing_m=0.4, seed=3, longest_m=16.0)


def write_lidar_map(drive: LidarDrive, folder: Path) -> Path:
    """The map on disk."""
    scans = [
        PosedScan(f"{k:03d}", partial(PointCloud, drive.scan(k)), drive.map_from_lidar[k])
        for k in range(0, len(drive), 2)
    ]
    write_map(make_lidar_map(scans, name="apartment", spacing_m=0.2), folder)
    return folder


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

    def send(
        self, index: int, *, points: Array | None = None, frame_id: str = "lidar", stamp_ns: int | None = None
    ) -> int:
        """Publish a scan with odometry; return its stamp."""
        stamp_ns = START_NS + index * STEP_NS if stamp_ns is None else stamp_ns
        odom_from_base = MAP_FROM_ODOM.inverse() @ self.map_from_base(index)
        self._tf.publish(TFMessage(transforms=[transform_message(stamp_ns, "odom", "base_link", odom_from_base)]))
        measured = self.drive.scan(index) if points is None else points
        self._points.publish(point_cloud_message_of(PointCloud(measured, stamp_ns=stamp_ns, frame_id=frame_id)))
        return stamp_ns

    def status_of(self, stamp_ns: int) -> LocalizationStatus:
        self.statuses.wait(lambda all_: any(stamp_ns_of(m) == stamp_ns for m in all_), f"status of {stamp_ns}")
        return next(m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns)


def point_cloud_message_of(cloud: PointCloud) -> PointCloud2:
    """The message of rclpy."""
    made = point_cloud_message(cloud)
    fields = [PointField(name=f.name, offset=f.offset, datatype=f.datatype, count=f.count) for f in made.fields]
    return PointCloud2(
        header=header(cloud.stamp_ns, cloud.frame_id), height=1, width=made.width, fields=fields, is_bigendian=False,
        point_step=made.point_step, row_step=made.row_step, data=made.data.tobytes(), is_dense=True,
    )  # fmt: skip
