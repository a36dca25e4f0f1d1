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

"""A simulated robot on a real ROS graph: publishes images and odometry, and receives statuses and poses."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import cv2
import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.storage.trajectories import Trajectory

ODOMETRY_HZ, START_S, SETTLE_S, END_S = 50.0, 120.0, 2.0, 1.0
BASE_FROM_CAMERA = Pose.from_rotation_vector([0.0, 0.0, 0.0], [0.1, 0.0, 0.4])
JPEG_QUALITY = 90
_NS_PER_S = 10**9


class LiveRobot:
    """Drives up and down a path, one of its poses an image.

    Images are serialised beforehand, so that publishing one costs as little as in a driver in C++.

    Attributes:
        statuses: name of the status by the stamp of its image: OK, DROPPED, NO_ODOMETRY, or other.
        latencies_ms: time from publishing an image to receiving its pose, by the stamp of the image.
    """

    def __init__(
        self, camera: Camera, images: list[Array], path: list[Pose], *, rate_hz: int, compressed: bool, reliable: bool
    ) -> None:
        import rclpy
        from geometry_msgs.msg import PoseStamped
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image
        from tf2_msgs.msg import TFMessage

        from vloc_msgs.msg import LocalizationStatus

        rclpy.init()
        self._rclpy, self._rate_hz, self._path = rclpy, rate_hz, Trajectory(np.arange(len(path)) * _NS_PER_S, path)
        self.statuses: dict[int, str] = {}
        self.latencies_ms: dict[int, float] = {}
        self._published_ns: dict[int, int] = {}
        self._names = {getattr(LocalizationStatus, name): name for name in ("OK", "DROPPED", "NO_ODOMETRY")}
        self._messages = [_serialize_image(image, compressed=compressed) for image in images]
        self._calibration = _calibration_message(camera)
        node = self._node = rclpy.create_node("robot")
        kind, topic = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self._image = node.create_publisher(kind, topic, QoSProfile(depth=10, reliability=reliability))
        self._info = node.create_publisher(CameraInfo, "camera_info", QoSProfile(depth=10, reliability=reliability))
        self._tf = node.create_publisher(TFMessage, "/tf", 100)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static = node.create_publisher(TFMessage, "/tf_static", latched)
        self._static.publish(_transform_message(0, "base_link", "camera", BASE_FROM_CAMERA))
        node.create_subscription(LocalizationStatus, "vloc_localizer/status", self._on_status, 1000)
        node.create_subscription(PoseStamped, "vloc_localizer/pose", self._on_pose, 1000)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._closed = threading.Event()
        self._start_ns = time.time_ns()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._spin, self._publish_odometry)]
        for thread in self._threads:
            thread.start()

    def wait_for_localizer(self) -> None:
        """Publish two images a second until one is localized, and let the subscriptions settle."""
        deadline = time.monotonic() + START_S
        while "OK" not in self.statuses.values():
            if time.monotonic() > deadline:
                found = dict(Counter(self.statuses.values()))
                raise SystemExit(f"nothing was localized within {START_S:g} s, expected an image; statuses: {found}")
            self._publish_image(self._next_number())
            self._closed.wait(0.5)
        self._closed.wait(SETTLE_S)

    def drive(self, seconds: float) -> list[int]:
        """Publish images at the rate for a time, and wait for the last statuses; return the stamps."""
        first = self._next_number()
        numbers = range(first, first + round(seconds * self._rate_hz))
        sent = [self._publish_image(number) for number in numbers]
        self._closed.wait(END_S)
        return sent

    def close(self) -> None:
        """Stop, and destroy the node."""
        self._closed.set()
        self._executor.shutdown()
        for thread in self._threads:
            thread.join()
        self._node.destroy_node()
        self._rclpy.try_shutdown()

    def _next_number(self) -> int:
        return int((time.time_ns() - self._start_ns) * self._rate_hz / _NS_PER_S) + 1

    def _publish_image(self, number: int) -> int:
        """Publish calibration and image of a number at their time; return their stamp."""
        stamp_ns = self._start_ns + number * _NS_PER_S // self._rate_hz
        self._closed.wait(max(0.0, (stamp_ns - time.time_ns()) / _NS_PER_S))
        self._calibration.header.stamp = _time_message(stamp_ns)
        message = self._messages[round(self._position(stamp_ns))]
        seconds, nanoseconds = divmod(stamp_ns, _NS_PER_S)
        message[4:12] = seconds.to_bytes(4, "little") + nanoseconds.to_bytes(4, "little")
        self._published_ns[stamp_ns] = time.time_ns()
        self._info.publish(self._calibration)
        self._image.publish(bytes(message))
        return stamp_ns

    def _position(self, stamp_ns: int) -> float:
        """Return where on the path the robot is: at the index of a pose at the time of every image."""
        steps = (stamp_ns - self._start_ns) * self._rate_hz / _NS_PER_S
        last = len(self._path) - 1
        return last - abs(last - steps % (2 * last))

    def _publish_odometry(self) -> None:
        while not self._closed.wait(1 / ODOMETRY_HZ):
            stamp_ns = time.time_ns()
            map_from_camera = self._path.interpolate(int(self._position(stamp_ns) * _NS_PER_S))
            assert map_from_camera is not None
            pose = map_from_camera @ BASE_FROM_CAMERA.inverse()
            self._tf.publish(_transform_message(stamp_ns, "odom", "base_link", pose))

    def _spin(self) -> None:
        while not self._closed.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_status(self, message: Any) -> None:
        self.statuses[_stamp_ns(message)] = self._names.get(message.status, "other")

    def _on_pose(self, message: Any) -> None:
        stamp_ns = _stamp_ns(message)
        if stamp_ns in self._published_ns:
            self.latencies_ms[stamp_ns] = 1e-6 * (time.time_ns() - self._published_ns[stamp_ns])


def resize_images(camera: Camera, images: list[Array], width: int, height: int) -> tuple[Camera, list[Array]]:
    """Cut images to another aspect ratio around the middle row, and resize them; return the camera of the result."""
    rows = camera.width * height // width
    top = (camera.height - rows) // 2
    cut = [image[top : top + rows] for image in images]
    resized = [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in cut]
    return camera.part(0, top, camera.width, rows).scaled(width, height), resized


def _serialize_image(image: Array, *, compressed: bool) -> bytearray:
    """Return a serialised Image or CompressedImage; the bytes 4 to 12 are its stamp."""
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CompressedImage, Image

    height, width = image.shape[:2]
    if compressed:
        message = CompressedImage(format="jpeg")
        message.data.frombytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    else:
        message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
        message.data.frombytes(np.ascontiguousarray(image).tobytes())
    message.header.frame_id = "camera"
    return bytearray(serialize_message(message))


def _calibration_message(camera: Camera) -> Any:
    from sensor_msgs.msg import CameraInfo

    model, k, d = camera.to_ros()
    message = CameraInfo(width=camera.width, height=camera.height, distortion_model=model, k=k, d=d)
    message.header.frame_id = "camera"
    return message


def _transform_message(stamp_ns: int, parent: str, child: str, pose: Pose) -> Any:
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    message = TransformStamped(child_frame_id=child)
    message.header.stamp, message.header.frame_id = _time_message(stamp_ns), parent
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = pose.translation.tolist()
    q.x, q.y, q.z, q.w = pose.quaternion.tolist()
    return TFMessage(transforms=[message])


def _time_message(stamp_ns: int) -> Any:
    from builtin_interfaces.msg import Time

    return Time(sec=stamp_ns // _NS_PER_S, nanosec=stamp_ns % _NS_PER_S)


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec * _NS_PER_S + stamp.nanosec)
