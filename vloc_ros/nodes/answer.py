"""The way of an image message to an answer: convert, localize, carry to the robot's base."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.covariance import carry_covariance
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.fix import Fix, fix_of
from vloc_ros.core.fix_filter import FixFilter, Judgement
from vloc_ros.core.localizer import Localizer
from vloc_ros.core.pose import Array, Pose
from vloc_ros.core.query import PosePrior, Query
from vloc_ros.core.result import LocalizationResult, Status
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.calibration import Calibration
from vloc_ros.nodes.conversion import fill_status, image_of, pose_with_covariance, stamp_ns_of
from vloc_ros.nodes.frames import Frames
from vloc_ros.nodes.initial_pose import InitialPose
from vloc_ros.nodes.refusal import Refused

# (0.2 m)² in height, (0.1 rad)² in roll and pitch: ramps, and floors that are not the map's plane
_OUT_OF_PLANE = np.diag([0.0, 0.0, 0.04, 0.01, 0.01, 0.0])


@dataclass(frozen=True, slots=True)
class LoadedMap:
    """A localizer and the hash of its map."""

    localizer: Localizer
    hash: str


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """All that is published for one image; without a fix only the status and the debug image.

    Attributes:
        status: the message.
        fix: the base's pose.
        map_from_child: the transform for TF, of odom or of the base by `publish_tf`; None where there is none.
        image: the pixels, None where they could not be read.
        result: the localizer's.
        judgement: what the filter says of what was localized, published or held.
    """

    status: LocalizationStatus
    fix: Fix | None = None
    map_from_child: Pose | None = None
    image: Array | None = None
    result: LocalizationResult | None = None
    judgement: Judgement | None = None


class Answerer:
    """Answers image messages; everything that may fail for one of them ends in its status."""

    def __init__(
        self,
        config: LocalizerNodeConfig,
        fix_filter: FixFilter,
        frames: Frames,
        calibration: Calibration,
        initial_pose: InitialPose,
    ) -> None:
        self._config, self._frames, self._calibration = config, frames, calibration
        self._filter, self._initial_pose = fix_filter, initial_pose
        self._mount = mount_of(config.base_from_camera)
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

    def answer(self, message: Any, loaded: LoadedMap | None, *, now_ns: int) -> Answer:
        """One Image or CompressedImage against a map; `now_ns` is the node's time."""
        start = time.perf_counter()
        status = LocalizationStatus(header=message.header, map_hash=loaded.hash if loaded else "")
        try:
            answer = self._answered(message, loaded, status, now_ns)
        except Refused as refusal:
            status.status, status.reason = refusal.code, str(refusal)
            answer = Answer(status)
        status.total_ms = (time.perf_counter() - start) * 1e3
        return answer

    def _answered(self, message: Any, loaded: LoadedMap | None, status: LocalizationStatus, now_ns: int) -> Answer:
        if loaded is None:
            raise Refused(LocalizationStatus.NO_MAP, "no map is loaded; is map_server active and has it one?")
        stamp_ns = stamp_ns_of(message)
        self._check_time(stamp_ns, now_ns)
        image, initial = _pixels(message), self._initial_pose.prior(now_ns)
        try:
            query = Query.single(
                image,
                self._calibration.camera(),
                stamp_ns=stamp_ns,
                prior=self._prior(initial, loaded, message.header, stamp_ns),
            )
        except InputError as error:
            raise Refused(LocalizationStatus.BAD_IMAGE, str(error)) from error
        result = loaded.localizer.localize(query)
        fill_status(status, result)
        if not result.ok:
            return Answer(status, image=image, result=result)
        fix, odom_from_base = self._carried(result, message.header, stamp_ns)
        judgement = self._filter.judge(fix, odom_from_base, stamp_ns)
        status.reason = judgement.reason
        if not judgement.publish:
            fill_status(status, result.refused_as(Status.HELD, judgement.reason))
            return Answer(status, image=image, result=result, judgement=judgement)
        self._initial_pose.localized(initial)
        status.map_frame, status.body_frame = fix.frame_id, self.base_frame(message)
        status.pose = pose_with_covariance(fix.map_from_base, fix.covariance)
        return Answer(status, fix, self._placed(fix, odom_from_base), image, result, judgement)

    def base_frame(self, message: Any) -> str:
        """The frame whose pose is published for an image."""
        return self._config.base_frame or message.header.frame_id.lstrip("/")

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

    def _prior(self, initial: PosePrior | None, loaded: LoadedMap, header: Any, stamp_ns: int) -> PosePrior | None:
        """Where the camera is believed to be: where somebody says, or where odometry carries the last fix."""
        told = initial is not None and initial is not self._initial
        if self._anew.is_set() or told or loaded.hash != self._map_hash:
            self._anew.clear()
            self._map_hash, self._initial = loaded.hash, initial
            self._filter.forget()
        camera_frame = header.frame_id.lstrip("/")
        base_frame = self._config.base_frame or camera_frame
        believed = initial
        expected = self._filter.carry(self._odometry(base_frame, stamp_ns), stamp_ns)
        if believed is None and expected is not None and self._config.carry_last_fix:
            # a pose in the plane is certain of what it left out, the camera is not
            unknown = _OUT_OF_PLANE if self._config.two_d_mode else np.zeros((6, 6))
            believed = PosePrior(expected.map_from_base, expected.covariance + unknown, expected.frame_id)
        if believed is None:
            return None
        base_from_camera = self._base_from_camera(base_frame, camera_frame, stamp_ns)
        covariance = carry_covariance(believed.covariance, believed.map_from_rig, base_from_camera)
        return PosePrior(believed.map_from_rig @ base_from_camera, covariance, believed.frame_id)

    def _odometry(self, base_frame: str, stamp_ns: int) -> Pose | None:
        """Odometry at the time of an image, waited for where it is needed and has come before."""
        odom_frame = self._config.odom_frame
        found = self._frames.known(odom_frame, base_frame, stamp_ns)
        if found is None and self._has_odometry and self._config.publish_tf == "map_odom":
            return self._frames.lookup(odom_frame, base_frame, stamp_ns)
        self._has_odometry = self._has_odometry or found is not None
        return found

    def _base_from_camera(self, base_frame: str, camera_frame: str, stamp_ns: int) -> Pose:
        """Where the camera sits on the robot, as the parameter says, or TF."""
        return self._mount or self._frames.lookup(base_frame, camera_frame, stamp_ns)

    def _carried(self, result: LocalizationResult, header: Any, stamp_ns: int) -> tuple[Fix, Pose | None]:
        """The base's pose, and odometry at the time of the image; without it only where TF is not to need it."""
        config, camera_frame = self._config, header.frame_id.lstrip("/")
        base_frame = config.base_frame or camera_frame
        camera_from_base = self._base_from_camera(base_frame, camera_frame, stamp_ns).inverse()
        fix = fix_of(result, camera_from_base=camera_from_base, two_d=config.two_d_mode)
        if config.publish_tf == "map_odom":
            return fix, self._frames.lookup(config.odom_frame, base_frame, stamp_ns)
        return fix, self._frames.known(config.odom_frame, base_frame, stamp_ns)

    def _placed(self, fix: Fix, odom_from_base: Pose | None) -> Pose | None:
        """What goes to TF: odometry in the map, or the base."""
        if self._config.publish_tf == "none":
            return None
        if self._config.publish_tf == "map_base" or odom_from_base is None:
            return fix.map_from_base
        return fix.map_from_base @ odom_from_base.inverse()


def check_mount(config: LocalizerNodeConfig) -> None:
    """Whether the parameters say where the camera sits.

    Raises:
        ConfigError: they do not, or they contradict each other.
    """
    if mount_of(config.base_from_camera) is not None and not config.base_frame:
        raise ConfigError("base_from_camera is set and base_frame is empty; name the frame that the camera sits on")


def mount_of(text: str) -> Pose | None:
    """base_from_camera of a parameter, x y z in metres and a quaternion x y z w; None where it is empty.

    Raises:
        ConfigError: it is something else.
    """
    if not text.strip():
        return None
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 7 or not np.isfinite(numbers).all():
        raise ConfigError(f"base_from_camera is {text!r}, expected seven numbers: x y z in metres, qx qy qz qw")
    return Pose.from_quaternion(numbers[3:], numbers[:3])


def _pixels(message: Any) -> Array:
    try:
        return image_of(message)
    except InputError as error:
        raise Refused(LocalizationStatus.BAD_IMAGE, str(error)) from error
