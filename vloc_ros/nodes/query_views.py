"""Image messages of one moment as the views of a query: of a rig those that are of use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.query import View
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.cameras import CameraImage
from vloc_ros.nodes.conversion import image_of, stamp_ns_of
from vloc_ros.nodes.frames import TransformLookup
from vloc_ros.nodes.refusal import Refused

# refusals that waiting can cure; an image that cannot be read stays what it is
_MAY_COME = (LocalizationStatus.NO_ODOMETRY, LocalizationStatus.NO_CALIBRATION)


@dataclass(frozen=True, slots=True, eq=False)
class AvailableViews:
    """What there is to localize.

    Attributes:
        views: of a single camera the rig is the camera itself, of several the base.
        cameras: names of the cameras of a rig, one for each view.
        left_out: why others of the rig are not among them, in words; empty where all are.
    """

    views: tuple[View, ...]
    cameras: tuple[str, ...] = ()
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class ReferenceTime:
    """Of the base: its stamp, odometry there, None where it is not known; and until when on the
    monotonic clock everything about it is waited for, all cameras together."""

    stamp_ns: int
    odom_from_base: Pose | None
    deadline_s: float

    def left_s(self) -> float:
        """Seconds until the deadline."""
        return max(self.deadline_s - time.monotonic(), 0.0)


class ViewAssembler:
    """Turns messages into views. What is missing for one camera of a rig does not hold up the others."""

    def __init__(self, config: LocalizerNodeConfig, frames: TransformLookup) -> None:
        self._config, self._frames = config, frames
        self._placed: set[str] = set()  # cameras that TF has known

    def of_camera(self, image: CameraImage) -> AvailableViews:
        """The image of a single camera.

        Raises:
            Refused: it cannot be read, NO_CALIBRATION or BAD_IMAGE.
        """
        return AvailableViews((_view(image, Pose.identity()),))

    def of_rig(self, images: Sequence[CameraImage], *, stamp_ns: int, odom_from_base: Pose | None) -> AvailableViews:
        """Those images of a rig that can be used.

        Args:
            images: of one moment.
            stamp_ns: of the base that is asked for.
            odom_from_base: odometry at that time, where it is known; carries images of another time there, and those
                at whose time it is not known are left out.

        Raises:
            Refused: none can be used; the code is that of the first.
        """
        deadline_s = time.monotonic() + self._config.transform_timeout_s
        asked = ReferenceTime(stamp_ns, odom_from_base, deadline_s)
        found = [self._tried(image, asked, wait=False) for image in images]
        if all(isinstance(one, Refused) for one in found):  # only then what never came is worth waiting for
            found = [
                self._tried(image, asked, wait=True) if isinstance(one, Refused) and one.code in _MAY_COME else one
                for image, one in zip(images, found, strict=True)
            ]
        named = [(image.source.name, one) for image, one in zip(images, found, strict=True)]
        seen = [(name, one) for name, one in named if isinstance(one, View)]
        refusals = [(name, one) for name, one in named if isinstance(one, Refused)]
        reasons = "; ".join(f"{name}: {refusal}" for name, refusal in refusals)
        if not seen:
            raise Refused(refusals[0][1].code, reasons)
        names, views = zip(*seen, strict=True)
        return AvailableViews(views, names, reasons and f"left out {reasons}")

    def _tried(self, image: CameraImage, asked: ReferenceTime, *, wait: bool) -> View | Refused:
        """The view of an image, or why there is none; what TF has known is waited for in any case."""
        try:
            base_from_camera = self._base_from_camera(image, asked, wait)
            moved = self._moved(image, asked)
            return _view(image, moved @ base_from_camera, asked.left_s() if wait else 0.0)
        except Refused as refusal:
            return refusal

    def _base_from_camera(self, image: CameraImage, asked: ReferenceTime, wait: bool) -> Pose:
        """Where a camera of a rig sits at the time of its image."""
        if image.source.base_from_camera is not None:
            return image.source.base_from_camera
        frame = image.message.header.frame_id.lstrip("/")
        patience_s = asked.left_s() if wait or frame in self._placed else 0.0
        found = self._frames.lookup(self._config.base_frame, frame, stamp_ns_of(image.message), patience_s=patience_s)
        self._placed.add(frame)
        return found

    def _moved(self, image: CameraImage, asked: ReferenceTime) -> Pose:
        """The base at the time of an image in the base at that of the moment; the identity without odometry."""
        image_ns, config = stamp_ns_of(image.message), self._config
        if asked.odom_from_base is None or image_ns == asked.stamp_ns:
            return Pose.identity()
        then = self._frames.lookup(config.odom_frame, config.base_frame, image_ns, patience_s=0.0)
        return asked.odom_from_base.inverse() @ then


def _view(image: CameraImage, rig_from_camera: Pose, patience_s: float | None = None) -> View:
    camera = image.source.calibration.camera(patience_s)  # first, so that no image is decoded that it is missing for
    try:
        return View(image_of(image.message), camera, rig_from_camera)
    except InputError as error:
        raise Refused(LocalizationStatus.BAD_IMAGE, str(error)) from error
