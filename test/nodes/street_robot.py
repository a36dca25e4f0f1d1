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

"""A robot with a camera alone, which drives along a street of which the map has LiDAR places and no image."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nodes_world import START_NS
from ros_session import Ros
from scan_robot import LATCHED
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.clouds.scan_context import ScanContext
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedScan
from vloc_ros.mapping.maps.lidar_places import make_lidar_map
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, stamp_ns_of, transform_message
from vloc_ros.simulation.driving import BASE_FROM_CAMERA, drive_route, plan_route
from vloc_ros.simulation.lidar_drives import drive_with_lidar
from vloc_ros.simulation.odometry import simulate_camera_odometry
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import Rectangle, World
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.maps import write_map

CAMERA = Camera("PINHOLE", 320, 160, (190.0, 190.0, 160.0, 80.0))
SECOND_NS = 1_000_000_000
# the image at which the first cloud is due, and that of the next one that shares no images with it
FIRST_CLOUD, SECOND_CLOUD = 4, 12
_SEED, _STEP_M, _IMAGES, _NEAR_M, _RANGE_M = 5, 0.9, 14, 20.0, 40.0


@dataclass(frozen=True, slots=True, eq=False)
class Street:
    """A drive along a street, with the street's map on disk.

    Attributes:
        images: (H, W) grey.
        map_from_camera: where each was taken.
        odom_from_camera: the same by odometry that drifts.
        map: of the LiDAR places.
    """

    images: list[Array]
    map_from_camera: list[Pose]
    odom_from_camera: list[Pose]
    map: Path


def make_street(folder: Path) -> Street:
    """The few houses around the drive, so that it takes seconds."""
    whole = make_world("street", _SEED)
    poses = drive_route(whole, plan_route(whole), spacing_m=_STEP_M, seed=_SEED + 1)[:_IMAGES]
    middle = np.mean([pose.translation for pose in poses], axis=0)
    world = replace(whole, rectangles=tuple(one for one in whole.rectangles if _distance_m(one, middle) < _NEAR_M))
    write_map(_make_map(world), folder)
    images = [cv2.cvtColor(render(world, CAMERA, pose, seed=k), cv2.COLOR_BGR2GRAY) for k, pose in enumerate(poses)]
    return Street(images, poses, simulate_camera_odometry(poses, 1), folder)


def _make_map(world: World) -> Any:
    drive = drive_with_lidar(world, spacing_m=5.0, seed=_SEED, longest_m=20.0)
    scans = [
        PosedScan(f"{k:03d}", partial(PointCloud, drive.scan(k)), drive.map_from_lidar[k]) for k in range(len(drive))
    ]
    return make_lidar_map(scans, name="street", spacing_m=1.0, context=ScanContext(_RANGE_M))


def _distance_m(one: Rectangle, point: Array) -> float:
    origin, u, v = (np.asarray(vector) for vector in (one.origin, one.edge_u, one.edge_v))
    corners = np.array([origin, origin + u, origin + v, origin + u + v])
    outside = np.maximum(np.maximum(corners.min(axis=0) - point, point - corners.max(axis=0)), 0.0)
    return float(np.linalg.norm(outside))


class StreetRobot:
    """Publishes images, odometry, calibration and extrinsics, and collects the output of the localizer."""

    def __init__(self, ros: Ros, street: Street, **parameters: Any) -> None:
        self.ros, self.street = ros, street
        values = {"moving_camera.reach_m": 3.0, "fix_filter.enabled": False, "image_reliability": "reliable"}
        values |= {"map": str(street.map), "transform_timeout_s": 0.5}
        self.node = ros.add(LocalizerNode, autostart=False, **(values | parameters))
        self.statuses = ros.collect(LocalizationStatus, "vloc_localizer/status")
        self.poses = ros.collect(PoseStamped, "vloc_localizer/pose")
        self.transforms = ros.collect(TFMessage, "/tf")
        camera = f"{str(parameters.get('cameras', '')).partition(',')[0]}/".lstrip("/")
        kinds = {"image": (camera + "image", Image), "camera_info": (camera + "camera_info", CameraInfo)}
        kinds["/tf"] = ("/tf", TFMessage)
        self._out = {name: ros.node.create_publisher(kind, topic, 50) for name, (topic, kind) in kinds.items()}
        static = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            self.change(transition)
        ros.until(lambda: all(self._out[name].get_subscription_count() for name in ("image", "camera_info")))
        ros.until(lambda: self.node.count_subscribers("vloc_localizer/status") > 0)
        static.publish(TFMessage(transforms=[transform_message(0, "base_link", "camera", BASE_FROM_CAMERA)]))

    def change(self, transition: int) -> None:
        """A transition of the localizer's lifecycle."""
        request = ChangeState.Request(transition=Transition(id=transition))
        assert self.ros.call(ChangeState, "vloc_localizer/change_state", request).success

    def map_from_base(self, number: int) -> Pose:
        return self.street.map_from_camera[number] @ BASE_FROM_CAMERA.inverse()

    def odom_from_base(self, number: int) -> Pose:
        return self.street.odom_from_camera[number] @ BASE_FROM_CAMERA.inverse()

    def send(
        self,
        number: int,
        *,
        later_ns: int = 0,
        odom_from_odom: Pose | None = None,
        with_odometry: bool = True,
        camera: Camera = CAMERA,
        image: Array | None = None,
    ) -> int:
        """Publish an image with odometry and calibration; return its stamp.

        Images are a second apart. With `odom_from_odom` odometry has begun anew elsewhere.
        """
        stamp_ns = START_NS + number * SECOND_NS + later_ns
        if with_odometry:
            odometry = (odom_from_odom or Pose.identity()) @ self.odom_from_base(number)
            transform = transform_message(stamp_ns, "odom", "base_link", odometry)
            self._out["/tf"].publish(TFMessage(transforms=[transform]))
        model, k, d = camera.to_ros()
        info = CameraInfo(header=header(stamp_ns, "camera"), width=camera.width, height=camera.height)
        info.distortion_model, info.k, info.d = model, k, d
        self._out["camera_info"].publish(info)
        grey = self.street.images[number] if image is None else image
        self._out["image"].publish(bgr_message(stamp_ns, "camera", np.repeat(grey[:, :, None], 3, axis=2)))
        return stamp_ns

    def drive(self, first: int, last: int, **how: Any) -> list[LocalizationStatus]:
        """Send some images, each once the one before has its status; all statuses.

        Those after the first cloud do not wait for its search, but for the one of the second cloud.
        """
        stamps = list[int]()
        for number in range(first, last + 1):
            if number == SECOND_CLOUD:
                for stamp_ns in stamps:
                    self.status_of(stamp_ns)
            stamps.append(self.send(number, **how))
            if number == FIRST_CLOUD:
                self.ros.until(lambda: self.is_searching or self._has_status(stamps[-1]))
            else:
                self.status_of(stamps[-1])
        return [self.status_of(stamp_ns) for stamp_ns in stamps]

    @property
    def is_searching(self) -> bool:
        """Whether a cloud is searched for."""
        return any(thread.name == "cloud search" for thread in threading.enumerate())

    def _has_status(self, stamp_ns: int) -> bool:
        return any(stamp_ns_of(message) == stamp_ns for message in self.statuses.messages)

    def status_of(self, stamp_ns: int) -> LocalizationStatus:
        self.statuses.wait(lambda _: self._has_status(stamp_ns), f"status of {stamp_ns}")
        return next(m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns)
