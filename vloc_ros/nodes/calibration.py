"""The camera's calibration, as camera_info last told it."""

from __future__ import annotations

import threading

from sensor_msgs.msg import CameraInfo

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.nodes.conversion import camera_of
from vloc_ros.nodes.refusal import Refused


class Calibration:
    """Filled by a callback, asked by the worker."""

    def __init__(self, *, topic: str, timeout_s: float, rectified: bool = False) -> None:
        self._topic, self._timeout_s, self._rectified = topic, timeout_s, rectified
        self._came = threading.Condition()
        self._message: CameraInfo | None = None
        self._camera: Camera | None = None

    def on_camera_info(self, message: CameraInfo) -> None:
        """Keep the latest."""
        with self._came:
            if self._message is None or _differs(message, self._message):
                self._message, self._camera = message, None
            self._came.notify_all()

    def camera(self, patience_s: float | None = None) -> Camera:
        """The calibration, waited for when none came yet: for so long, or as long as it was made to.

        Raises:
            Refused: none came, or one that cannot be used, NO_CALIBRATION.
        """
        with self._came:
            self._came.wait_for(
                lambda: self._message is not None, self._timeout_s if patience_s is None else patience_s
            )
            if self._message is None:
                raise Refused(
                    LocalizationStatus.NO_CALIBRATION,
                    f"no camera_info came on {self._topic}; is the driver calibrated?",
                )
            if self._camera is None:
                try:
                    self._camera = camera_of(self._message, rectified=self._rectified)
                except InputError as error:
                    raise Refused(
                        LocalizationStatus.NO_CALIBRATION, f"camera_info on {self._topic}: {error}"
                    ) from error
            return self._camera


def _differs(message: CameraInfo, other: CameraInfo) -> bool:
    def content(info: CameraInfo) -> tuple[object, ...]:
        roi, binning = info.roi, (info.binning_x, info.binning_y)
        part = (roi.x_offset, roi.y_offset, roi.width, roi.height)
        numbers = (tuple(info.k), tuple(info.d), tuple(info.p))
        return info.distortion_model, info.width, info.height, part, binning, *numbers

    return content(message) != content(other)
