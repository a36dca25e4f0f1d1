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

"""All publishers of the localizer for image results."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.tracking.fix_filter import GateResult
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.earth_outputs import EarthOutputs
from vloc_ros.nodes.localizer.pipeline import LocalizationOutput
from vloc_ros.nodes.localizer.pose_relay import PoseRelay
from vloc_ros.nodes.localizer.transforms import MapTransform, TransformLookup
from vloc_ros.nodes.rclpy_support.conversion import (
    bgr_message,
    pose_stamped,
    pose_with_covariance_stamped,
    stamp_ns_of,
)

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_GREEN, _RED, _BLACK = (80, 220, 80), (60, 60, 235), (0, 0, 0)


class Outputs:
    """Publishes poses, statuses, the debug image, TF, and poses for other systems. The worker publishes."""

    def __init__(
        self, node: LifecycleNode, config: LocalizerNodeConfig, fix_filter: FixFilterConfig, frames: TransformLookup
    ) -> None:
        self._node, self._config = node, config
        depth = config.status_depth
        self._pose = node.create_lifecycle_publisher(PoseStamped, "~/pose", depth)
        self._pose_with_covariance = node.create_lifecycle_publisher(
            PoseWithCovarianceStamped, "~/pose_with_covariance", depth
        )
        self._earth = EarthOutputs(node, depth)
        self._last_pose = LastPose(node)
        self._status = node.create_lifecycle_publisher(LocalizationStatus, "~/status", depth)
        self._debug_image = node.create_lifecycle_publisher(Image, "~/debug_image", 1)
        self.pose_relay = PoseRelay(node, config, fix_filter, frames)
        self._transform = MapTransform(
            node,
            tolerance_s=config.transform_tolerance_s,
            rate_hz=config.transform_rate_hz,
            max_age_s=config.transform_max_age_s,
        )

    @property
    def listeners(self) -> int:
        """Number of subscribers to the status."""
        return int(self._status.get_subscription_count())

    @property
    def is_debug_watched(self) -> bool:
        """Whether somebody subscribes to the debug image."""
        return bool(self._debug_image.get_subscription_count() > 0)

    def publish(self, output: LocalizationOutput) -> None:
        """Publish the output of an image set except its status, which comes last."""
        if output.fix is not None:
            self._publish_fix(output)
        if self.is_debug_watched and output.images and output.result is not None:
            picture = draw_result(output.images, output.result, note=output.note)
            header = output.status.header
            self._debug_image.publish(bgr_message(stamp_ns_of(output.status), header.frame_id, picture))

    def publish_status(self, status: LocalizationStatus) -> None:
        """Publish the status of an image."""
        self._status.publish(status)

    def reset(self) -> None:
        """Stop repeating the last fix, and withdraw it: the map was swapped, or the node was deactivated."""
        self._transform.reset()
        self._last_pose.reset()
        self.pose_relay.reset()

    def withdraw_pose(self) -> None:
        """Withdraw the last pose, and send it to nobody: it may be wrong. The transform stays until the next fix."""
        self._last_pose.reset()
        self.pose_relay.reset()

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._pose, self._pose_with_covariance, self._status, self._debug_image):
            self._node.destroy_lifecycle_publisher(publisher)
        self._earth.close()
        self._last_pose.close()
        self.pose_relay.close()
        self._transform.close()

    def _publish_fix(self, output: LocalizationOutput) -> None:
        assert output.fix is not None
        status, fix = output.status, output.fix
        stamp_ns = stamp_ns_of(status)
        if output.gating is not None and output.gating.result is GateResult.JUMPED:
            self._node.get_logger().warning(f"the pose jumped: {status.reason}")
        if output.map_from_child is not None:
            self._publish_transform(stamp_ns, status, output.map_from_child)
        self._pose.publish(pose_stamped(stamp_ns, status.map_frame, fix.map_from_base))
        message = pose_with_covariance_stamped(stamp_ns, status.map_frame, fix.map_from_base, fix.covariance)
        self._pose_with_covariance.publish(message)
        if output.earth is not None:
            self._earth.publish(stamp_ns, status.body_frame, output.earth)
        self._last_pose.publish(message)
        self.pose_relay.publish(output)

    def _publish_transform(self, stamp_ns: int, status: LocalizationStatus, map_from_child: Pose) -> None:
        with_odometry = self._config.publish_tf == "map_odom"
        child = self._config.odom_frame if with_odometry else status.body_frame
        self._transform.publish(stamp_ns, status.map_frame, child, map_from_child, repeated=with_odometry)


class LastPose:
    """Publishes `~/last_pose_with_covariance`, latched, until `close`.

    It has a topic of its own, so that nobody fuses an old pose: on `~/pose_with_covariance` all are new.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._publisher = self._make_publisher()
        self._published = False

    def publish(self, message: PoseWithCovarianceStamped) -> None:
        """Publish a pose; it replaces the last one."""
        with self._lock:
            self._publisher.publish(message)
            self._published = True

    def reset(self) -> None:
        """Withdraw the last pose, for which DDS needs another publisher; at the end of the process it is withdrawn."""
        with self._lock:
            if self._published and self._node.context.ok():
                self._node.destroy_publisher(self._publisher)
                self._publisher, self._published = self._make_publisher(), False

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_publisher(self._publisher)

    def _make_publisher(self) -> Publisher:
        return self._node.create_publisher(PoseWithCovarianceStamped, "~/last_pose_with_covariance", _LATCHED)


def draw_result(images: Sequence[Array], result: LocalizationResult, *, note: str = "") -> Array:
    """Return an (H, W, 3) BGR image of all views side by side, with inliers as circles and a line of text, or two."""
    colour = _GREEN if result.ok else _RED
    canvas = _side_by_side(images)
    lefts = np.cumsum([0, *(image.shape[1] for image in images)])
    # COLMAP's pixel centres are at halves, OpenCV draws at integers
    for (x, y), view in zip(np.rint(result.inlier_xy - 0.5).astype(int), result.inlier_views, strict=True):
        cv2.circle(canvas, (int(x + lefts[view]), int(y)), 3, colour, 1, cv2.LINE_AA)
    text = f"{result.status.name}  {result.inliers}/{result.matches} inliers  {result.candidate}"
    for line, bottom in ((text, 20), (note, 40)):
        for tint, width in ((_BLACK, 3), (colour, 1)):
            cv2.putText(canvas, line, (8, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.5, tint, width, cv2.LINE_AA)
    return canvas


def _side_by_side(images: Sequence[Array]) -> Array:
    """Return a copy of all images, padded with black to the same height."""
    canvas = np.zeros((max(i.shape[0] for i in images), sum(i.shape[1] for i in images), 3), np.uint8)
    left = 0
    for image in images:
        height, width = image.shape[:2]
        bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
        canvas[:height, left : left + width] = bgr
        left += width
    return canvas
