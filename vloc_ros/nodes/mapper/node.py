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

"""The mapper node: records keyframes while the robot drives, builds a map of them, has the map server load it.

A worker thread records images, and shares what is behind one lock with the executor, which alone publishes. The build
runs as a process; the thread that follows it only wakes the executor.
"""

from __future__ import annotations

import shlex
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger
from tf2_ros import Buffer

from vloc_msgs.srv import BuildMap
from vloc_ros.core.errors import ConfigError, InputError, VlocError
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.inference.keypoints import read_keypoint_model
from vloc_ros.node_config import MapperConfig
from vloc_ros.nodes.localizer.cameras import parse_extrinsics
from vloc_ros.nodes.localizer.transforms import TransformLookup
from vloc_ros.nodes.mapper.counts import ImageCounts
from vloc_ros.nodes.mapper.coverage import Coverage
from vloc_ros.nodes.mapper.image_source import ImageSource
from vloc_ros.nodes.mapper.keyframe_pipeline import KeyframePipeline
from vloc_ros.nodes.mapper.map_build import BuildReport, BuildState, MapBuilder
from vloc_ros.nodes.mapper.map_handover import MapHandover
from vloc_ros.nodes.mapper.odometry_input import OdometryInput
from vloc_ros.nodes.mapper.outputs import MapperOutputs
from vloc_ros.nodes.mapper.requests import RefusedRequestError, begin_build
from vloc_ros.nodes.mapper.session import KeyframeRefusedError, RecordingSession
from vloc_ros.nodes.rclpy_support.image_transfer import receive_over_udp
from vloc_ros.nodes.rclpy_support.managed import ACTIVE, INACTIVE, UNCONFIGURED, ManagedNode
from vloc_ros.nodes.rclpy_support.parameters import config_of, declare_parameters, log_parameters
from vloc_ros.nodes.rclpy_support.process import run_node

_WARNING_PERIOD_S = 5.0
_ROOTSIFT = "rootsift"


class MapperNode(ManagedNode):
    """See the module, and docs/mapping-on-the-robot.md for topics, services and parameters."""

    def __init__(self, **options: Any) -> None:
        super().__init__("vloc_mapper", **options)
        declare_parameters(self, MapperConfig(), admit=self._admit)
        self._lock = threading.Lock()
        self._buffer: Buffer | None = None
        self._worker: threading.Thread | None = None
        self._images: ImageSource | None = None
        self._odometry: OdometryInput | None = None
        self._session: RecordingSession | None = None
        self._counts, self._coverage = ImageCounts(), Coverage(1.0)
        self._logged = BuildState.NONE
        for name, act in (
            ("start", self._start),
            ("pause", self._pause),
            ("resume", self._resume),
            ("finish", self._finish),
            ("cancel_build", self._cancel_build),
        ):
            self.create_service(Trigger, f"~/{name}", partial(self._on_trigger, act))
        self.create_service(BuildMap, "~/build_map", self._on_build_map)
        if config_of(self, MapperConfig).autostart:
            self.start_alone()

    def configure(self) -> None:
        """Take the folder of recordings, and up again what is not finished in it."""
        self._config = config = config_of(self, MapperConfig)
        log_parameters(self, config)
        _check(config)
        options = _build_options(config)
        self._handover = MapHandover(self, config.map_server)
        self._wake = self.create_guard_condition(self._publish)
        self._builder = MapBuilder(
            Path(config.maps_folder).expanduser().resolve(),
            options=options,
            hand_over=self._handover.hand_over,
            on_change=self._wake.trigger,
        )
        self._outputs = MapperOutputs(self, config)
        self._session = RecordingSession(
            Path(config.recordings_folder).expanduser().resolve(),
            config.keyframes,
            odom_frame=config.odom_frame,
            max_disk_mb=config.max_disk_mb,
            min_free_mb=config.min_free_mb,
        )
        self._show_recording()
        for warning in self._session.warnings:
            self.get_logger().warning(warning)
        if (recording := self._session.recording) is not None:
            self.get_logger().info(
                f"the recording {recording.folder} with {len(recording.keyframes)} keyframes is not finished: it is "
                f"{recording.info.state.value}"
            )
            if recording.info.end_reason:
                self.get_logger().warning(f"it cannot go on: {recording.info.end_reason}")
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(config.status_period_s, self._publish, clock=steady)

    def activate(self) -> None:
        """Subscribe, and go on with a recording that was interrupted."""
        assert self._session is not None
        self._session.allow_gap()
        self._images = ImageSource(self, self._config)
        if self._buffer is None:  # one for the life of the node: a buffer cannot be detached from the node's clock
            self._buffer = Buffer(node=self)
        self._frames = TransformLookup(self, self._buffer, timeout_s=self._config.transform_timeout_s)
        self._counts = ImageCounts()
        self._outputs.reset()
        if self._config.odometry == "topic":
            self._odometry = OdometryInput(
                self, odom_frame=self._config.odom_frame, timeout_s=self._config.transform_timeout_s
            )
        calibration = self._images.calibration
        pipeline = KeyframePipeline(self._config, self._frames, self._odometry, calibration, self._session, self._lock)
        if self._config.record_on_activate and self._session.recording is None:
            self._start()
        self._worker = threading.Thread(target=self._work, args=(self._images, pipeline), name="mapper", daemon=True)
        self._worker.start()
        self._publish(at_once=True)

    def deactivate(self) -> None:
        """Unsubscribe; the recording goes on when the node is activated again."""
        if self._images is None:
            return
        self._images.close()
        if self._odometry is not None:
            self._odometry.close()
        if self._worker is not None:
            self._worker.join()
        self._frames.close()
        self._images = self._worker = self._odometry = None

    def cleanup(self) -> None:
        """Cancel a build, and leave the folders."""
        if hasattr(self, "_timer"):
            self.destroy_timer(self._timer)
            del self._timer
        if hasattr(self, "_builder"):
            self._handover.abort()
            self._builder.close()
            self._handover.close()
            self.destroy_guard_condition(self._wake)
            del self._builder, self._handover
        if self._session is not None:
            self._session.close()
            self._session = None
        if hasattr(self, "_outputs"):
            self._outputs.close()
            del self._outputs

    def _admit(self, changed: set[str], configurations: Sequence[Any]) -> str:
        """Refuse changes: no request chooses folders or options of a process, and the others are read once."""
        fixed = {"recordings_folder", "maps_folder", "extractor", "build_options"}
        if paths := sorted(changed & fixed):
            return f"{paths[0]} is fixed when the node starts, so that no request chooses files; restart it"
        if changed and self.state != UNCONFIGURED:
            return f"{min(changed)} is read when the node is configured, which it is; deactivate and clean it up first"
        return ""

    def _work(self, images: ImageSource, pipeline: KeyframePipeline) -> None:
        limit_blas_threads()
        while (message := images.take()) is not None:
            try:
                self._record(pipeline, message)
            except Exception:  # a bug: keep the traceback and the node
                if self.context.ok():
                    self.get_logger().fatal(traceback.format_exc(), throttle_duration_sec=_WARNING_PERIOD_S)

    def _record(self, pipeline: KeyframePipeline, message: Any) -> None:
        assert self._session is not None
        if not self._session.is_recording:
            return
        try:
            pose = pipeline.record(message)
        except KeyframeRefusedError as refusal:
            with self._lock:
                self._counts.refuse(refusal.kind, str(refusal))
            self.get_logger().warning(
                f"no keyframe, {refusal.kind}: {refusal}", throttle_duration_sec=_WARNING_PERIOD_S
            )
            return
        with self._lock:
            self._counts.take(moved=pose is not None)
            if pose is not None:
                self._coverage.add(pose)

    def _start(self) -> str:
        name = self._recording_session().start()
        self._show_recording()
        return f"recording {name}"

    def _pause(self) -> str:
        return f"paused {self._recording_session().pause()}"

    def _resume(self) -> str:
        session = self._recording_session()
        built = self._builder.report.recording if self._builder.is_running else ""
        if session.recording is not None and session.recording.folder.name == built:
            raise InputError("a map of this recording is being built; wait, call cancel_build, or finish it")
        return f"resumed {session.resume()}"

    def _finish(self) -> str:
        return f"finished {self._recording_session().finish()}"

    def _cancel_build(self) -> str:
        if self.state not in (INACTIVE, ACTIVE) or not self._builder.cancel():
            raise InputError("no map is being built")
        return f"cancelling the build of {self._builder.report.map}"

    def _on_trigger(
        self, act: Callable[[], str], request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        try:
            with self._lock:
                response.message = act()
            response.success = True
            self.get_logger().info(response.message)
        except VlocError as error:
            response.message = str(error)
        self._publish(at_once=True)
        return response

    def _on_build_map(self, request: BuildMap.Request, response: BuildMap.Response) -> BuildMap.Response:
        try:
            with self._lock:
                session = self._recording_session()  # first: before the node is configured there is no builder
                response.map = begin_build(self._builder, session, request)
            self.get_logger().info(f"building the map {response.map}")
        except RefusedRequestError as refusal:
            response.result, response.message = refusal.code, str(refusal)
        except VlocError as error:
            response.result, response.message = BuildMap.Response.UNDEFINED_FAILURE, str(error)
        self._publish(at_once=True)
        return response

    def _recording_session(self) -> RecordingSession:
        """Return the session; raises InputError unless the node is configured."""
        if self._session is None:
            raise InputError(f"the node is {self.state}; configure and activate it")
        return self._session

    def _show_recording(self) -> None:
        """Measure the coverage of the present recording, or of an empty one."""
        recording = self._recording_session().recording
        poses = [pose for _, pose in recording.keyframes] if recording else []
        self._coverage = Coverage(self._config.coverage_cell_m, poses)

    def _publish(self, *, at_once: bool = False) -> None:
        """Publish the status; of a build that failed, log why.

        Not `at_once`, it is left out while the worker has the lock, as it writes an image, and keyframes have a period.
        """
        if self._images is None or self._session is None or not self.context.ok():
            return
        if not self._lock.acquire(blocking=at_once):
            return
        try:
            report, received = self._builder.report, self._images.received
            snapshot = self._outputs.take(
                self._session, self._coverage, self._counts, report, received, at_once=at_once
            )
        finally:
            self._lock.release()
        self._outputs.publish(snapshot)
        self._log_build(report)

    def _log_build(self, report: BuildReport) -> None:
        """Log the end of a build, once."""
        if report.state is self._logged:
            return
        self._logged = report.state
        if report.state in (BuildState.FAILED, BuildState.CANCELLED):
            self.get_logger().error(f"the map {report.map} was not built: {report.message}")
        elif report.state is BuildState.SUCCEEDED:
            built = f"the map {report.map} was built in {report.duration_s:.0f} s"
            if report.message:
                self.get_logger().warning(f"{built}; {report.message}")
            else:
                self.get_logger().info(f"{built}; the map server has loaded it")


def _check(config: MapperConfig) -> None:
    """Check what no range does.

    Raises:
        ConfigError: parameters are invalid, or contradict each other.
    """
    for name in ("recordings_folder", "maps_folder", "odom_frame", "map_frame", "extractor"):
        if not getattr(config, name):
            raise ConfigError(f"parameter {name} is empty, expected a name")
    extrinsics = parse_extrinsics(config.base_from_camera)
    if len(extrinsics) > 1:
        raise ConfigError(f"base_from_camera has {len(extrinsics)} poses, expected one: a recording has one camera")
    if extrinsics and not config.base_frame:
        raise ConfigError("base_from_camera is set and base_frame is empty; name the base frame of the robot")


def _build_options(config: MapperConfig) -> list[str]:
    """Return the options of `vloc map build` that the parameters name.

    Raises:
        ConfigError: build_options cannot be split into words.
        ModelError: the extractor is no model, which is to be known before the drive.
    """
    try:
        further = shlex.split(config.build_options)
    except ValueError as error:
        raise ConfigError(
            f"build_options is {config.build_options!r}, expected words as in a shell ({error})"
        ) from error
    extractor = config.extractor
    if extractor != _ROOTSIFT:
        extractor = str(Path(extractor).expanduser())
        read_keypoint_model(Path(extractor))
    return ["--frame-id", config.map_frame, "--extractor", extractor, *further]


def main() -> None:
    """Entry point `mapper`."""
    receive_over_udp()
    run_node(MapperNode, MapperConfig())


if __name__ == "__main__":
    main()
