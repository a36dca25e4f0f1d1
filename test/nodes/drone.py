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

"""A drone above a plain with aerial tiles and, in one part, landmarks, with a localizer."""

from __future__ import annotations

from typing import Any

from aerial_ground import CAMERA, image_from
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nodes_world import START_NS
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_session import Ros
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix, Range
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, pose_message, stamp_ns_of, transform_message

# 12 m at 6 m/s
STEP_NS = 2_000_000_000
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# a camera under the belly that looks down, and a range sensor whose x axis does
BASE_FROM_CAMERA = Pose.from_quaternion([0.7071068, -0.7071068, 0.0, 0.0], [0.2, 0.0, -0.1])
BASE_FROM_RANGE = Pose.from_quaternion([0.0, 0.7071068, 0.0, 0.7071068], [0.0, 0.1, -0.3])
BASE_FROM_IMU = Pose.from_rotation_vector([0.0, 0.0, 1.5], [0.0, 0.0, 0.1])
# odometry begins anywhere, level
MAP_FROM_ODOM = Pose.from_rotation_vector([0.0, 0.0, 0.9], [40.0, -12.0, 30.0])


class Drone:
    """Publishes images, odometry and what other sensors say, and collects the output of the localizer."""

    def __init__(self, ros: Ros, *, camera: Camera = CAMERA, **parameters: Any) -> None:
        values = {"image_reliability": "reliable", "diagnostics.budget_s": 5.0, "transform_timeout_s": 0.5}
        # of a drone that flies by visual-inertial odometry
        values |= {"fix_filter.max_speed_m_s": 8.0, "fix_filter.odometry_heading_drift": 0.002}
        self.camera, self.ros, self.node = camera, ros, ros.add(LocalizerNode, autostart=False, **(values | parameters))
        self.statuses = ros.collect(LocalizationStatus, "vloc_localizer/status")
        self.fixes = ros.collect(NavSatFix, "vloc_localizer/fix")
        self.poses = ros.collect(PoseWithCovarianceStamped, "vloc_localizer/pose_with_covariance")
        kinds = {"image": Image, "camera_info": CameraInfo, "range": Range, "imu": Imu, "/tf": TFMessage}
        self._out = {name: ros.node.create_publisher(kind, name, 10) for name, kind in kinds.items()}
        self._static = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self._count = 0

    def activate(self) -> None:
        """Configure and activate the localizer, and wait until it listens."""
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert self.ros.call(ChangeState, "vloc_localizer/change_state", request).success
        heard = [name for name in ("image", "range", "imu") if self.node.count_subscribers(name)]
        self.ros.until(lambda: all(self._out[name].get_subscription_count() for name in heard))
        self.ros.until(lambda: self.node.count_subscribers("vloc_localizer/status") > 0)
        sensors = {"camera": BASE_FROM_CAMERA, "range": BASE_FROM_RANGE, "imu": BASE_FROM_IMU}
        transforms = [transform_message(0, "base_link", *one) for one in sensors.items()]
        self._static.publish(TFMessage(transforms=transforms))

    def send(
        self,
        map_from_camera: Pose,
        *,
        image: Array | None = None,
        odometry: bool = True,
        odometry_of: Pose | None = None,
    ) -> int:
        """Publish what the camera sees there, or another image, with calibration and odometry; return its stamp.

        `odometry_of` is where odometry has the camera, in place of where it is.
        """
        stamp_ns = self.next_stamp_ns()
        if odometry:
            self.send_odometry(stamp_ns, odometry_of or map_from_camera)
        model, k, d = self.camera.to_ros()
        info = CameraInfo(header=header(stamp_ns, "camera"), width=self.camera.width, height=self.camera.height)
        info.distortion_model, info.k, info.d = model, k, d
        self._out["camera_info"].publish(info)
        pixels = image_from(map_from_camera) if image is None else image
        self._out["image"].publish(bgr_message(stamp_ns, "camera", pixels))
        self._count += 1
        return stamp_ns

    def send_odometry(self, stamp_ns: int, map_from_camera: Pose) -> None:
        """Publish where odometry has the camera at a time."""
        odom_from_base = MAP_FROM_ODOM.inverse() @ map_from_camera @ BASE_FROM_CAMERA.inverse()
        transform = transform_message(stamp_ns, "odom", "base_link", odom_from_base)
        self._out["/tf"].publish(TFMessage(transforms=[transform]))

    def next_stamp_ns(self) -> int:
        """The stamp of the next image."""
        return START_NS + self._count * STEP_NS

    def send_range(self, range_m: float) -> None:
        """Publish what a range sensor measures at the time of the next image."""
        message = Range(header=header(self.next_stamp_ns(), "range"), min_range=0.5, max_range=120.0, range=range_m)
        self._out["range"].publish(message)

    def range_to_ground(self, tiles_from_camera: Pose) -> float:
        """What the range sensor measures above the plain z = 0."""
        sensor = tiles_from_camera @ BASE_FROM_CAMERA.inverse() @ BASE_FROM_RANGE
        return float(-sensor.translation[2] / sensor.rotation[2, 0])

    def has_heard(self, *, imu: bool, range_m: float | None) -> bool:
        """Whether the localizer has what was sent for the next image."""
        flight, stamp_ns = self.node._flight, self.next_stamp_ns()
        sent = [flight._imu] * imu + [flight._range] * (range_m is not None)
        return all(readings.nearest(stamp_ns, within_s=0.0) is not None for readings in sent)

    def send_imu(self, map_from_camera: Pose, *, frame_id: str = "imu") -> None:
        """Publish the orientation of the IMU at the time of the next image, in a world whose yaw is not the map's."""
        turned = Pose.from_rotation_vector([0.0, 0.0, 2.0], [0.0] * 3) @ map_from_camera @ BASE_FROM_CAMERA.inverse()
        orientation = pose_message(turned @ BASE_FROM_IMU).orientation
        self._out["imu"].publish(Imu(header=header(self.next_stamp_ns(), frame_id), orientation=orientation))

    def status_of(self, stamp_ns: int) -> LocalizationStatus:
        """Wait for the status of the image with that stamp and return it."""
        self.statuses.wait(lambda all_: any(stamp_ns_of(m) == stamp_ns for m in all_), f"status of {stamp_ns}")
        return next(m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns)
