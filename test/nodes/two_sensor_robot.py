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

"""A robot with a camera and a LiDAR, in a map with landmarks of a wall and LiDAR places of an apartment."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nodes_world import START_NS, STEP_NS, Wall
from plane_scene import CAMERA
from ros_session import Ros
from scan_robot import BASE_FROM_LIDAR, LATCHED, MAP_FROM_ODOM, drive_through_apartment, point_cloud_message_of
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.sources import PosedScan
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.lidar_places import add_lidar_places, make_lidar_map
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, pose_of, stamp_ns_of, transform_message
from vloc_ros.simulation.lidar_drives import ON_ROBOT, LidarDrive
from vloc_ros.storage.maps import write_map

# the robot drives the way that its LiDAR faces, and its camera looks to the left of that, at the wall
_LEFT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
BASE_FROM_CAMERA = Pose(BASE_FROM_LIDAR.rotation @ _LEFT, np.array([0.1, 0.2, 0.5]))
# of the scans of the apartment, one of another room
ELSEWHERE = 4
# of the scans of the apartment, one with free space ahead; so far from step to step
_FIRST, _STEP_M, _STEPS = 22, 0.06, 10
_MAPPED = (2, ELSEWHERE, 6, *range(16, 30, 2))
# where on the wall the camera is at first
_WALL_FROM_FIRST_CAMERA = Pose(np.eye(3), np.array([1.5, 1.5, -1.1]))


def drive_along_wall() -> LidarDrive:
    """Scans of the robot, straight ahead."""
    walk = drive_through_apartment()
    first = walk.map_from_lidar[_FIRST]
    steps = [first @ Pose(np.eye(3), np.array([_STEP_M * k, 0.0, 0.0])) for k in range(_STEPS)]
    return LidarDrive(walk.world, ON_ROBOT, tuple(steps), seed=11)


def _map_from_wall(drive: LidarDrive) -> Pose:
    map_from_camera = drive.map_from_lidar[0] @ BASE_FROM_LIDAR.inverse() @ BASE_FROM_CAMERA
    return map_from_camera @ _WALL_FROM_FIRST_CAMERA.inverse()


def write_map_of_both(wall: Wall, drive: LidarDrive, folder: Path) -> Path:
    """The wall's landmarks beside the robot, and places of another walk."""
    moved = _map_from_wall(drive)
    landmarks = transform_map(wall.scene.landmark_map, Similarity(1.0, moved.rotation, moved.translation))
    write_map(add_lidar_places(landmarks, _mapped_scans(), spacing_m=0.2), folder)
    return folder


def write_map_of_places(folder: Path) -> Path:
    """The places alone."""
    write_map(make_lidar_map(_mapped_scans(), name="apartment", spacing_m=0.2), folder)
    return folder


@cache
def _mapped_scans() -> list[PosedScan]:
    """Of another walk, around the robot and in another room."""
    walk = drive_through_apartment()
    return [PosedScan(f"{k:03d}", partial(PointCloud, walk.scan(k)), walk.map_from_lidar[k]) for k in _MAPPED]


class TwoSensorRobot:
    """Publishes images, scans, odometry and extrinsics, and collects the output of the localizer."""

    def __init__(self, ros: Ros, wall: Wall, drive: LidarDrive, **parameters: Any) -> None:
        self.wall, self.drive, self._wall_from_map = wall, drive, _map_from_wall(drive).inverse()
        values = {"sensor": "both", "image_reliability": "reliable", "scan_period_s": 0.0, "transform_timeout_s": 0.5}
        self.node = ros.add(LocalizerNode, autostart=False, **(values | parameters))
        self.statuses = ros.collect(LocalizationStatus, "vloc_localizer/status")
        self.poses = ros.collect(PoseStamped, "vloc_localizer/pose")
        self.transforms = ros.collect(TFMessage, "/tf")
        kinds = (("image", Image), ("camera_info", CameraInfo), ("points", PointCloud2), ("/tf", TFMessage))
        self._out = {name: ros.node.create_publisher(kind, name, 10) for name, kind in kinds}
        static = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert ros.call(ChangeState, "vloc_localizer/change_state", request).success
        ros.until(lambda: all(self._out[name].get_subscription_count() for name in ("image", "points")))
        ros.until(lambda: self.node.count_subscribers("vloc_localizer/status") > 0)
        sensors = {"camera": BASE_FROM_CAMERA, "lidar": BASE_FROM_LIDAR}
        static.publish(TFMessage(transforms=[transform_message(0, "base_link", *one) for one in sensors.items()]))

    def map_from_base(self, step: int) -> Pose:
        return self.drive.map_from_lidar[step] @ BASE_FROM_LIDAR.inverse()

    def image(self, step: int) -> Array:
        """(H, W) what the camera sees there."""
        return self.wall.scene.image(self._wall_from_map @ self.map_from_base(step) @ BASE_FROM_CAMERA)

    def send_image(self, step: int, *, image: Array | None = None, later_ns: int = 0) -> int:
        """Publish the image of a step, or another one, with odometry and calibration; return its stamp."""
        stamp_ns = self._send_odometry(step, later_ns)
        model, k, d = CAMERA.to_ros()
        info = CameraInfo(header=header(stamp_ns, "camera"), width=CAMERA.width, height=CAMERA.height)
        info.distortion_model, info.k, info.d = model, k, d
        self._out["camera_info"].publish(info)
        grey = self.image(step) if image is None else image
        self._out["image"].publish(bgr_message(stamp_ns, "camera", np.repeat(grey[:, :, None], 3, axis=2)))
        return stamp_ns

    def send_scan(
        self, step: int, *, points: Array | None = None, frame_id: str = "lidar", later_ns: int = STEP_NS // 2
    ) -> int:
        """Publish the scan of a step, or another one, with odometry; return its stamp."""
        stamp_ns = self._send_odometry(step, later_ns)
        measured = self.drive.scan(step) if points is None else points
        self._out["points"].publish(point_cloud_message_of(PointCloud(measured, stamp_ns=stamp_ns, frame_id=frame_id)))
        return stamp_ns

    def status_of(self, stamp_ns: int) -> LocalizationStatus:
        self.statuses.wait(lambda all_: any(stamp_ns_of(m) == stamp_ns for m in all_), f"status of {stamp_ns}")
        return next(m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns)

    def error_m(self, status: LocalizationStatus, step: int) -> float:
        """Of a localized position."""
        assert status.status == LocalizationStatus.OK, status.reason
        return pose_of(status.pose.pose).distance_to(self.map_from_base(step))[0]

    def _send_odometry(self, step: int, later_ns: int) -> int:
        stamp_ns = START_NS + step * STEP_NS + later_ns
        odom_from_base = MAP_FROM_ODOM.inverse() @ self.map_from_base(step)
        self._out["/tf"].publish(
            TFMessage(transforms=[transform_message(stamp_ns, "odom", "base_link", odom_from_base)])
        )
        return stamp_ns
