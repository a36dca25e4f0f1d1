"""All that the localizer publishes about images."""

from __future__ import annotations

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.tracking.fix_filter import GateResult
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.conversion import bgr_message, pose_stamped, pose_with_covariance_stamped, stamp_ns_of
from vloc_ros.nodes.localization_pipeline import LocalizationOutput
from vloc_ros.nodes.overlay import drawn
from vloc_ros.nodes.pose_relay import PoseRelay
from vloc_ros.nodes.transforms import MapTransform


class Outputs:
    """Poses, statuses, the debug image, TF, and what is told to other systems. The worker publishes."""

    def __init__(self, node: LifecycleNode, config: LocalizerNodeConfig) -> None:
        self._node, self._config = node, config
        depth = config.status_depth
        self._pose = node.create_lifecycle_publisher(PoseStamped, "~/pose", depth)
        self._pose_with_covariance = node.create_lifecycle_publisher(
            PoseWithCovarianceStamped, "~/pose_with_covariance", depth
        )
        self._status = node.create_lifecycle_publisher(LocalizationStatus, "~/status", depth)
        self._debug_image = node.create_lifecycle_publisher(Image, "~/debug_image", 1)
        self.feeding = PoseRelay(node, config)
        self._transform = MapTransform(node, tolerance_s=config.transform_tolerance_s, rate_hz=config.transform_rate_hz)

    @property
    def listeners(self) -> int:
        """How many hear the statuses."""
        return int(self._status.get_subscription_count())

    def publish(self, answer: LocalizationOutput) -> None:
        """All about an image but its status, which comes last."""
        if answer.fix is not None:
            self._publish_fix(answer)
        watched = self._debug_image.get_subscription_count() > 0
        if watched and answer.images and answer.result is not None:
            picture = drawn(answer.images, answer.result)
            header = answer.status.header
            self._debug_image.publish(bgr_message(stamp_ns_of(answer.status), header.frame_id, picture))

    def publish_status(self, status: LocalizationStatus) -> None:
        """The status of an image."""
        self._status.publish(status)

    def forget(self) -> None:
        """Repeat nothing of what was: another map, or nobody listens to images any more."""
        self._transform.forget()
        self.feeding.forget()

    def close(self) -> None:
        """Give up the publishers."""
        for publisher in (self._pose, self._pose_with_covariance, self._status, self._debug_image):
            self._node.destroy_lifecycle_publisher(publisher)
        self.feeding.close()
        self._transform.close()

    def _publish_fix(self, answer: LocalizationOutput) -> None:
        assert answer.fix is not None
        status, fix = answer.status, answer.fix
        stamp_ns = stamp_ns_of(status)
        if answer.judgement is not None and answer.judgement.verdict is GateResult.JUMPED:
            self._node.get_logger().warning(f"the robot was elsewhere: {status.reason}")
        if answer.map_from_child is not None:
            self._publish_transform(stamp_ns, status, answer.map_from_child)
        self._pose.publish(pose_stamped(stamp_ns, status.map_frame, fix.map_from_base))
        self._pose_with_covariance.publish(
            pose_with_covariance_stamped(stamp_ns, status.map_frame, fix.map_from_base, fix.covariance)
        )
        self.feeding.publish(answer)

    def _publish_transform(self, stamp_ns: int, status: LocalizationStatus, map_from_child: Pose) -> None:
        with_odometry = self._config.publish_tf == "map_odom"
        child = self._config.odom_frame if with_odometry else status.body_frame
        self._transform.publish(stamp_ns, status.map_frame, child, map_from_child, repeated=with_odometry)
