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

"""From an image message to a keyframe on disk, or to the reason why it is none."""

from __future__ import annotations

import threading
from typing import Any

import cv2

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.blur import measure_blur
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.query import check_image_size
from vloc_ros.node_config import MapperConfig
from vloc_ros.nodes.localizer.cameras import Calibration, parse_extrinsics
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.localizer.transforms import TransformLookup
from vloc_ros.nodes.mapper.odometry_input import OdometryInput
from vloc_ros.nodes.mapper.session import KeyframeRefusedError, RecordingSession
from vloc_ros.nodes.rclpy_support.conversion import image_of, image_size_of, stamp_ns_of, status_name
from vloc_ros.storage.atomic import StorageError

_JPEG_QUALITY = 95
_JPEG_START = b"\xff\xd8\xff"


class KeyframePipeline:
    """The worker calls `record` with every image; the lock is that of the session. Without odometry, TF has it."""

    def __init__(
        self,
        config: MapperConfig,
        frames: TransformLookup,
        odometry: OdometryInput | None,
        calibration: Calibration,
        session: RecordingSession,
        lock: threading.Lock,
    ) -> None:
        self._config, self._frames, self._calibration = config, frames, calibration
        self._odometry = odometry
        self._session, self._lock = session, lock
        self._extrinsics = next(iter(parse_extrinsics(config.base_from_camera)), None)

    def record(self, message: Any) -> Pose | None:
        """Record an image if it is a keyframe; returns its pose, or None where the camera has not moved.

        Raises:
            KeyframeRefusedError: it cannot be one.
        """
        try:
            return self._record(message, stamp_ns_of(message))
        except Refused as refusal:
            raise KeyframeRefusedError(status_name(refusal.code), str(refusal)) from refusal
        except InputError as error:
            raise KeyframeRefusedError("BAD_IMAGE", str(error)) from error
        except StorageError as error:
            raise KeyframeRefusedError("WRITE_FAILED", str(error)) from error

    def _record(self, message: Any, stamp_ns: int) -> Pose | None:
        if stamp_ns == 0:
            raise InputError("the stamp of the image is 0, expected the time that it was taken; check the driver")
        camera, frame = self._calibration.camera(), message.header.frame_id.lstrip("/")
        odom_from_camera = self._look_up(frame, stamp_ns)
        with self._lock:
            if not self._session.judge_pose(stamp_ns, odom_from_camera, camera, frame):
                return None
        check_image_size(camera, *image_size_of(message))  # a small file can hold an image that fills the memory
        pixels = image_of(message)
        blur = measure_blur(pixels)
        with self._lock:
            self._session.judge_blur(blur)
        data, suffix = self._encode(message, pixels)
        with self._lock:
            self._session.add(stamp_ns, odom_from_camera, data, suffix, camera=camera, camera_frame=frame)
        return odom_from_camera

    def _look_up(self, camera_frame: str, stamp_ns: int) -> Pose:
        """odom_from_camera."""
        config = self._config
        base_frame = config.base_frame or camera_frame
        if self._odometry is not None:
            odom_from_base = self._odometry.lookup(base_frame, stamp_ns)
        else:
            odom_from_base = self._frames.lookup(config.odom_frame, base_frame, stamp_ns)
        if self._extrinsics is not None:
            return odom_from_base @ self._extrinsics
        refusal = LocalizationStatus.NO_TRANSFORM
        return odom_from_base @ self._frames.lookup(base_frame, camera_frame, stamp_ns, refusal=refusal)

    def _encode(self, message: Any, pixels: Array) -> tuple[bytes, str]:
        """Bytes of an image file and its suffix; compressed images stay as they are."""
        if self._config.image_transport == "compressed":
            data = bytes(message.data)
            return data, ".jpg" if data.startswith(_JPEG_START) else ".png"
        suffix = {"jpeg": ".jpg", "png": ".png"}[self._config.image_format]
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix == ".jpg" else []
        done, encoded = cv2.imencode(suffix, pixels, options)
        assert done
        return encoded.tobytes(), suffix
