"""The latest calibration of a camera, from camera_info."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sensor_msgs.msg import CameraInfo

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera, unreached_text
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.rclpy_support.conversion import camera_of


class Calibration:
    """Holds the latest camera_info. A callback writes it, the worker reads it."""

    def __init__(
        self, *, topic: str, timeout_s: float, rectified: bool = False, warn: Callable[[str], object] | None = None
    ) -> None:
        self._topic, self._timeout_s, self._rectified, self._warn = topic, timeout_s, rectified, warn
        self._received = threading.Condition()
        self._message: CameraInfo | None = None
        self._camera: Camera | None = None

    @property
    def received(self) -> bool:
        """Whether a camera_info was received."""
        return self._message is not None

    def on_camera_info(self, message: CameraInfo) -> None:
        """Store the latest message."""
        with self._received:
            if self._message is None or _differs(message, self._message):
                self._message, self._camera = message, None
            self._received.notify_all()

    def camera(self, patience_s: float | None = None) -> Camera:
        """Return the calibration; wait for the first one, up to `patience_s` or the timeout of the constructor.

        Raises:
            Refused: no calibration was received, or it is invalid, NO_CALIBRATION.
        """
        with self._received:
            self._received.wait_for(
                lambda: self._message is not None, self._timeout_s if patience_s is None else patience_s
            )
            if self._message is None:
                raise Refused(
                    LocalizationStatus.NO_CALIBRATION,
                    f"no camera_info received on {self._topic}; is the camera calibrated?",
                )
            if self._camera is None:
                try:
                    self._camera = camera_of(self._message, rectified=self._rectified)
                except InputError as error:
                    raise Refused(
                        LocalizationStatus.NO_CALIBRATION, f"camera_info on {self._topic}: {error}"
                    ) from error
                unreached = unreached_text(self._camera)
                if unreached and self._warn:
                    self._warn(f"camera_info on {self._topic}: {unreached}")
            return self._camera


def _differs(message: CameraInfo, other: CameraInfo) -> bool:
    def content(info: CameraInfo) -> tuple[object, ...]:
        roi, binning = info.roi, (info.binning_x, info.binning_y)
        part = (roi.x_offset, roi.y_offset, roi.width, roi.height)
        numbers = (tuple(info.k), tuple(info.d), tuple(info.p))
        return info.distortion_model, info.width, info.height, part, binning, *numbers

    return content(message) != content(other)
