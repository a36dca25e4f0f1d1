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

"""From an image set to all that is published for it: convert, localize, transform to the robot's base, gate."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.bags.point_clouds import point_cloud_of
from vloc_ros.core.clouds.point_cloud import PointCloud, deskew
from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.earth_pose import EarthPose
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.views_from_above import FROM_ABOVE
from vloc_ros.core.query import FlightState, PosePrior, Query
from vloc_ros.core.tracking.fix import Fix, fix_from_result
from vloc_ros.core.tracking.fix_filter import FixFilter, GateResult, GatingDecision
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.cameras import CameraImage, newest_image, parse_camera_names
from vloc_ros.nodes.localizer.cloud_searches import FoundCloud, ImageKeeper, PendingCloud
from vloc_ros.nodes.localizer.flight_sensors import FlightSensors
from vloc_ros.nodes.localizer.initial_pose import InitialPose
from vloc_ros.nodes.localizer.loaded_map import LoadedMap
from vloc_ros.nodes.localizer.prior_tracking import PriorTracking
from vloc_ros.nodes.localizer.query_views import AvailableViews, ViewAssembler
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.localizer.rig_transforms import Reference, RigTransforms
from vloc_ros.nodes.localizer.scan_input import ScanMessage
from vloc_ros.nodes.localizer.transforms import TransformLookup
from vloc_ros.nodes.rclpy_support.conversion import fill_status, pose_with_covariance, stamp_ns_of, status_without_pose

_NO_MAP = "no map is loaded; is the map server active, and has it loaded a map?"


@dataclass(frozen=True, slots=True, eq=False)
class LocalizationOutput:
    """All that is published for one image set; without a fix only the status and the debug image.

    Attributes:
        status: the status message.
        fix: pose of the base, None if there is none to publish.
        map_from_child: transform for TF, of odom or of the base by `publish_tf`; None if there is none.
        odom_from_base: odometry at the time of the images, None if unknown.
        images: pixels of all views, empty if they could not be read.
        result: result of the localizer.
        gating: decision of the fix filter, None if nothing was localized.
        earth: where the fix is on Earth, None without a fix or where the map has no datum.
        pending: a cloud to search for, by which the image is localized; None where its status is final.
        note: a line of text for the debug image.
    """

    status: LocalizationStatus
    fix: Fix | None = None
    map_from_child: Pose | None = None
    odom_from_base: Pose | None = None
    images: tuple[Array, ...] = ()
    result: LocalizationResult | None = None
    gating: GatingDecision | None = None
    earth: EarthPose | None = None
    pending: PendingCloud | None = None
    note: str = ""


class LocalizationPipeline:
    """Localizes image sets; every failure ends in their status."""

    def __init__(
        self,
        config: LocalizerNodeConfig,
        fix_filter: FixFilter,
        frames: TransformLookup,
        initial_pose: InitialPose,
        flight: FlightSensors,
        *,
        is_searching: Callable[[], bool] = lambda: False,
    ) -> None:
        """A pipeline without a tracked pose.

        Args:
            config: of the node.
            fix_filter: gates the fixes.
            frames: TF.
            initial_pose: that others gave.
            flight: gravity and altitude of images from above.
            is_searching: whether the last pending cloud is not done.
        """
        self._config, self._frames, self._flight = config, frames, flight
        self._filter, self._initial_pose = fix_filter, initial_pose
        self._views, self._is_rig = ViewAssembler(config, frames), bool(parse_camera_names(config.cameras))
        self._transforms = RigTransforms(config, frames)
        self._priors = PriorTracking(fix_filter, initial_pose, self._transforms)
        self._keeper = ImageKeeper(config, fix_filter, self._views, self._transforms, is_searching)
        self._on_request = False
        self._is_overtaken = False  # by a scan that was localized since the search for a cloud began

    def set_config(self, config: LocalizerNodeConfig, fix_filter: FixFilterConfig) -> None:
        """Use other parameters from the next image set on. Thread-safe."""
        self._config = config
        self._filter.set_config(fix_filter)

    def reset_tracking(self) -> None:
        """Discard the tracked pose before the next image set, and what is being localized. Thread-safe."""
        self._priors.request_reset()

    @property
    def is_reset_requested(self) -> bool:
        """Whether the last image set was begun before the tracked pose was discarded."""
        return self._priors.is_reset_requested

    def finish_cloud(
        self, pending: PendingCloud, found: FoundCloud | Exception, loaded: LoadedMap | None, *, now_ns: int
    ) -> LocalizationOutput:
        """Return the output for what a search found, unless what it began with is gone; `loaded` is the map in use."""
        if isinstance(found, Exception):
            raise found
        status, result = pending.status, found.result
        gone, initial = pending.explain_gone(loaded, self._priors.generation), self._initial_pose.prior(now_ns)
        if initial is not None and initial is not pending.initial:
            gone = "an initial pose came"
        elif self._is_overtaken:
            gone = gone or "a later scan was localized"
        if result.ok and gone:
            result = result.refused_as(Status.HELD, f"{gone} while the cloud of this image was searched for")
        output = self._gate_result(result, pending.reference, pending.odom_from_base, status, found.images)
        output = self._complete(output, pending.initial, pending.loaded, pending.reference)
        status.total_time_s = time.perf_counter() - pending.begun_s
        return replace(output, note=found.note)

    @contextlib.contextmanager
    def serve_request(self) -> Iterator[None]:
        """Meanwhile somebody waits for the next result, which may take longer, see `matcher.last_pass`. Thread-safe."""
        self._on_request = True
        try:
            yield
        finally:
            self._on_request = False

    def localize_images(
        self, images: list[CameraImage], loaded: LoadedMap | None, *, now_ns: int
    ) -> LocalizationOutput:
        """Localize an image set in a map; `now_ns` is the node's time."""
        header = newest_image(images).message.header
        status = status_without_pose(header=header, sensor=LocalizationStatus.CAMERA)
        status.cameras = [image.source.name for image in images if image.source.name]
        return self._answer(status, loaded, partial(self._localize_images, images, now_ns=now_ns))

    def localize_scan(self, scan: ScanMessage, loaded: LoadedMap | None, *, now_ns: int) -> LocalizationOutput:
        """Localize a scan in a map with LiDAR places; `now_ns` is the node's time."""
        status = status_without_pose(header=scan.message.header, sensor=LocalizationStatus.LIDAR)
        return self._answer(status, loaded, partial(self._localize_scan, scan, now_ns=now_ns))

    def _answer(
        self,
        status: LocalizationStatus,
        loaded: LoadedMap | None,
        localize: Callable[[LoadedMap, LocalizationStatus], LocalizationOutput],
    ) -> LocalizationOutput:
        """Return the output of a function that localizes, or that of its refusal, with the time that it took."""
        start = time.perf_counter()
        status.map_hash = loaded.hash if loaded else ""
        try:
            if loaded is None:
                raise Refused(LocalizationStatus.NO_MAP, _NO_MAP)
            output = localize(loaded, status)
        except Refused as refusal:
            status.status, status.reason = refusal.code, str(refusal)
            output = LocalizationOutput(status)
        status.total_time_s = time.perf_counter() - start
        return output

    def _localize_scan(
        self, scan: ScanMessage, loaded: LoadedMap, status: LocalizationStatus, *, now_ns: int
    ) -> LocalizationOutput:
        sensor_frame, stamp_ns = scan.message.header.frame_id.lstrip("/"), stamp_ns_of(scan.message)
        base_frame = self._config.base_frame or sensor_frame
        # images wait while a scan waits for TF
        deadline_s = time.monotonic() + self._config.transform_timeout_s if self._config.sensor == "both" else None
        reference = Reference(stamp_ns, base_frame, base_frame, deadline_s=deadline_s)
        self._check_time(stamp_ns, now_ns, what="scan")
        base_from_sensor = self._transforms.look_up(
            reference, base_frame, sensor_frame, refusal=LocalizationStatus.NO_TRANSFORM
        )
        initial = self._initial_pose.prior(now_ns)
        odom_from_base = self._transforms.odometry(reference)
        cloud = self._read_cloud(scan, reference, sensor_frame, base_from_sensor)
        prior = self._priors.make_prior(self._config, initial, loaded, reference, odom_from_base)
        result = loaded.localizer.localize(Query((), stamp_ns, prior, cloud))
        output = self._gate_result(result, reference, odom_from_base, status, ())
        self._is_overtaken = self._is_overtaken or output.fix is not None
        return self._complete(output, initial, loaded, reference)

    def _read_cloud(
        self, scan: ScanMessage, reference: Reference, sensor_frame: str, base_from_sensor: Pose
    ) -> PointCloud:
        """Return the points of a scan, moved by odometry to where they would be at its stamp.

        Raises:
            Refused: the message cannot be read, or odometry does not cover it.
        """

        def odom_from_sensor(stamp_ns: int) -> Pose | None:
            return self._frames.lookup_available(self._config.odom_frame, sensor_frame, stamp_ns)

        try:
            cloud = point_cloud_of(scan.message, rig_from_sensor=base_from_sensor)
        except InputError as error:
            raise Refused(LocalizationStatus.BAD_IMAGE, str(error)) from error
        if self._config.points_compensated or cloud.offsets_ns is None:
            return replace(cloud, offsets_ns=None)
        last_ns = cloud.stamp_ns + max(int(cloud.offsets_ns.max()), 0)
        # wait for the end of the scan
        self._transforms.look_up(replace(reference, stamp_ns=last_ns), self._config.odom_frame, sensor_frame)
        try:
            return deskew(cloud, odom_from_sensor)
        except InputError as error:
            raise Refused(LocalizationStatus.NO_ODOMETRY, str(error)) from error

    def _localize_images(
        self, images: list[CameraImage], loaded: LoadedMap, status: LocalizationStatus, *, now_ns: int
    ) -> LocalizationOutput:
        reference = self._make_reference(images)
        self._check_time(reference.stamp_ns, now_ns)
        initial = self._initial_pose.prior(now_ns)
        if loaded.moving_camera is not None:
            self._priors.begin(initial, loaded)
            found = self._keeper.keep(images, initial, loaded, reference, status, self._priors.generation)
            if isinstance(found, PendingCloud):
                self._is_overtaken = False
                return LocalizationOutput(status, pending=found)
            fill_status(status, found)
            return LocalizationOutput(status, result=found)
        odom_from_base = self._transforms.odometry(reference)
        available = self._assemble_views(images, reference, odom_from_base)
        status.cameras = available.cameras
        prior = self._priors.make_prior(self._config, initial, loaded, reference, odom_from_base)
        flight = self._flight_state(loaded, reference, odom_from_base)
        try:
            query = Query(available.views, reference.stamp_ns, prior, flight=flight)
            result = loaded.localizer.localize(query, on_request=self._on_request)
        except InputError as error:  # such as an image outside of the shapes that an engine was built for
            raise Refused(LocalizationStatus.BAD_IMAGE, str(error)) from error
        images_used = tuple(view.image for view in available.views)
        output = self._gate_result(result, reference, odom_from_base, status, images_used)
        status.reason = "; ".join(text for text in (status.reason, available.left_out) if text)
        return self._complete(output, initial, loaded, reference)

    def _flight_state(self, loaded: LoadedMap, reference: Reference, odom_from_base: Pose | None) -> FlightState:
        """Return what other sensors say of images from above, if the map has aerial tiles to locate them in.

        Raises:
            Refused: TF lacks the extrinsics of the camera, or odometry that it needs.
        """
        if not loaded.localizer.has_tiles:
            return FlightState()
        if odom_from_base is None and self._flight.needs_odometry:
            odom_from_base = self._transforms.needed_odometry(reference)
        return self._flight.state(self._transforms, reference, odom_from_base)

    def _complete(
        self, output: LocalizationOutput, initial: PosePrior | None, loaded: LoadedMap, reference: Reference
    ) -> LocalizationOutput:
        """Fill in the pose of a fix; the initial pose has served then."""
        fix, status = output.fix, output.status
        if fix is None:
            return output
        self._initial_pose.consume(initial)
        status.map_frame, status.body_frame = fix.frame_id, reference.base_frame
        status.pose = pose_with_covariance(fix.map_from_base, fix.covariance)
        return self._place_on_earth(output, loaded)

    def _place_on_earth(self, output: LocalizationOutput, loaded: LoadedMap) -> LocalizationOutput:
        """Add where a fix is on Earth, if its scene has a datum; its height is not known if the pose is in a plane."""
        fix = output.fix
        if fix is None:
            return output
        datum = next(one.datum for one in loaded.localizer.map.scenes if one.frame_id == fix.frame_id)
        if datum is None:
            return output
        earth = EarthPose.of_base(datum, fix.map_from_base, fix.covariance)
        return replace(output, earth=replace(earth, altitude_m=math.nan) if self._config.two_d_mode else earth)

    def _gate_result(
        self,
        result: LocalizationResult,
        reference: Reference,
        odom_from_base: Pose | None,
        status: LocalizationStatus,
        images: tuple[Array, ...],
    ) -> LocalizationOutput:
        """Return the output for a result, with a fix if the fix filter lets it pass."""
        fill_status(status, result)
        if not result.ok:
            return LocalizationOutput(status, images=images, result=result)
        rig_from_base = self._transforms.base_from_rig(reference).inverse()
        fix = fix_from_result(result, rig_from_base=rig_from_base, two_d=self._config.two_d_mode)
        if odom_from_base is None:
            odom_from_base = self._transforms.late_odometry(reference)
        from_above = result.candidate == FROM_ABOVE
        sensor = FROM_ABOVE if from_above else status.sensor
        gating = self._filter.gate(fix, odom_from_base, reference.stamp_ns, sensor=sensor, coarse=from_above)
        if self.is_reset_requested:
            gating = GatingDecision(GateResult.HELD, "the tracked pose was discarded meanwhile")
        status.reason = gating.reason
        if not gating.publish:
            fill_status(status, result.refused_as(Status.HELD, gating.reason))
            return LocalizationOutput(status, images=images, result=result, gating=gating)
        return LocalizationOutput(
            status,
            fix,
            map_from_child=self._compute_map_from_child(
                self._choose_pose(fix, gating, odom_from_base, reference), odom_from_base
            ),
            odom_from_base=odom_from_base,
            images=images,
            result=result,
            gating=gating,
        )

    def _make_reference(self, images: list[CameraImage]) -> Reference:
        newest = newest_image(images)
        camera_frame = newest.message.header.frame_id.lstrip("/")
        base_frame = self._config.base_frame or camera_frame
        if self._is_rig:
            return Reference(stamp_ns_of(newest.message), base_frame, base_frame)
        return Reference(stamp_ns_of(newest.message), base_frame, camera_frame, newest.source.base_from_camera)

    def _assemble_views(
        self, images: list[CameraImage], reference: Reference, odom_from_base: Pose | None
    ) -> AvailableViews:
        if self._is_rig:
            return self._views.assemble_rig(images, stamp_ns=reference.stamp_ns, odom_from_base=odom_from_base)
        return self._views.assemble_camera(images[0])

    def _check_time(self, stamp_ns: int, now_ns: int, *, what: str = "image") -> None:
        if stamp_ns <= 0:  # TF takes it for a lookup of the latest transforms
            raise Refused(LocalizationStatus.STALE, f"the {what} has no time stamp; let the driver set header.stamp")
        limit_s, age_ns = self._config.max_image_age_s, now_ns - stamp_ns
        if limit_s and age_ns > limit_s * 1e9:
            raise Refused(
                LocalizationStatus.STALE,
                f"the {what} is {age_ns * 1e-9:.3f} s old, expected at most {limit_s:g} s; "
                "are the clocks of sensor and robot synchronised, or use_sim_time missing?",
            )
        lead_s = self._config.max_image_lead_s
        if lead_s and now_ns > 0 and -age_ns > lead_s * 1e9:  # simulated time is 0 until it starts
            raise Refused(
                LocalizationStatus.STALE,
                f"the {what} is {-age_ns * 1e-9:.3f} s ahead of the node's clock, expected at most {lead_s:g} s; "
                "are the clocks of sensor and robot synchronised, or use_sim_time missing?",
            )

    def _choose_pose(self, fix: Fix, gating: GatingDecision, odom_from_base: Pose | None, reference: Reference) -> Pose:
        """Return the pose of the base for TF: that of the fix, or of the other sensor's where that one is better known.

        Without odometry there is nothing to carry the other one on by.
        """
        if not gating.less_certain or odom_from_base is None:
            return fix.map_from_base
        carried = self._filter.carry(odom_from_base, reference.stamp_ns)
        assert carried is not None
        return carried.map_from_base

    def _compute_map_from_child(self, map_from_base: Pose, odom_from_base: Pose | None) -> Pose | None:
        """Return the transform for TF: of odometry or of the base in the map."""
        if self._config.publish_tf == "none":
            return None
        if self._config.publish_tf == "map_base" or odom_from_base is None:
            return map_from_base
        return map_from_base @ odom_from_base.inverse()
