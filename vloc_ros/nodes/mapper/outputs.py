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

"""What the mapper publishes: its status, the poses of the keyframes, and where the robot has been."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from nav_msgs.msg import OccupancyGrid
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from vloc_msgs.msg import MapperStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.node_config import MapperConfig
from vloc_ros.nodes.localizer.diagnostics import diagnostic_array
from vloc_ros.nodes.mapper.counts import ImageCounts
from vloc_ros.nodes.mapper.coverage import Coverage, CoverageGrid
from vloc_ros.nodes.mapper.diagnostics import judge_mapper
from vloc_ros.nodes.mapper.map_build import BuildReport
from vloc_ros.nodes.mapper.session import RecordingSession
from vloc_ros.nodes.rclpy_support.conversion import header, pose_message, stamp_ns_of
from vloc_ros.storage.keyframe_recordings import KeyframeRecording, RecordingState

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_STATES = {RecordingState.RECORDING: MapperStatus.RECORDING, RecordingState.PAUSED: MapperStatus.PAUSED}
_MB = 10**6
_KEYFRAMES_PERIOD_S = 5.0
_DIAGNOSTICS_PERIOD_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What is to be published, apart from what the worker goes on changing.

    Attributes:
        status: of the mapper.
        keyframes: odom_from_camera of all keyframes; None where they are not to be published.
        grid: coverage by them; None as well where there is none.
    """

    status: MapperStatus
    keyframes: list[Pose] | None = None
    grid: CoverageGrid | None = None


class MapperOutputs:
    """Publishes until `close`; one thread at a time."""

    def __init__(self, node: LifecycleNode, config: MapperConfig) -> None:
        self._node, self._config = node, config
        self._status = node.create_lifecycle_publisher(MapperStatus, "~/status", _LATCHED)
        self._keyframes = node.create_lifecycle_publisher(PoseArray, "~/keyframes", _LATCHED)
        self._coverage = node.create_lifecycle_publisher(OccupancyGrid, "~/coverage", _LATCHED)
        self._diagnostics = node.create_lifecycle_publisher(DiagnosticArray, "/diagnostics", 10)
        self.reset()

    def take(
        self,
        session: RecordingSession,
        coverage: Coverage,
        counts: ImageCounts,
        report: BuildReport,
        received: int,
        *,
        at_once: bool,
    ) -> Snapshot:
        """Take what is to be published; the caller has the lock.

        Keyframes are taken where there are new ones, every few seconds, or `at_once`: there are thousands.
        """
        now_ns = self._node.get_clock().now().nanoseconds
        status = self._make_status(now_ns, session, coverage, counts, report, received)
        # those of a recording that is finished stay visible until the next begins
        recording = self._recording = session.recording or self._recording
        if recording is None or not (at_once or time.monotonic() >= self._next_s):
            return Snapshot(status)
        shown = recording.folder.name, len(recording.keyframes)
        if self._shown == shown:
            return Snapshot(status)
        self._shown, self._next_s = shown, time.monotonic() + _KEYFRAMES_PERIOD_S
        return Snapshot(status, [pose for _, pose in recording.keyframes], coverage.grid())

    def publish(self, snapshot: Snapshot) -> None:
        """Publish what was taken; this needs no lock."""
        stamped = snapshot.status.header
        self._status.publish(snapshot.status)
        self._publish_diagnostics(snapshot.status)
        if snapshot.keyframes is not None:
            poses = [pose_message(pose) for pose in snapshot.keyframes]
            self._keyframes.publish(PoseArray(header=stamped, poses=poses))
        if snapshot.grid is not None:
            self._coverage.publish(_grid_message(stamped, snapshot.grid))

    def reset(self) -> None:
        """Publish keyframes again, even where they have not changed."""
        self._shown: tuple[str, int] | None = None
        self._recording: KeyframeRecording | None = None
        self._next_s = 0.0
        self._received, self._image_s, self._diagnosed_s = 0, time.monotonic(), 0.0

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._status, self._keyframes, self._coverage, self._diagnostics):
            self._node.destroy_lifecycle_publisher(publisher)

    def _publish_diagnostics(self, status: MapperStatus) -> None:
        """Publish on /diagnostics, once a second at most."""
        now_s = time.monotonic()
        if status.images_received != self._received or status.state != MapperStatus.RECORDING:
            self._received, self._image_s = status.images_received, now_s
        if now_s < self._diagnosed_s + _DIAGNOSTICS_PERIOD_S:
            return
        self._diagnosed_s = now_s
        components = judge_mapper(status, silent_s=now_s - self._image_s)
        name, stamp_ns = self._node.get_fully_qualified_name(), stamp_ns_of(status)
        self._diagnostics.publish(diagnostic_array(components, node=name, stamp_ns=stamp_ns))

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


def _grid_message(stamped: Header, grid: CoverageGrid) -> OccupancyGrid:
    message = OccupancyGrid(header=stamped)
    rows, columns = grid.shares.shape
    info = message.info
    info.resolution, info.width, info.height = grid.cell_m, columns, rows
    info.origin.position.x, info.origin.position.y = grid.origin.tolist()
    message.data = array("b", grid.shares.tobytes())
    return message
