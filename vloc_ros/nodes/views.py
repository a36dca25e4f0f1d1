"""Image messages of one moment as the views of a query: of a rig those that are of use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import InputError
from vloc_ros.core.pose import Pose
from vloc_ros.core.query import View
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.cameras import CameraImage
from vloc_ros.nodes.conversion import image_of, stamp_ns_of
from vloc_ros.nodes.frames import Frames
from vloc_ros.nodes.refusal import Refused


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What there is to localize.

    Attributes:
        views: of a single camera the rig is the camera itself, of several the base.
        cameras: names of the cameras of a rig, one for each view.
        left_out: why others of the rig are not among them, in words; empty where all are.
    """

    views: tuple[View, ...]
    cameras: tuple[str, ...] = ()
    left_out: str = ""


class Views:
    """Turns messages into views. What is missing for one camera of a rig does not hold up the others."""

    def __init__(self, config: LocalizerNodeConfig, frames: Frames) -> None:
        self._config, self._frames = config, frames
        self._placed: set[str] = set()  # cameras that TF has known

    def of_camera(self, image: CameraImage) -> Seen:
        """The image of a single camera.

        Raises:
            Refused: it cannot be read, NO_CALIBRATION or BAD_IMAGE.
        """
        return Seen((_view(image, Pose.identity()),))

    def of_rig(self, images: Sequence[CameraImage], *, stamp_ns: int, odom_from_base: Pose | None) -> Seen:
        """Those images of a rig that can be used.

        Args:
            images: of one moment.
            stamp_ns: of the base that is asked for.
            odom_from_base: odometry at that time, where it is known; carries images of another time there.

        Raises:
            Refused: none can be used; the code is that of the first.
        """
        seen, refusals = self._usable(images, stamp_ns, odom_from_base, patience_s=0.0)
        if not seen:  # only then what never came is worth waiting for
            seen, refusals = self._usable(images, stamp_ns, odom_from_base, self._config.transform_timeout_s)
        reasons = "; ".join(f"{name}: {refusal}" for name, refusal in refusals)
        if not seen:
            raise Refused(refusals[0][1].code, reasons)
        names, views = zip(*seen, strict=True)
        return Seen(views, names, reasons and f"left out {reasons}")

    def _usable(
        self, images: Sequence[CameraImage], stamp_ns: int, odom_from_base: Pose | None, patience_s: float
    ) -> tuple[list[tuple[str, View]], list[tuple[str, Refused]]]:
        """Views and refusals with the names of their cameras; the patience is for all together."""
        seen, refusals = [], []
        deadline_s = time.monotonic() + patience_s
        for image in images:
            name, left_s = image.source.name, max(deadline_s - time.monotonic(), 0.0)
            try:
                base_from_camera = self._base_from_camera(image, left_s)
                moved = self._moved(image, stamp_ns, odom_from_base)
                seen.append((name, _view(image, moved @ base_from_camera, left_s)))
            except Refused as refusal:
                refusals.append((name, refusal))
        return seen, refusals

    def _base_from_camera(self, image: CameraImage, patience_s: float) -> Pose:
        """Where a camera of a rig sits at the time of its image; a camera that TF has known is waited for."""
        if image.source.base_from_camera is not None:
            return image.source.base_from_camera
        frame = image.message.header.frame_id.lstrip("/")
        found = self._frames.lookup(
            self._config.base_frame,
            frame,
            stamp_ns_of(image.message),
            patience_s=None if frame in self._placed else patience_s,
        )
        self._placed.add(frame)
        return found

    def _moved(self, image: CameraImage, stamp_ns: int, odom_from_base: Pose | None) -> Pose:
        """The base at the time of an image in the base at another; the identity without odometry."""
        image_ns, config = stamp_ns_of(image.message), self._config
        if odom_from_base is None or image_ns == stamp_ns:
            return Pose.identity()
        then = self._frames.known(config.odom_frame, config.base_frame, image_ns)
        return Pose.identity() if then is None else odom_from_base.inverse() @ then


def _view(image: CameraImage, rig_from_camera: Pose, patience_s: float | None = None) -> View:
    try:
        return View(image_of(image.message), image.source.calibration.camera(patience_s), rig_from_camera)
    except InputError as error:
        raise Refused(LocalizationStatus.BAD_IMAGE, str(error)) from error
