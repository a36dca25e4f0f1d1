"""What the mapper publishes: its status, the poses of the keyframes, and where the robot has been."""

from __future__ import annotations

from geometry_msgs.msg import PoseArray
from nav_msgs.msg import OccupancyGrid
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile

from vloc_msgs.msg import MapperStatus
from vloc_ros.node_config import MapperConfig
from vloc_ros.nodes.mapper.counts import ImageCounts
from vloc_ros.nodes.mapper.coverage import Coverage, CoverageGrid
from vloc_ros.nodes.mapper.map_build import BuildReport
from vloc_ros.nodes.mapper.session import RecordingSession
from vloc_ros.nodes.rclpy_support.conversion import header, pose_message
from vloc_ros.storage.keyframe_recordings import RecordingState

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_STATES = {RecordingState.RECORDING: MapperStatus.RECORDING, RecordingState.PAUSED: MapperStatus.PAUSED}
_MB = 10**6


class MapperOutputs:
    """Publishes until `close`; one thread at a time."""

    def __init__(self, node: LifecycleNode, config: MapperConfig) -> None:
        self._node, self._config = node, config
        self._status = node.create_lifecycle_publisher(MapperStatus, "~/status", _LATCHED)
        self._keyframes = node.create_lifecycle_publisher(PoseArray, "~/keyframes", _LATCHED)
        self._coverage = node.create_lifecycle_publisher(OccupancyGrid, "~/coverage", _LATCHED)
        self._shown: tuple[str, int] | None = None

    def publish(
        self, session: RecordingSession, coverage: Coverage, counts: ImageCounts, report: BuildReport, received: int
    ) -> None:
        """Publish the status, and the keyframes where there are new ones."""
        now_ns = self._node.get_clock().now().nanoseconds
        self._status.publish(self._make_status(now_ns, session, coverage, counts, report, received))
        recording = session.recording
        # those of a recording that is finished stay visible until the next begins
        if recording is None or self._shown == (shown := (recording.folder.name, len(recording.keyframes))):
            return
        poses = [pose_message(pose) for _, pose in recording.keyframes]
        self._keyframes.publish(PoseArray(header=header(now_ns, self._config.odom_frame), poses=poses))
        if (grid := coverage.grid()) is not None:
            self._coverage.publish(_grid_message(now_ns, self._config.odom_frame, grid))
        self._shown = shown

    def reset(self) -> None:
        """Publish keyframes again, even where they have not changed."""
        self._shown = None

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._status, self._keyframes, self._coverage):
            self._node.destroy_lifecycle_publisher(publisher)

    def _make_status(
        self,
        now_ns: int,
        session: RecordingSession,
        coverage: Coverage,
        counts: ImageCounts,
        report: BuildReport,
        received: int,
    ) -> MapperStatus:
        status = MapperStatus(header=header(now_ns, self._config.odom_frame))
        if (recording := session.recording) is not None:
            status.state = _STATES[recording.info.state]
            status.recording, status.folder = recording.folder.name, str(recording.folder)
            status.keyframes, status.reason = len(recording.keyframes), recording.info.end_reason
            status.path_length_m, status.covered_area_m2 = coverage.path_length_m, coverage.area_m2
        status.disk_bytes, status.max_disk_bytes = session.disk_bytes, self._config.max_disk_mb * _MB
        status.images_received, status.images_not_moved = received, counts.not_moved
        status.refusals, status.refusal_counts = list(counts.refused), list(counts.refused.values())
        status.refusal = counts.refusal
        status.build_state, status.build_recording, status.build_map = report.state.value, report.recording, report.map
        status.build_step, status.build_message = report.step, report.message
        status.build_duration_s, status.map_loaded = report.duration_s, report.loaded
        return status


def _grid_message(now_ns: int, frame: str, grid: CoverageGrid) -> OccupancyGrid:
    message = OccupancyGrid(header=header(now_ns, frame))
    rows, columns = grid.shares.shape
    info = message.info
    info.resolution, info.width, info.height = grid.cell_m, columns, rows
    info.origin.position.x, info.origin.position.y = grid.origin.tolist()
    message.data = grid.shares.reshape(-1).tolist()
    return message
