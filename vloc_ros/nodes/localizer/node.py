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

"""The localizer node: images and scans in, the robot's pose in the map out.

Its inputs keep the latest of each; a worker thread localizes them and publishes.
"""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.clock import Clock, ClockType
from rclpy.subscription import Subscription
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from tf2_ros import Buffer

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import Relocalize
from vloc_ros.assembly import build_localizer, explain_unused_encoder, explain_unused_matcher
from vloc_ros.core.config import LocalizerConfig, parameters_of
from vloc_ros.core.errors import InputError, MapError, VlocError
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.tracking.fix_filter import FixFilter
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.inference.engines import report_engine_waits
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.cameras import CameraImage, check_cameras
from vloc_ros.nodes.localizer.cloud_searches import CloudSearches, PendingCloud
from vloc_ros.nodes.localizer.component_status import NodeState
from vloc_ros.nodes.localizer.diagnostic_monitor import DiagnosticMonitor
from vloc_ros.nodes.localizer.diagnostics import ChangeLog, diagnostic_array, summarize_status
from vloc_ros.nodes.localizer.flight_sensors import FlightSensors
from vloc_ros.nodes.localizer.image_input import resolve_image_topics
from vloc_ros.nodes.localizer.initial_pose import InitialPose
from vloc_ros.nodes.localizer.inputs import subscribe_to_sensors
from vloc_ros.nodes.localizer.last_results import LastResults
from vloc_ros.nodes.localizer.loaded_map import LoadedMap
from vloc_ros.nodes.localizer.map_notes import (
    describe_moving_camera,
    describe_tiles,
    explain_arbitrary_frame,
    explain_unused_sensor,
    explain_unused_tiles,
)
from vloc_ros.nodes.localizer.map_source import MapServerSource
from vloc_ros.nodes.localizer.models import (
    EngineSwitch,
    LocalizerModels,
    make_noise_query,
    read_models_at_once,
    read_models_or_bridge,
)
from vloc_ros.nodes.localizer.outputs import Outputs
from vloc_ros.nodes.localizer.pipeline import LocalizationOutput, LocalizationPipeline
from vloc_ros.nodes.localizer.scan_input import ScanMessage
from vloc_ros.nodes.localizer.transforms import TransformLookup
from vloc_ros.nodes.rclpy_support.conversion import status_without_pose
from vloc_ros.nodes.rclpy_support.image_transfer import receive_over_udp
from vloc_ros.nodes.rclpy_support.managed import ACTIVE, INACTIVE, ManagedNode
from vloc_ros.nodes.rclpy_support.parameters import config_of, declare_parameters, log_parameters
from vloc_ros.nodes.rclpy_support.process import WaitingGroup, run_node
from vloc_ros.storage.maps import map_hash, read_map

_LONGEST_WAIT_S = 60.0
# parameters of the node that can be changed while it runs, as all those of the stages can but where models run
_CHANGEABLE = {"carry_last_fix", "max_image_age_s", "max_image_lead_s", "relocalize_timeout_s", "two_d_mode"}
_PATHS = {"map", "map_cache", "recognizer", "encoder", "matching_network"}


class LocalizerNode(ManagedNode):
    """See the module, and docs/ros-interface.md for topics and parameters."""

    def __init__(self, **options: Any) -> None:
        super().__init__("vloc_localizer", **options)
        self._map_lock, self._closing = threading.Lock(), threading.Event()
        self._buffer: Buffer | None = None
        declare_parameters(self, LocalizerNodeConfig(), LocalizerConfig(), admit=self._admit)
        self._monitor = DiagnosticMonitor()
        self._core_config = LocalizerConfig()
        self._loaded: LoadedMap | None = None
        self._switch: EngineSwitch | None = None
        self._engine_note = ""
        self._map_source: MapServerSource | None = None
        self._worker: threading.Thread | None = None
        # of the worker and of a cloud's search: the fix filter and the publishers
        self._fixes = threading.Lock()
        self._searches = CloudSearches(self._search_cloud)
        self._initial_pose = InitialPose(max_age_s=0.0)
        self._results = LastResults()
        self._changes = ChangeLog(self.get_logger())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._reporting = self.create_timer(
            config_of(self, LocalizerNodeConfig).diagnostics.period_s,
            self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self.create_service(Relocalize, "~/relocalize", self._on_relocalize, callback_group=WaitingGroup())
        self.create_service(Trigger, "~/feed_initial_pose", self._on_feed_initial_pose)
        if config_of(self, LocalizerNodeConfig).autostart:
            self.start_alone()

    @property
    def map_hash(self) -> str:
        """Hash of the map in use; empty without a map."""
        loaded = self._loaded
        return loaded.hash if loaded else ""

    def configure(self) -> None:
        """Read the parameters, create the publishers and load the map."""
        self._closing.clear()
        self._config = config_of(self, LocalizerNodeConfig)
        self._core_config = config_of(self, LocalizerConfig)
        log_parameters(self, self._config, self._core_config)
        self._reporting.timer_period_ns = int(self._config.diagnostics.period_s * 1e9)
        self._reporting.reset()
        check_cameras(self._config, node=self.get_name(), namespace=self.get_namespace())
        resolve_image_topics(self, self._config)
        if self._buffer is None:  # one for the life of the node: a buffer cannot be detached from the node's clock
            self._buffer = Buffer(node=self)
        self._frames = TransformLookup(self, self._buffer, timeout_s=self._config.transform_timeout_s)
        self._outputs = Outputs(self, self._config, self._core_config.fix_filter, self._frames)
        if self._config.map:
            self._load(Path(self._config.map).expanduser())
        else:
            self._map_source = MapServerSource(
                self, self._config, on_map=self._load, on_fault=partial(self._monitor.set_fault, "map")
            )

    def activate(self) -> None:
        """Subscribe to the inputs, and start the worker."""
        config = self._config
        self._initial_pose = InitialPose(max_age_s=config.initial_pose_max_age_s)
        self._outputs.reset()
        self._flight = FlightSensors(self, config.flight)
        self._pipeline = LocalizationPipeline(
            config,
            FixFilter(self._core_config.fix_filter),
            self._frames,
            self._initial_pose,
            self._flight,
            is_searching=lambda: self._searches.is_busy,
        )
        self._input = subscribe_to_sensors(self, config, self._monitor, on_dropped=self._publish_status)
        self._results.begin(self._input.sensors)
        self._changes = ChangeLog(self.get_logger())
        self.get_logger().info(f"localizes what comes on {', '.join(self._input.topics)}")
        self._initial_pose_subscription: Subscription = self.create_subscription(
            PoseWithCovarianceStamped, "initialpose", self._on_initial_pose, 1
        )
        self._worker = threading.Thread(target=self._work, name="localizer", daemon=True)
        self._worker.start()

    def deactivate(self) -> None:
        """Unsubscribe, and let the worker finish its image."""
        if self._worker is None:
            return
        self.destroy_subscription(self._initial_pose_subscription)
        self._input.close()
        self._worker.join()
        self._searches.close()
        self._flight.close()
        self._outputs.reset()
        self._worker = None
        self._results.close()

    def cleanup(self) -> None:
        """Release the map, the publishers and TF."""
        self._closing.set()
        if self._map_source is not None:
            self._map_source.close()
            self._map_source = None
            self._monitor.set_fault("map", "")
        self._end_switch()
        self._loaded = None
        self._collect_engines()
        if hasattr(self, "_outputs"):
            self._outputs.close()
            del self._outputs
        if hasattr(self, "_frames"):
            self._frames.close()
            del self._frames

    def _admit(self, changed: set[str], configurations: Sequence[Any]) -> str:
        """Apply changed parameters, all or none; return the reason for a refusal, else an empty text."""
        if paths := sorted(changed & _PATHS):
            return f"{paths[0]} is fixed when the node starts, so that no request chooses other files; restart it"
        if self.state not in (INACTIVE, ACTIVE) or not changed:
            return ""
        config, core_config = configurations
        of_inference = parameters_of(core_config.inference, "inference.")
        read_once = {leaf.name for leaf in (*parameters_of(config), *of_inference)}
        if fixed := sorted((changed & read_once) - _CHANGEABLE):
            return f"{fixed[0]} is read when the node is configured, which it is; deactivate and clean it up first"
        with self._map_lock:
            loaded, before = self._loaded, self._core_config
            reason = explain_arbitrary_frame(loaded.localizer.map) if loaded and config.two_d_mode else ""
            if reason:
                return f"{reason}, which two_d_mode needs"
            if loaded is not None and replace(core_config, fix_filter=before.fix_filter) != before:
                try:
                    loaded = loaded.with_parameters(core_config, warn=self.get_logger().warning)
                except VlocError as error:
                    return str(error)
            self._config, self._core_config, self._loaded = config, core_config, loaded
        self._outputs.pose_relay.set_fix_filter(core_config.fix_filter)
        if self.state == ACTIVE:
            self._pipeline.set_config(config, core_config.fix_filter)
        return ""

    def report_step(self, reason: str) -> None:
        """Report the failure on /diagnostics."""
        self._monitor.set_fault("node", reason)

    def _load(self, folder: Path) -> None:
        """Load a map; the previous one stays in use until this one is ready."""
        landmark_map = read_map(folder)
        if not landmark_map.metric:
            raise MapError(f"{folder}: the map has no metric scale, which a robot needs; run `vloc map align` on it")
        if reason := self._config.two_d_mode and explain_arbitrary_frame(landmark_map):
            raise MapError(f"{folder}: {reason}, which two_d_mode needs")
        digest = map_hash(folder)
        config = self._core_config
        with report_engine_waits(self._on_engine_wait):
            models = read_models_or_bridge(self._config, landmark_map, config.inference)
            loaded = self._assemble(config, landmark_map, models, digest)
        self._end_switch()  # not before: where this map cannot be used, that of the previous one goes on
        self._set_loaded(config, loaded)
        self._outputs.reset()
        self._initial_pose.clear()
        self.get_logger().info(f"map {landmark_map.name} from {folder}, {len(landmark_map.points)} points")
        resolve = self.resolve_topic_name
        notes = (
            describe_tiles(self._config, config, landmark_map, resolve=resolve),
            describe_moving_camera(self._config, loaded.moving_camera, resolve=resolve),
        )
        for note in filter(None, notes):
            self.get_logger().info(note)
        unused = (
            explain_unused_sensor(self._config, landmark_map),
            explain_unused_tiles(self._config, config, landmark_map),
            explain_unused_encoder(config, landmark_map, models.encoder),
            explain_unused_matcher(config, landmark_map, models.network),
            explain_arbitrary_frame(landmark_map),
        )
        for warning in filter(None, unused):
            self.get_logger().warning(warning)
        if models.missing:
            self._note_engine(f"the models run on ONNX Runtime until their engines are built: {models.missing}")
            self._switch = EngineSwitch(partial(self._switch_engines, digest), on_note=self._note_engine)

    def _assemble(
        self, config: LocalizerConfig, landmark_map: LandmarkMap | MapIndex, models: LocalizerModels, digest: str
    ) -> LoadedMap:
        """A localizer that has localized once: libraries and engines load lazily, and no image shall wait for it."""
        localizer = build_localizer(
            config,
            landmark_map,
            extractor=models.extractor,
            recognizer=models.recognizer,
            encoder=models.encoder,
            network=models.network,
            by_scans=self._config.sensor != "camera",
        )
        if len(localizer.map.points):
            for width, height in config.inference.image_sizes:
                localizer.localize(make_noise_query(width, height))
        loaded = LoadedMap(
            localizer, digest, models.recognizer, models.encoder, models.network, sensor=self._config.sensor
        )
        return loaded.with_moving_camera(config, warn=self.get_logger().warning)

    def _set_loaded(self, config: LocalizerConfig, loaded: LoadedMap) -> None:
        """Use a map from the next image on; `config` is what it was assembled with."""
        with self._map_lock:  # held briefly: a change of parameters waits for it, and all callbacks with it
            if self._core_config is not config:
                loaded = loaded.with_parameters(self._core_config, warn=self.get_logger().warning)
            self._loaded = loaded
        self._collect_engines()

    def _collect_engines(self) -> None:
        """Have a GPU's memory given back now: the traceback of a refused image may hold a former localizer."""
        if self._core_config.inference.engine != "onnx":
            gc.collect()

    def _switch_engines(self, digest: str) -> None:
        """Replace the models of the map in use by engines; an image in progress is finished by the former ones."""
        config, loaded = self._core_config, self._loaded
        if loaded is None or loaded.hash != digest:
            return
        inference = config.inference
        models = read_models_at_once(self._config, loaded.localizer.map, inference)
        self._set_loaded(config, self._assemble(config, loaded.localizer.map_index, models, digest))
        self.get_logger().info(f"the models run on {inference.engine} in {inference.precision} from now on")

    def _end_switch(self) -> None:
        if self._switch is not None:
            self._switch.close()
            self._switch = None
            self._note_engine("")

    def _note_engine(self, note: str) -> None:
        """Show a warning on /diagnostics for as long as it holds; empty for none."""
        if note:
            self.get_logger().warning(note)
        self._engine_note = note.partition("\n")[0]

    def _on_engine_wait(self, reason: str) -> None:
        """Say at once what the node waits for while it is configured, when its timers may not run; empty at the end.

        Raises:
            MapError: the node is being cleaned up, which ends the wait.
        """
        if reason and (self._closing.is_set() or not self.context.ok()):
            raise MapError(f"{reason}: ended, the node is cleaned up")
        if reason:
            self.get_logger().info(reason)
        self._monitor.set_fault("engine", reason)
        self._publish_diagnostics()

    def _work(self) -> None:
        limit_blas_threads()
        while (inputs := self._input.take()) is not None:
            now_ns, loaded = self.get_clock().now().nanoseconds, self._loaded
            number, header = min(one.number for one in inputs), inputs[-1].message.header
            scans, images = _divide(inputs)
            with self._fixes:
                if scans:
                    localize = partial(self._pipeline.localize_scan, scans[0], loaded, now_ns=now_ns)
                    self._answer(localize, number, header, LocalizationStatus.LIDAR)
                else:
                    localize = partial(self._pipeline.localize_images, images, loaded, now_ns=now_ns)
                    self._answer(localize, number, header, LocalizationStatus.CAMERA)

    def _search_cloud(self, pending: PendingCloud) -> None:
        """Search for a cloud of the camera's last images, and publish what is found, in the thread of the search."""
        found = pending.search(is_drawn=lambda: self._outputs.is_debug_watched)
        with self._fixes:
            now_ns = self.get_clock().now().nanoseconds
            finish = partial(self._pipeline.finish_cloud, pending, found, self._loaded, now_ns=now_ns)
            self._answer(finish, pending.number, pending.status.header, LocalizationStatus.CAMERA)
            self._searches.end()

    def _answer(self, localize: Callable[[], LocalizationOutput], number: int, header: Header, sensor: str) -> None:
        """Publish what an image set, or a scan, leads to; where that is a cloud, begin its search."""
        try:
            output = self._localize(localize, header, sensor)
            if output.pending is not None:
                self._searches.begin(output.pending)
                return
            self._publish_status(output.status)
            self._input.record(output.status)
            self._results.put(number, output.status)
        except Exception:  # on Ctrl-C rclpy destroys the publishers before the node is shut down
            if self.context.ok():
                self.get_logger().fatal(traceback.format_exc())

    def _localize(self, localize: Callable[[], LocalizationOutput], header: Header, sensor: str) -> LocalizationOutput:
        """Localize, and publish all but the status."""
        try:
            output = localize()
            self._outputs.publish(output)
            if output.fix is not None and output.status.map_hash != self.map_hash:  # the map was swapped meanwhile
                self._outputs.reset()
            elif output.fix is not None and self._pipeline.is_reset_requested:
                self._outputs.withdraw_pose()
        except Exception as error:  # a bug: keep the traceback and the node
            self.get_logger().fatal(traceback.format_exc())
            status = status_without_pose(header=header, status=LocalizationStatus.INTERNAL_ERROR, sensor=sensor)
            status.reason, status.map_hash = f"internal error, see the log: {error!r}", self.map_hash
            return LocalizationOutput(status)
        return output

    def _publish_status(self, status: LocalizationStatus) -> None:
        status.images_received, status.images_dropped = self._input.received, self._input.dropped
        self._monitor.record_result(summarize_status(status), at_ns=time.monotonic_ns())
        self._outputs.publish_status(status)

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        if self._outputs.pose_relay.is_own(message):
            return
        loaded, now_ns = self._loaded, self.get_clock().now().nanoseconds
        try:
            frames = loaded.localizer.map.frame_ids if loaded else ()
            self._initial_pose.set_pose(message, map_frames=frames, now_ns=now_ns)
        except InputError as error:
            self.get_logger().warning(str(error))

    def _on_feed_initial_pose(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self.state != ACTIVE:
            response.message = f"the node is {self.state}; activate it"
            return response
        response.success, response.message = self._outputs.pose_relay.on_request(self.get_clock().now().nanoseconds)
        return response

    def _on_relocalize(self, request: Relocalize.Request, response: Relocalize.Response) -> Relocalize.Response:
        refusal = status_without_pose(status=LocalizationStatus.NO_IMAGE)
        response.result = refusal
        if self.state != ACTIVE:
            refusal.reason = f"the node is {self.state}; activate it"
            return response
        timeout_s = request.timeout_s if request.timeout_s > 0 else self._config.relocalize_timeout_s
        timeout_s = min(timeout_s, _LONGEST_WAIT_S)
        self._initial_pose.clear()
        self._pipeline.reset_tracking()
        self._outputs.withdraw_pose()
        with self._pipeline.serve_request():
            found = self._results.wait_after(self._input.received, timeout_s)
        if found is not None:
            response.result = found
        elif not self._results.open:
            refusal.reason = "the node was deactivated"
        else:
            refusal.reason = f"nothing received on {', '.join(self._input.topics)} within {timeout_s:g} s"
        return response

    def _publish_diagnostics(self) -> None:
        node, loaded = self.get_fully_qualified_name(), self._loaded
        frame_note = explain_arbitrary_frame(loaded.localizer.map) if loaded else ""
        warnings = (*self.graph_watch.findings, *filter(None, (self._engine_note, frame_note)))
        node_state = NodeState(self.state, warnings=warnings)
        if loaded is not None:
            node_state = replace(node_state, map_hash=loaded.hash, map_name=loaded.localizer.map.name)
        if self.state == ACTIVE:
            node_state = replace(
                node_state,
                topic=", ".join(self._input.topics),
                publishers=self._input.publishers,
                listeners=self._outputs.listeners,
            )
        components = self._monitor.report(node_state, now_ns=time.monotonic_ns())
        if self.state == ACTIVE:
            self._changes.record(components, logged=warnings, now_ns=time.monotonic_ns())
        message = diagnostic_array(components, node=node, stamp_ns=self.get_clock().now().nanoseconds)
        self._diagnostics.publish(message)


def _divide(inputs: list[CameraImage] | list[ScanMessage]) -> tuple[list[ScanMessage], list[CameraImage]]:
    """Return the scans and the images among inputs, which are of one kind."""
    scans = [one for one in inputs if isinstance(one, ScanMessage)]
    return scans, [one for one in inputs if isinstance(one, CameraImage)]


def main() -> None:
    """Entry point `localizer`."""
    receive_over_udp()
    run_node(LocalizerNode, LocalizerNodeConfig(), LocalizerConfig())


if __name__ == "__main__":
    main()
