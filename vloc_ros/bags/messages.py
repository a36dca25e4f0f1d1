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

"""Between the core's types and ROS messages as rosbags has them.

The definitions are those of Jazzy. Those of the messages that are read here are the same in every distribution from
Dashing to Lyrical, and a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from rosbags.image import message_to_cvimage
from rosbags.image.image import ImageError, to_cvtype
from rosbags.typesys import Stores, get_typestore

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.storage.images import decode_image, read_image_size, reduce_to_eight_bits

TYPESTORE = get_typestore(Stores.ROS2_JAZZY)
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE = "sensor_msgs/msg/Image"
IMU = "sensor_msgs/msg/Imu"
NAV_SAT_FIX = "sensor_msgs/msg/NavSatFix"
ODOMETRY = "nav_msgs/msg/Odometry"
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
POSE_STAMPED = "geometry_msgs/msg/PoseStamped"
POSE_WITH_COVARIANCE_STAMPED = "geometry_msgs/msg/PoseWithCovarianceStamped"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"

_NS_PER_S = 10**9
# what formats of compressed images hold that are no pictures
_VIDEO = "it is video, expected jpeg or png; have image_transport republish it as compressed, and record that"
_NO_PICTURES = dict.fromkeys(("h264", "h265", "hevc", "av1", "vp9", "ffmpeg", "theora"), _VIDEO) | {
    "compresseddepth": "it is depth, expected a picture; name the topic of the camera's images"
}
# OpenCV's names for what ROS also names by its colours; rosbags converts only the latter
_COLOURS = {"8UC4": "bgra8"}
# encodings in which two pixels of a row share their colour, and in which four of two rows do
_SHARED_BY_TWO, _SHARED_BY_FOUR = ("uyvy", "yuyv", "yuv422", "yuv422_yuy2"), ("nv12", "nv21")


def stamp_ns_of(message: Any) -> int:
    """The header's time of any stamped message in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * _NS_PER_S + int(stamp.nanosec)


def image_of(message: Any) -> Array:
    """(H, W) grey or (H, W, 3) BGR uint8 pixels of an Image or CompressedImage, not turned by EXIF.

    Raises:
        InputError: an encoding that is no colour or grey image, a size it cannot have, or data that is cut short.
    """
    if hasattr(message, "format"):
        return _decode_compressed(message)
    _check_shared_colours(message)
    try:
        packed = _with_eight_bits(_without_padding(message))
        grey = packed.encoding in ("mono8", "8UC1")
        return np.asarray(message_to_cvimage(packed, "mono8" if grey else "bgr8"))
    except ImageError as error:
        raise InputError(f"an image has encoding {message.encoding!r}, expected colour or grey ({error})") from None
    except cv2.error as error:
        size = f"{message.width}x{message.height}"
        raise InputError(f"an image of {size} cannot be read as {message.encoding} ({error.err})") from None


def image_size_of(message: Any) -> tuple[int, int]:
    """Width and height that an Image, or the header of a CompressedImage, states, without decoding it.

    Raises:
        InputError: it states none, as what is neither JPEG nor PNG.
    """
    if not hasattr(message, "format"):
        return int(message.width), int(message.height)
    with _naming_format(message):
        return read_image_size(memoryview(message.data))


def _check_shared_colours(message: Any) -> None:
    """Refuse odd sizes where pixels share their colour: not every OpenCV does, and some read beyond the data."""
    by_four = message.encoding in _SHARED_BY_FOUR
    if (message.width % 2 and (by_four or message.encoding in _SHARED_BY_TWO)) or (message.height % 2 and by_four):
        raise InputError(
            f"an image of {message.width}x{message.height} has encoding {message.encoding}, in which pixels share "
            "their colour, expected an even size; have the driver publish another encoding, such as bgr8"
        )


def _decode_compressed(message: Any) -> Array:
    with _naming_format(message):
        return decode_image(bytes(message.data))


@contextmanager
def _naming_format(message: Any) -> Iterator[None]:
    """Add the format of a compressed image, and what to do about it, to an error."""
    try:
        yield
    except InputError as error:
        kind = str(message.format)
        hint = next((f"; {hint}" for part, hint in _NO_PICTURES.items() if part in kind.lower()), "")
        raise InputError(f"a compressed image of format {kind!r}: {error}{hint}") from None


def _without_padding(message: Any) -> Any:
    """The message with rows side by side: drivers may pad them, and rosbags takes no notice of it."""
    encoding = _COLOURS.get(message.encoding, message.encoding)
    _, _, dtype, channels = to_cvtype(encoding)
    row_bytes = message.width * channels * np.dtype(dtype).itemsize
    rows = message.height * 3 // 2 if message.encoding in ("nv12", "nv21") else message.height
    data = np.frombuffer(message.data, np.uint8)
    if not data.size or message.step < row_bytes or len(data) < rows * message.step:
        raise InputError(
            f"an image message of {message.width}x{message.height} {message.encoding} has {len(data)} bytes in rows of "
            f"{message.step}, expected {rows} rows of at least {row_bytes}; the driver or the bag is damaged"
        )
    if message.step == row_bytes and rows == message.height and encoding == message.encoding:
        return message
    values = {name: getattr(message, name) for name in ("header", "width", "is_bigendian")}
    packed = np.ascontiguousarray(data[: rows * message.step].reshape(rows, message.step)[:, :row_bytes])
    return TYPESTORE.types[IMAGE](**values, encoding=encoding, height=rows, step=row_bytes, data=packed.reshape(-1))


def _with_eight_bits(message: Any) -> Any:
    """The message with one byte in place of two for each value, whatever the camera fills of these."""
    _, _, dtype, channels = to_cvtype(message.encoding)
    if dtype != "uint16":
        return message
    values = np.frombuffer(message.data, ">u2" if message.is_bigendian else "<u2").astype(np.uint16)
    encoding = message.encoding.replace("16", "8", 1)
    return TYPESTORE.types[IMAGE](
        header=message.header,
        height=message.height,
        width=message.width,
        encoding=_COLOURS.get(encoding, encoding),
        is_bigendian=0,
        step=message.width * channels,
        data=reduce_to_eight_bits(values),
    )


def camera_of(message: Any, *, rectified: bool = False) -> Camera:
    """The calibration of the images that a CameraInfo goes with.

    They show a part of the sensor (`roi`) in a resolution of their own (`binning_x`, `binning_y`).

    Args:
        message: the CameraInfo.
        rectified: whether the images are: their calibration is P then, without distortion, and K and D otherwise.

    Raises:
        InputError: it is not calibrated, by an unknown model, or for a part that lies outside of the sensor.
    """
    k = np.array(message.p).reshape(3, 4)[:, :3] if rectified else np.array(message.k).reshape(3, 3)
    model, d = ("", []) if rectified else (message.distortion_model, list(message.d))
    sensor = Camera.from_ros(model, message.width, message.height, k.reshape(-1).tolist(), d)
    roi = message.roi
    part = roi.x_offset, roi.y_offset, roi.width, roi.height
    return sensor.region(part, (message.binning_x, message.binning_y))


def pose_of(message: Any) -> Pose:
    """A Pose from geometry_msgs Pose or Transform."""
    position = message.translation if hasattr(message, "translation") else message.position
    q = message.rotation if hasattr(message, "rotation") else message.orientation
    return Pose.from_quaternion([q.x, q.y, q.z, q.w], [position.x, position.y, position.z])


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    time = _new("builtin_interfaces/msg/Time", sec=stamp_ns // _NS_PER_S, nanosec=stamp_ns % _NS_PER_S)
    return _new("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def compressed_image_message(stamp_ns: int, frame_id: str, data: bytes) -> Any:
    """A CompressedImage with the bytes of a JPEG or PNG file as they are."""
    kind = "jpeg" if data.startswith(b"\xff\xd8") else "png"
    return _new(COMPRESSED_IMAGE, header=header(stamp_ns, frame_id), format=kind, data=np.frombuffer(data, np.uint8))


def image_message(stamp_ns: int, frame_id: str, image: Array) -> Any:
    """An Image in mono8 or bgr8."""
    height, width = image.shape[:2]
    return _new(
        IMAGE,
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding="mono8" if image.ndim == 2 else "bgr8",
        is_bigendian=0,
        step=width * (1 if image.ndim == 2 else 3),
        data=np.ascontiguousarray(image).reshape(-1),
    )


def camera_info_message(stamp_ns: int, frame_id: str, camera: Camera) -> Any:
    """A CameraInfo with identity rectification."""
    model, k, d = camera.to_ros()
    no_roi = _new("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return _new(
        CAMERA_INFO,
        header=header(stamp_ns, frame_id),
        height=camera.height,
        width=camera.width,
        distortion_model=model,
        d=np.array(d),
        k=np.array(k),
        r=np.eye(3).reshape(-1),
        p=np.column_stack([np.array(k).reshape(3, 3), np.zeros(3)]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=no_roi,
    )


def pose_message(pose: Pose) -> Any:
    """A geometry_msgs/Pose."""
    return _new("geometry_msgs/msg/Pose", position=_point(pose), orientation=_quaternion(pose))


def pose_stamped_message(stamp_ns: int, frame_id: str, pose: Pose) -> Any:
    """A geometry_msgs/PoseStamped."""
    return _new(POSE_STAMPED, header=header(stamp_ns, frame_id), pose=pose_message(pose))


def odometry_message(stamp_ns: int, frames: tuple[str, str], odom_from_base: Pose, twist: Array) -> Any:
    """An Odometry; `frames` are odom and base, `twist` is (6,) m/s and rad/s in the base frame."""
    linear, angular = (_new("geometry_msgs/msg/Vector3", x=v[0], y=v[1], z=v[2]) for v in (twist[:3], twist[3:]))
    unknown = np.zeros(36)
    return _new(
        ODOMETRY,
        header=header(stamp_ns, frames[0]),
        child_frame_id=frames[1],
        pose=_new("geometry_msgs/msg/PoseWithCovariance", pose=pose_message(odom_from_base), covariance=unknown),
        twist=_new(
            "geometry_msgs/msg/TwistWithCovariance",
            twist=_new("geometry_msgs/msg/Twist", linear=linear, angular=angular),
            covariance=unknown,
        ),
    )


def nav_sat_fix_message(stamp_ns: int, frame_id: str, geodetic: tuple[float, float, float], std_m: float) -> Any:
    """A NavSatFix of WGS 84 degrees and metres above the ellipsoid; `std_m` is of each coordinate."""
    status = _new("sensor_msgs/msg/NavSatStatus", status=0, service=1)
    latitude, longitude, altitude = geodetic
    return _new(
        NAV_SAT_FIX,
        header=header(stamp_ns, frame_id),
        status=status,
        latitude=latitude,
        longitude=longitude,
        altitude=altitude,
        position_covariance=(std_m**2 * np.eye(3)).reshape(-1),
        position_covariance_type=2,
    )


def imu_message(stamp_ns: int, frame_id: str, acceleration: Array) -> Any:
    """An Imu that knows (3,) accelerations in m/s² only."""
    unknown, zero = np.array([-1.0, *[0.0] * 8]), _new("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    x, y, z = acceleration
    return _new(
        IMU,
        header=header(stamp_ns, frame_id),
        orientation=_new("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        orientation_covariance=unknown,
        angular_velocity=zero,
        angular_velocity_covariance=unknown,
        linear_acceleration=_new("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
        linear_acceleration_covariance=np.zeros(9),
    )


def tf_message(stamp_ns: int, frames: tuple[str, str], parent_from_child: Pose) -> Any:
    """A TFMessage with one transform; `frames` are parent and child."""
    t = parent_from_child.translation
    translation = _new("geometry_msgs/msg/Vector3", x=t[0], y=t[1], z=t[2])
    transform = _new(
        "geometry_msgs/msg/TransformStamped",
        header=header(stamp_ns, frames[0]),
        child_frame_id=frames[1],
        transform=_new("geometry_msgs/msg/Transform", translation=translation, rotation=_quaternion(parent_from_child)),
    )
    return _new(TF_MESSAGE, transforms=[transform])


def _point(pose: Pose) -> Any:
    x, y, z = pose.translation
    return _new("geometry_msgs/msg/Point", x=x, y=y, z=z)


def _quaternion(pose: Pose) -> Any:
    x, y, z, w = pose.quaternion
    return _new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def _new(kind: str, **values: Any) -> Any:
    return TYPESTORE.types[kind](**values)
