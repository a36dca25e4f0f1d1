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

"""Write rosbag2 folders (MCAP) that hold what a robot with one camera and odometry would record."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer

from vloc_ros.bags import messages
from vloc_ros.bags.names import FrameNames, Topics
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.storage.atomic import PART_SUFFIX, StorageError
from vloc_ros.storage.images import decode_image

_NS_PER_S = 1e9


class BagWriter:
    """A bag that appears under its name when the `with` block ends well, and not at all otherwise.

    Every image comes with its camera_info; base_link -> camera is written once to /tf_static; odometry goes to its
    topic and as odom -> base_link to /tf. Write in the order of time.

    Args:
        folder: the bag to make; it must not exist.
        camera: calibration of the images.
        base_from_camera: extrinsics of the camera's optical frame.
        topics: their names.
        frames: their names.

    Raises:
        StorageError: the folder exists, cannot be written, or the disk is full.
    """

    def __init__(
        self,
        folder: Path,
        *,
        camera: Camera,
        base_from_camera: Pose,
        topics: Topics | None = None,
        frames: FrameNames | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._camera, self._base_from_camera = camera, base_from_camera
        self.topics, self.frames = topics or Topics(), frames or FrameNames()
        self._part = self._folder.with_name(f".{self._folder.name}.{os.getpid()}{PART_SUFFIX}")
        # rosbags names the .mcap file after its folder, so the unfinished bag has the final name one level down
        self._writer = Writer(
            self._part / self._folder.name, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP
        )
        self._connections: dict[str, Connection] = {}
        self._last_odometry: tuple[int, Pose] | None = None
        self._has_static = False

    def __enter__(self) -> BagWriter:
        if self._folder.exists():
            raise StorageError(f"{self._folder}: exists already; remove it or name another bag")
        with self._failing_clearly():
            self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with self._failing_clearly():
                self._writer.__exit__(kind, error, traceback)
                if kind is None:
                    os.rename(self._part / self._folder.name, self._folder)
        finally:
            shutil.rmtree(self._part, ignore_errors=True)

    def write_compressed_image(self, stamp_ns: int, data: bytes) -> None:
        """Write the bytes of a JPEG or PNG file unchanged, and its camera_info.

        Raises:
            InputError: the image is damaged or not of the calibration's size.
        """
        self._check_size(decode_image(data))
        message = messages.compressed_image_message(stamp_ns, self.frames.camera, data)
        self._write_view(stamp_ns, self.topics.compressed_image, messages.COMPRESSED_IMAGE, message)

    def write_image(self, stamp_ns: int, image: Array) -> None:
        """Write (H, W) grey or (H, W, 3) BGR uint8 pixels, and their camera_info.

        Raises:
            InputError: the image is not of the calibration's size.
        """
        self._check_size(image)
        message = messages.image_message(stamp_ns, self.frames.camera, image)
        self._write_view(stamp_ns, self.topics.image, messages.IMAGE, message)

    def write_odometry(self, stamp_ns: int, odom_from_base: Pose) -> None:
        """Write an Odometry, its velocity taken from the one before, and the same as a transform."""
        frames = (self.frames.odom, self.frames.base)
        twist = self._twist(stamp_ns, odom_from_base)
        message = messages.odometry_message(stamp_ns, frames, odom_from_base, twist)
        self._write(stamp_ns, self.topics.odometry, messages.ODOMETRY, message)
        transform = messages.tf_message(stamp_ns, frames, odom_from_base)
        self._write(stamp_ns, self.topics.tf, messages.TF_MESSAGE, transform)

    def write_truth(self, stamp_ns: int, map_from_base: Pose) -> None:
        """Write the ground truth of the base."""
        message = messages.pose_stamped_message(stamp_ns, self.frames.map, map_from_base)
        self._write(stamp_ns, self.topics.truth, messages.POSE_STAMPED, message)

    def write_fix(self, stamp_ns: int, geodetic: tuple[float, float, float], std_m: float) -> None:
        """Write where the base is on Earth: degrees, and metres above the ellipsoid."""
        message = messages.nav_sat_fix_message(stamp_ns, self.frames.base, geodetic, std_m)
        self._write(stamp_ns, self.topics.fix, messages.NAV_SAT_FIX, message)

    def write_imu(self, stamp_ns: int, acceleration: Array) -> None:
        """Write (3,) accelerations of the base in m/s²."""
        message = messages.imu_message(stamp_ns, self.frames.base, acceleration)
        self._write(stamp_ns, self.topics.imu, messages.IMU, message)

    def _check_size(self, image: Array) -> None:
        if image.shape[:2] != (self._camera.height, self._camera.width):
            raise InputError(
                f"an image is {image.shape[1]}x{image.shape[0]}, its camera calibration is for "
                f"{self._camera.width}x{self._camera.height}; use the calibration of these images"
            )

    def _write_view(self, stamp_ns: int, topic: str, kind: str, message: Any) -> None:
        info = messages.camera_info_message(stamp_ns, self.frames.camera, self._camera)
        self._write(stamp_ns, self.topics.camera_info, messages.CAMERA_INFO, info)
        self._write(stamp_ns, topic, kind, message)

    def _twist(self, stamp_ns: int, odom_from_base: Pose) -> Array:
        last, self._last_odometry = self._last_odometry, (stamp_ns, odom_from_base)
        if last is None or stamp_ns <= last[0]:
            return np.zeros(6)
        motion = last[1].inverse() @ odom_from_base
        return np.concatenate([motion.translation, motion.rotation_vector]) * (_NS_PER_S / (stamp_ns - last[0]))

    def _write(self, stamp_ns: int, topic: str, kind: str, message: Any) -> None:
        if not self._has_static:
            self._has_static = True
            frames = (self.frames.base, self.frames.camera)
            static = messages.tf_message(stamp_ns, frames, self._base_from_camera)
            self._write(stamp_ns, self.topics.tf_static, messages.TF_MESSAGE, static)
        with self._failing_clearly():
            if topic not in self._connections:
                self._connections[topic] = self._writer.add_connection(
                    topic,
                    kind,
                    typestore=messages.TYPESTORE,
                    offered_qos_profiles=[_qos(topic == self.topics.tf_static)],
                )
            data = messages.TYPESTORE.serialize_cdr(message, kind)
            self._writer.write(self._connections[topic], stamp_ns, data)

    @contextlib.contextmanager
    def _failing_clearly(self) -> Any:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self._folder}: cannot be written ({error.strerror}); no bag was left there"
            ) from error


def _qos(latched: bool) -> Qos:
    forever = QosTime(2147483647, 4294967295)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )
