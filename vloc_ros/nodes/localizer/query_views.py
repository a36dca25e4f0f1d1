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

"""Views of a query from an image set; for a rig, from those images that can be used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.query import View, check_image_size
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.cameras import CameraImage
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.localizer.transforms import TransformLookup
from vloc_ros.nodes.rclpy_support.conversion import image_of, image_size_of, stamp_ns_of

# refusals that may be resolved by waiting: odometry until the reference time is there or never comes
_TRANSIENT = (LocalizationStatus.NO_TRANSFORM, LocalizationStatus.NO_CALIBRATION)


@dataclass(frozen=True, slots=True, eq=False)
class AvailableViews:
    """The views of an image set that can be localized.

    Attributes:
        views: views of the query; the rig frame is the camera for a single camera, the base for several.
        cameras: names of the cameras of a rig, one for each view.
        left_out: which other cameras were left out and why; empty if none was.
    """

    views: tuple[View, ...]
    cameras: tuple[str, ...] = ()
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class ReferenceTime:
    """Time for which the pose of the base is estimated.

    Attributes:
        stamp_ns: stamp of the newest image.
        odom_from_base: odometry at that stamp, None if unknown.
        deadline_s: time on the monotonic clock until which transforms and calibrations of all cameras are waited for.
    """

    stamp_ns: int
    odom_from_base: Pose | None
    deadline_s: float

    def left_s(self) -> float:
        """Return the seconds until the deadline."""
        return max(self.deadline_s - time.monotonic(), 0.0)


class ViewAssembler:
    """Converts image messages to views. Missing data of one camera of a rig does not delay the others."""

    def __init__(self, config: LocalizerNodeConfig, frames: TransformLookup) -> None:
        self._config, self._frames = config, frames
        self._known_frames: set[str] = set()  # camera frames that TF had before

    def assemble_camera(self, image: CameraImage) -> AvailableViews:
        """Convert the image of a single camera.

        Raises:
            Refused: the image cannot be used, NO_CALIBRATION or BAD_IMAGE.
        """
        return AvailableViews((_make_view(image, Pose.identity()),))

    def assemble_rig(
        self, images: Sequence[CameraImage], *, stamp_ns: int, odom_from_base: Pose | None
    ) -> AvailableViews:
        """Convert those images of a rig that can be used.

        Args:
            images: image set.
            stamp_ns: time for which the pose of the base is estimated.
            odom_from_base: odometry at that time, None if unknown. It compensates the motion to the time of each
                image; an image without odometry at its time is left out.

        Raises:
            Refused: no image can be used; the code is that of the first.
        """
        deadline_s = time.monotonic() + self._config.transform_timeout_s
        reference = ReferenceTime(stamp_ns, odom_from_base, deadline_s)
        found = [self._try_view(image, reference, wait=False) for image in images]
        if all(isinstance(one, Refused) for one in found):  # only then wait for what was never received
            found = [
                self._try_view(image, reference, wait=True) if _is_transient(one) else one
                for image, one in zip(images, found, strict=True)
            ]
        named = [(image.source.name, one) for image, one in zip(images, found, strict=True)]
        usable = [(name, one) for name, one in named if isinstance(one, View)]
        refusals = [(name, one) for name, one in named if isinstance(one, Refused)]
        reasons = "; ".join(f"{name}: {refusal}" for name, refusal in refusals)
        if not usable:
            raise Refused(refusals[0][1].code, reasons)
        names, views = zip(*usable, strict=True)
        return AvailableViews(views, names, reasons and f"left out {reasons}")

    def _try_view(self, image: CameraImage, reference: ReferenceTime, *, wait: bool) -> View | Refused:
        """Return the view of an image or the refusal; a frame that TF had before is waited for in any case."""
        try:
            base_from_camera = self._base_from_camera(image, reference, wait)
            base_from_then = self._base_motion(image, reference)
            return _make_view(image, base_from_then @ base_from_camera, reference.left_s() if wait else 0.0)
        except Refused as refusal:
            return refusal

    def _base_from_camera(self, image: CameraImage, reference: ReferenceTime, wait: bool) -> Pose:
        """Return the extrinsics of a camera of a rig at the time of its image."""
        if image.source.base_from_camera is not None:
            return image.source.base_from_camera
        frame = image.message.header.frame_id.lstrip("/")
        patience_s = reference.left_s() if wait or frame in self._known_frames else 0.0
        found = self._frames.lookup(
            self._config.base_frame,
            frame,
            stamp_ns_of(image.message),
            patience_s=patience_s,
            refusal=LocalizationStatus.NO_TRANSFORM,
        )
        self._known_frames.add(frame)
        return found

    def _base_motion(self, image: CameraImage, reference: ReferenceTime) -> Pose:
        """Return base_from_then, the base at the time of an image in the base at the reference time.

        Without odometry it is the identity.
        """
        image_ns, config = stamp_ns_of(image.message), self._config
        if reference.odom_from_base is None or image_ns == reference.stamp_ns:
            return Pose.identity()
        then = self._frames.lookup(config.odom_frame, config.base_frame, image_ns, patience_s=0.0)
        return reference.odom_from_base.inverse() @ then


def _is_transient(found: View | Refused) -> bool:
    return isinstance(found, Refused) and found.code in _TRANSIENT


def _make_view(image: CameraImage, rig_from_camera: Pose, patience_s: float | None = None) -> View:
    camera = image.source.calibration.camera(patience_s)  # first, so that no image is decoded without a calibration
    try:
        # a small file can hold an image that fills the memory
        check_image_size(camera, *image_size_of(image.message))
        return View(image_of(image.message), camera, rig_from_camera)
    except InputError as error:
        raise Refused(LocalizationStatus.BAD_IMAGE, str(error)) from error
