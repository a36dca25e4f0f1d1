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

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from plane_scene import make_plane_scene
from sensor_msgs.msg import CompressedImage, Image

from vloc_ros.bags import messages as recorded
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.nodes.rclpy_support import conversion

WIDTH, HEIGHT = 64, 48
SMOOTH_BGR = cv2.GaussianBlur(
    np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8),
    (0, 0),
    6,
    borderType=cv2.BORDER_WRAP,
)
GREY = cv2.cvtColor(SMOOTH_BGR, cv2.COLOR_BGR2GRAY)
POSE = Pose.from_rotation_vector([0.3, -0.2, 1.1], [1.0, -2.0, 0.5])


def message(encoding: str, pixels: Array, *, padding: int = 0) -> Image:
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    image = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=rows.shape[1])
    image.data.frombytes(rows.tobytes())
    return image


def bayer(pattern: str) -> Array:
    """Return the mosaic of SMOOTH_BGR; the pattern has the colours of the first two rows."""
    mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
    for index, colour in enumerate(pattern):
        row, column = divmod(index, 2)
        mosaic[row::2, column::2] = SMOOTH_BGR[row::2, column::2, "bgr".index(colour)]
    return mosaic


def yuv422(order: str) -> Array:
    """Return packed 4:2:2 of the grey image, with neutral chroma."""
    packed = np.full((HEIGHT, WIDTH, 2), 128, np.uint8)
    packed[:, :, order.index("y")] = GREY
    return packed


def encodings() -> dict[str, tuple[Array, Array, float]]:
    """Return by encoding: pixels of the message, expected image, and tolerance."""
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    rgb = SMOOTH_BGR[:, :, ::-1]
    grey_bgr = np.repeat(GREY[:, :, None], 3, axis=2)
    wide = GREY.astype(np.uint16) * 257
    return {
        "mono8": (GREY, GREY, 0),
        "8UC1": (GREY, GREY, 0),
        "mono16": (wide, GREY, 1),
        "16UC1": (wide, GREY, 1),
        "rgb8": (rgb, SMOOTH_BGR, 0),
        "bgr8": (SMOOTH_BGR, SMOOTH_BGR, 0),
        "8UC3": (SMOOTH_BGR, SMOOTH_BGR, 0),
        "rgba8": (np.concatenate([rgb, alpha], 2), SMOOTH_BGR, 0),
        "bgra8": (np.concatenate([SMOOTH_BGR, alpha], 2), SMOOTH_BGR, 0),
        "8UC4": (np.concatenate([SMOOTH_BGR, alpha], 2), SMOOTH_BGR, 0),
        "rgb16": (rgb.astype(np.uint16) * 257, SMOOTH_BGR, 1),
        "bgr16": (SMOOTH_BGR.astype(np.uint16) * 257, SMOOTH_BGR, 1),
        **{f"bayer_{pattern}8": (bayer(pattern), SMOOTH_BGR, 30) for pattern in ("rggb", "bggr", "gbrg", "grbg")},
        "yuv422": (yuv422("uy"), grey_bgr, 40),
        "yuv422_yuy2": (yuv422("yu"), grey_bgr, 40),
    }


@pytest.mark.parametrize("padding", [0, 24])
@pytest.mark.parametrize("encoding", encodings())
def test_every_encoding_is_converted(encoding: str, padding: int) -> None:
    pixels, expected, tolerance = encodings()[encoding]
    image = conversion.image_of(message(encoding, pixels, padding=padding))
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    inner = np.s_[2:-2, 2:-2]
    difference = np.abs(image[inner].astype(int) - expected[inner].astype(int))
    assert difference.max() <= tolerance


@pytest.mark.parametrize(("extension", "tolerance"), [(".png", 0), (".jpg", 12)])
def test_compressed_images(extension: str, tolerance: int) -> None:
    data = cv2.imencode(extension, SMOOTH_BGR)[1].tobytes()
    image = conversion.image_of(CompressedImage(format=extension[1:], data=data))
    assert np.abs(image.astype(int) - SMOOTH_BGR).max() <= tolerance


def truncate(image: Any) -> Any:
    image.data = image.data[:-10]
    return image


def make_odd_image(encoding: str) -> Image:
    """Return an image of odd width in an encoding where two pixels share their colour."""
    return Image(height=7, width=7, encoding=encoding, step=14, data=bytes(14 * 12))


@pytest.mark.parametrize(
    "broken",
    [
        message("no_such_encoding", GREY),
        truncate(message("mono8", GREY)),
        Image(height=HEIGHT, width=WIDTH, encoding="mono8", step=1),
        CompressedImage(format="jpeg", data=b"not a picture"),
        CompressedImage(format="jpeg", data=b""),
        Image(),
        Image(encoding="rgb8"),
        Image(encoding="rgb8", height=HEIGHT, data=b"12"),
        *(make_odd_image(encoding) for encoding in ("yuv422", "yuv422_yuy2", "nv12", "nv21")),
    ],
    ids=[
        "encoding",
        "short",
        "step",
        "no jpeg",
        "empty jpeg",
        "empty",
        "0x0",
        "0 wide",
        "uyvy",
        "yuyv",
        "nv12",
        "nv21",
    ],
)
def test_a_broken_image_is_an_input_error(broken: Any) -> None:
    with pytest.raises(InputError):
        conversion.image_of(broken)


def test_live_and_recorded_pixels_are_the_same() -> None:
    live = message("rgb8", SMOOTH_BGR)
    values = {name: getattr(live, name) for name in ("height", "width", "encoding", "is_bigendian", "step")}
    from_bag = recorded.TYPESTORE.types[recorded.IMAGE](
        header=recorded.header(0, "camera"), data=np.frombuffer(live.data, np.uint8), **values
    )
    np.testing.assert_array_equal(conversion.image_of(live), recorded.image_of(from_bag))


def test_poses_and_stamps_are_unchanged() -> None:
    stamp_ns = 1_700_000_000_123_456_789
    transform = conversion.transform_message(stamp_ns, "map", "odom", POSE)
    stamped = conversion.pose_stamped(stamp_ns, "map", POSE)
    assert conversion.stamp_ns_of(transform) == conversion.stamp_ns_of(stamped) == stamp_ns
    for found in (conversion.pose_of(transform.transform), conversion.pose_of(stamped.pose)):
        assert max(POSE.distance_to(found)) < 1e-12


def test_a_covariance_keeps_its_order() -> None:
    covariance = np.arange(36.0).reshape(6, 6)
    message = conversion.pose_with_covariance(POSE, covariance)
    np.testing.assert_array_equal(message.covariance, np.arange(36.0))


def test_calibrations_keep_the_half_pixel_shift() -> None:
    from sensor_msgs.msg import CameraInfo

    camera = Camera("OPENCV", 640, 480, (500.0, 510.0, 320.25, 239.5, 0.1, -0.05, 0.001, 0.002))
    model, k, d = camera.to_ros()
    info = CameraInfo(width=640, height=480, distortion_model=model, k=k, d=d)
    assert conversion.camera_of(info) == camera


def test_a_cloud_has_every_point_with_its_landmark() -> None:
    landmark_map = make_plane_scene().landmark_map
    cloud = conversion.landmark_cloud(0, landmark_map, landmark_map.scene())
    layout = np.dtype({"names": [f.name for f in cloud.fields], "formats": ["<f4"] * 3 + ["<i4"]})
    rows = np.frombuffer(cloud.data, layout)
    np.testing.assert_array_equal(rows["y"], landmark_map.points[:, 1])
    np.testing.assert_array_equal(rows["landmark"], landmark_map.landmark_ids)
    assert cloud.header.frame_id == "map_origin"
