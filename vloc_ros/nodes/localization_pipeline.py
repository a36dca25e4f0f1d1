"""The way of the images of one moment to an answer: convert, localize, carry to the robot's base."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

import numpy as np

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import FixFilterConfig, LocalizerConfig
from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.retrieval_candidates import GlobalDescriptorEncoder
from vloc_ros.core.query import PosePrior, Query
from vloc_ros.core.tracking.fix import Fix, fix_from_result
from vloc_ros.core.tracking.fix_filter import FixFilter, GatingDecision
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.cameras import CameraImage, names_of, newest_of
from vloc_ros.nodes.conversion import fill_status, pose_with_covariance, stamp_ns_of
from vloc_ros.nodes.frames import TransformLookup
from vloc_ros.nodes.initial_pose import InitialPose
from vloc_ros.nodes.query_views import AvailableViews, ViewAssembler
from vloc_ros.nodes.refusal import Refused

# (0.2 m)² in height, (0.1 rad)² in roll and pitch: ramps, and floors that are not the map's plane
_OUT_OF_PLANE = np.diag([0.0, 0.0, 0.04, 0.01, 0.01, 0.0])


@dataclass(frozen=True, slots=True)
class LoadedMap:
    """A localizer, the hash of its map, and the encoder that it asks for places."""

    localizer: Localizer
    hash: str
    encoder: GlobalDescriptorEncoder | None = None

    def with_parameters(self, config: LocalizerConfig) -> LoadedMap:
        """The same map with other parameters of the stages.

        Raises:
            VlocError: the map cannot be used with them.
        """
        before = self.localizer
        return replace(self, localizer=build_localizer(config, before.map, encoder=self.encoder, like=before))


@dataclass(frozen=True, slots=True, eq=False)
class LocalizationOutput:
    """All that is published for one moment; without a fix only the status and the debug image.

    Attributes:
        status: the message.
        fix: the base's pose.
        map_from_child: the transform for TF, of odom or of the base by `publish_tf`; None where there is none.
        images: the pixels of all views, none where they could not be read.
        result: the localizer's.
        judgement: what the filter says of what was localized, published or held.
    """

    status: LocalizationStatus
    fix: Fix | None = None
    map_from_child: Pose | None = None
    images: tuple[Array, ...] = ()
    result: LocalizationResult | None = None
    judgement: GatingDecision | None = None


@dataclass(frozen=True, slots=True)
class _Moment:
    """Of when and of what the pose is.

    Attributes:
        stamp_ns: of the newest image.
        base_frame: whose pose is published.
        rig_frame: whose pose is found: of a single camera its own, of a rig the base.
        base_from_camera: of a single camera, None where TF is to say.
    """

    stamp_ns: int
    base_frame: str
    rig_frame: str
    base_from_camera: Pose | None = None


class LocalizationPipeline:
    """Answers images; everything that may fail for them ends in their status."""

    def __init__(
        self,
        config: LocalizerNodeConfig,
        fix_filter: FixFilter,
        frames: TransformLookup,
        initial_pose: InitialPose,
    ) -> None:
        self._config, self._frames = config, frames
        self._filter, self._initial_pose = fix_filter, initial_pose
        self._views, self._is_rig = ViewAssembler(config, frames), bool(names_of(config.cameras))
        self._has_odometry = False
        self._map_hash = ""
        self._initial: PosePrior | None = None
        self._anew = threading.Event()

    def use(self, config: LocalizerNodeConfig, fix_filter: FixFilterConfig) -> None:
        """Other parameters, from the next image on. From any thread."""
        self._config = config
        self._filter.use(fix_filter)

    def start_anew(self) -> None:
        """From the next image on believe nothing of before. From any thread."""
        self._anew.set()

    def answer(self, images: list[CameraImage], loaded: LoadedMap | None, *, now_ns: int) -> LocalizationOutput:
        """Images of one moment against a map; `now_ns` is the node's time."""
        start = time.perf_counter()
        header = newest_of(images).message.header
        status = LocalizationStatus(header=header, map_hash=loaded.hash if loaded else "")
        status.cameras = [image.source.name for image in images if image.source.name]
        try:
            answer = self._answered(images, loaded, status, now_ns)
        except Refused as refusal:
            status.status, status.reason = refusal.code, str(refusal)
            answer = LocalizationOutput(status)
        status.total_ms = (time.perf_counter() - start) * 1e3
        return answer

    def _answered(
        self, images: list[CameraImage], loaded: LoadedMap | None, status: LocalizationStatus, now_ns: int
    ) -> LocalizationOutput:
        if loaded is None:
            raise Refused(LocalizationStatus.NO_MAP, "no map is loaded; is map_server active and has it one?")
        moment = self._moment(images)
        self._check_time(moment.stamp_ns, now_ns)
        initial = self._initial_pose.prior(now_ns)
        odom_from_base = self._odometry(moment)
        seen = self._seen(images, moment, odom_from_base)
        status.cameras = seen.cameras
        prior = self._prior(initial, loaded, moment, odom_from_base)
        result = loaded.localizer.localize(Query(seen.views, moment.stamp_ns, prior))
        answer = self._judged(result, moment, odom_from_base, status, tuple(view.image for view in seen.views))
        if answer.fix is not None:
            self._initial_pose.localized(initial)
            status.map_frame, status.body_frame = answer.fix.frame_id, moment.base_frame
            status.pose = pose_with_covariance(answer.fix.map_from_base, answer.fix.covariance)
        status.reason = "; ".join(text for text in (status.reason, seen.left_out) if text)
        return answer

    def _judged(
        self,
        result: LocalizationResult,
        moment: _Moment,
        odom_from_base: Pose | None,
        status: LocalizationStatus,
        images: tuple[Array, ...],
    ) -> LocalizationOutput:
        """The answer of a result: with a fix when the filter lets it move the robot."""
        fill_status(status, result)
        if not result.ok:
            return LocalizationOutput(status, images=images, result=result)
        rig_from_base = self._base_from_rig(moment).inverse()
        fix = fix_from_result(result, camera_from_base=rig_from_base, two_d=self._config.two_d_mode)
        if odom_from_base is None:
            odom_from_base = self._late_odometry(moment)
        judgement = self._filter.judge(fix, odom_from_base, moment.stamp_ns)
        status.reason = judgement.reason
        if not judgement.publish:
            fill_status(status, result.refused_as(Status.HELD, judgement.reason))
            return LocalizationOutput(status, images=images, result=result, judgement=judgement)
        return LocalizationOutput(status, fix, self._placed(fix, odom_from_base), images, result, judgement)

    def _moment(self, images: list[CameraImage]) -> _Moment:
        newest = newest_of(images)
        camera_frame = newest.message.header.frame_id.lstrip("/")
        base_frame = self._config.base_frame or camera_frame
        if self._is_rig:
            return _Moment(stamp_ns_of(newest.message), base_frame, base_frame)
        return _Moment(stamp_ns_of(newest.message), base_frame, camera_frame, newest.source.base_from_camera)

    def _seen(self, images: list[CameraImage], moment: _Moment, odom_from_base: Pose | None) -> AvailableViews:
        if self._is_rig:
            return self._views.of_rig(images, stamp_ns=moment.stamp_ns, odom_from_base=odom_from_base)
        return self._views.of_camera(images[0])

    def _check_time(self, stamp_ns: int, now_ns: int) -> None:
        if stamp_ns <= 0:  # TF would take it for a question about the latest time, of each transform its own
            raise Refused(LocalizationStatus.STALE, "the image has no time stamp; let the driver set header.stamp")
        limit_s, age_ns = self._config.max_image_age_s, now_ns - stamp_ns
        if limit_s and age_ns > limit_s * 1e9:
            raise Refused(
                LocalizationStatus.STALE,
                f"the image is {age_ns * 1e-9:.3f} s old, expected at most {limit_s:g} s; "
                "are the clocks of camera and robot synchronised, or use_sim_time missing?",
            )

    def _prior(
        self, initial: PosePrior | None, loaded: LoadedMap, moment: _Moment, odom_from_base: Pose | None
    ) -> PosePrior | None:
        """Where the rig is believed to be: where somebody says, or where odometry carries the last fix."""
        told = initial is not None and initial is not self._initial
        if self._anew.is_set() or told or loaded.hash != self._map_hash:
            self._anew.clear()
            self._map_hash, self._initial = loaded.hash, initial
            self._filter.forget()
        # a map may have been swapped between somebody's saying and the forgetting of it
        believed = initial if initial and initial.frame_id in loaded.localizer.map.frame_ids else None
        expected = self._filter.carry(odom_from_base, moment.stamp_ns)
        if believed is None and expected is not None and self._config.carry_last_fix:
            # a pose in the plane is certain of what it left out, the camera is not
            unknown = _OUT_OF_PLANE if self._config.two_d_mode else np.zeros((6, 6))
            believed = PosePrior(expected.map_from_base, expected.covariance + unknown, expected.frame_id)
        if believed is None:
            return None
        base_from_rig = self._base_from_rig(moment)
        covariance = carry_covariance(believed.covariance, believed.map_from_rig, base_from_rig)
        return PosePrior(believed.map_from_rig @ base_from_rig, covariance, believed.frame_id)

    def _odometry(self, moment: _Moment) -> Pose | None:
        """Odometry at the time of the images, waited for where it is needed and has come before."""
        found = self._frames.known(self._config.odom_frame, moment.base_frame, moment.stamp_ns)
        if found is None and self._has_odometry and self._config.publish_tf == "map_odom":
            return self._frames.lookup(self._config.odom_frame, moment.base_frame, moment.stamp_ns)
        self._has_odometry = self._has_odometry or found is not None
        return found

    def _late_odometry(self, moment: _Moment) -> Pose | None:
        """Odometry that was not there before the images were looked at; missing only where TF is not to need it."""
        look_up = self._frames.lookup if self._config.publish_tf == "map_odom" else self._frames.known
        found = look_up(self._config.odom_frame, moment.base_frame, moment.stamp_ns)
        self._has_odometry = self._has_odometry or found is not None
        return found

    def _base_from_rig(self, moment: _Moment) -> Pose:
        """Where a single camera sits on the robot, as the parameter says, or TF; a rig is the base itself."""
        return moment.base_from_camera or self._frames.lookup(moment.base_frame, moment.rig_frame, moment.stamp_ns)

    def _placed(self, fix: Fix, odom_from_base: Pose | None) -> Pose | None:
        """What goes to TF: odometry in the map, or the base."""
        if self._config.publish_tf == "none":
            return None
        if self._config.publish_tf == "map_base" or odom_from_base is None:
            return fix.map_from_base
        return fix.map_from_base @ odom_from_base.inverse()
