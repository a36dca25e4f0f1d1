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

"""What other sensors say of images from above: gravity, and the altitude, of which each may be unknown."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, Range

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.query import FlightState
from vloc_ros.node_config import FlightConfig
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.localizer.rig_transforms import Reference, RigTransforms
from vloc_ros.nodes.rclpy_support.conversion import rotation_of, stamp_ns_of

_DOWN = np.array([0.0, 0.0, -1.0])
# IMUs publish at hundreds of hertz
_DEPTH = 400
# cosine of how far a range sensor may look away from straight down
_LOOKS_DOWN = 0.5
_WARN_EACH_S = 10.0


class FlightSensors:
    """Subscribes to the sensors that the parameters `flight` name, until `close`; the worker asks for their state."""

    def __init__(self, node: Node, config: FlightConfig) -> None:
        self._node, self._config = node, config
        self._imu = Readings(node, Imu, "imu") if config.gravity == "imu" else None
        self._range = Readings(node, Range, "range") if config.altitude == "range" else None
        self._had_range = False

    @property
    def needs_odometry(self) -> bool:
        """Whether odometry says something of images from above."""
        return "odometry" in (self._config.gravity, self._config.altitude)

    def close(self) -> None:
        """Unsubscribe."""
        for readings in (self._imu, self._range):
            if readings is not None:
                readings.close()

    def state(self, transforms: RigTransforms, reference: Reference, odom_from_base: Pose | None) -> FlightState:
        """Return what is known of the rig at the time of its images; what a sensor did not say is unknown.

        Args:
            transforms: of TF.
            reference: of the images.
            odom_from_base: odometry at their time, None if unknown.

        Raises:
            Refused: TF has no transform from the base to the rig.
        """
        base_from_rig, config = transforms.base_from_rig(reference), self._config
        odom_from_rig = None if odom_from_base is None else odom_from_base @ base_from_rig
        down = None
        if self.needs_odometry and odom_from_rig is None:
            self._warn(
                "TF has no odometry at the time of an image, which flight.gravity or flight.altitude takes; where "
                "there is none set flight.gravity to imu, or tiles.enabled to false"
            )
        if config.gravity == "odometry" and odom_from_rig is not None:
            down = odom_from_rig.rotation.T @ _DOWN
        elif self._imu is not None:
            down = self._gravity_by_imu(self._imu, transforms, reference, base_from_rig)
        altitude_m = None
        if config.altitude == "odometry" and odom_from_rig is not None:
            altitude_m = float(odom_from_rig.translation[2]) - config.ground_z_m
        elif self._range is not None and down is not None:
            altitude_m = self._altitude_by_range(self._range, transforms, reference, base_from_rig, down)
        return FlightState(down, config.gravity_std_rad, altitude_m, config.altitude_std)

    def _gravity_by_imu(
        self, imu: Readings, transforms: RigTransforms, reference: Reference, base_from_rig: Pose
    ) -> Array | None:
        """(3,) direction of gravity in the frame of the rig."""
        message = self._nearest(imu, reference)
        if message is None:
            return None
        if message.orientation_covariance[0] < 0:
            self._warn(f"{imu.topic} has no orientation: its covariance begins with -1")
            return None
        try:
            world_from_imu = rotation_of(message.orientation)
        except InputError as error:
            self._warn(f"{imu.topic}: {error}")
            return None
        base_from_imu = self._base_from(imu, message, transforms, reference)
        if base_from_imu is None:
            return None
        return np.asarray(base_from_rig.rotation.T @ base_from_imu.rotation @ world_from_imu.T @ _DOWN)

    def _altitude_by_range(
        self, ranges: Readings, transforms: RigTransforms, reference: Reference, base_from_rig: Pose, down: Array
    ) -> float | None:
        """Altitude of the rig's origin above the ground; the sensor measures along its x axis (Range.msg)."""
        message = self._nearest(ranges, reference)
        if message is None:
            return None
        measured_m = float(message.range)
        if not np.isfinite(measured_m) or not message.min_range <= measured_m <= message.max_range:
            if not self._had_range:  # out of its reach, as it says; above that it is no fault
                limits = f"{message.min_range:g} to {message.max_range:g} m"
                self._warn(f"{ranges.topic} has measured nothing yet within its own limits, {limits}: {measured_m:g} m")
            return None
        self._had_range = True
        base_from_range = self._base_from(ranges, message, transforms, reference)
        if base_from_range is None:
            return None
        rig_from_range = base_from_rig.inverse() @ base_from_range
        slope = float(rig_from_range.rotation[:, 0] @ down)
        if slope < _LOOKS_DOWN:
            degrees = np.degrees(np.arccos(np.clip(slope, -1.0, 1.0)))
            self._warn(
                f"x of {message.header.frame_id} points {degrees:.0f} deg away from straight down, expected down"
            )
            return None
        return measured_m * slope + float(rig_from_range.translation @ down)

    def _base_from(
        self, readings: Readings, message: Any, transforms: RigTransforms, reference: Reference
    ) -> Pose | None:
        """The extrinsics of a sensor; None where TF does not have them in time."""
        frame = message.header.frame_id.lstrip("/")
        if not frame:
            self._warn(f"{readings.topic} has no frame_id, expected a frame that TF has; let the driver set it")
            return None
        try:
            return transforms.look_up_worthwhile(reference, reference.base_frame, frame)
        except Refused as error:
            self._warn(f"{readings.topic} is left out: {error}; publish its transform, or correct its frame_id")
            return None

    def _nearest(self, readings: Readings, reference: Reference) -> Any | None:
        found = readings.nearest(reference.stamp_ns, within_s=self._config.max_gap_s)
        if found is None:
            self._warn(f"nothing on {readings.topic} within {self._config.max_gap_s:g} s of an image")
        return found

    def _warn(self, reason: str) -> None:
        """Log why something is unknown that the parameters name a sensor for."""
        self._node.get_logger().warning(f"images from above: {reason}", throttle_duration_sec=_WARN_EACH_S)


class Readings:
    """The last messages of a topic. A callback writes them, the worker reads them.

    Attributes:
        topic: where they are received.
    """

    def __init__(self, node: Node, kind: Any, topic: str) -> None:
        self.topic = node.resolve_topic_name(topic)
        self._node, self._lock = node, threading.Lock()
        self._messages: deque[tuple[int, Any]] = deque(maxlen=_DEPTH)
        qos = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)  # receives from reliable ones too
        self._subscription = node.create_subscription(kind, topic, self._on_message, qos)

    def nearest(self, stamp_ns: int, *, within_s: float) -> Any | None:
        """Return the message whose stamp is nearest to a time, None where none is so near."""
        with self._lock:
            found = min(self._messages, key=lambda one: abs(one[0] - stamp_ns), default=None)
        return found[1] if found is not None and abs(found[0] - stamp_ns) <= within_s * 1e9 else None

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _on_message(self, message: Any) -> None:
        with self._lock:
            self._messages.append((stamp_ns_of(message), message))
