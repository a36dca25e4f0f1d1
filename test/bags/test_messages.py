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

"""Images of all common encodings, padded rows included, become the same pixels."""

from __future__ import annotations

from array import array
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_typestore

from vloc_ros.bags import messages
from vloc_ros.bags.messages import camera_info_message, camera_of, image_message, image_of, image_size_of
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera

_BGR = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8), (0, 0), 3)
_GREY = _BGR[:, :, 1]


def _message(encoding: str, data: np.ndarray, *, padding: int = 0, height: int = 24, big: bool = False) -> object:
    rows = np.ascontiguousarray(data).view(np.uint8).reshape(len(data), -1)
    padded = np.hstack([rows, np.full((len(rows), padding), 77, np.uint8)])
    return messages.TYPESTORE.types[messages.IMAGE](
        header=messages.header(1, "camera"),
        height=height,
        width=32,
        encoding=encoding,
        is_bigendian=int(big),
        step=padded.shape[1],
        data=padded.reshape(-1),
    )


@pytest.mark.parametrize("padding", [0, 16])
@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("bgr8", _BGR),
        ("8UC3", _BGR),
        ("rgb8", _BGR[:, :, ::-1]),
        ("bgra8", cv2.cvtColor(_BGR, cv2.COLOR_BGR2BGRA)),
        ("rgba8", cv2.cvtColor(_BGR, cv2.COLOR_BGR2RGBA)),
        ("bgr16", _BGR.astype(np.uint16) * 257),
        ("rgb16", _BGR[:, :, ::-1].astype(np.uint16) * 257),
    ],
)
def test_colour(encoding: str, data: np.ndarray, padding: int) -> None:
    np.testing.assert_array_equal(image_of(_message(encoding, data, padding=padding)), _BGR)


@pytest.mark.parametrize("padding", [0, 16])
@pytest.mark.parametrize(
    ("encoding", "data"),
    [("mono8", _GREY), ("8UC1", _GREY), ("mono16", _GREY.astype(np.uint16) * 257)],
)
def test_grey(encoding: str, data: np.ndarray, padding: int) -> None:
    np.testing.assert_array_equal(image_of(_message(encoding, data, padding=padding)), _GREY)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize(
    ("encoding", "data"),
    [("mono16", _GREY), ("16UC1", _GREY), ("bgr16", _BGR), ("rgb16", _BGR[:, :, ::-1]), ("16UC3", _BGR)],
)
def test_two_bytes_a_value_hold_as_many_bits_as_they_show(encoding: str, data: np.ndarray, bits: int) -> None:
    """Of a camera of 10 bits, which would be black among 16."""
    data = data.copy()
    data[0, 0] = 255
    wide = np.round(data * ((2**bits - 1) / 255)).astype(np.uint16)
    expected = data[:, :, ::-1] if encoding == "rgb16" else data
    np.testing.assert_array_equal(image_of(_message(encoding, wide, padding=8)), expected)


def test_a_mosaic_of_two_bytes_a_value() -> None:
    mosaic = np.zeros((24, 32), np.uint8)
    for y, x, colour in ((0, 0, 2), (0, 1, 1), (1, 0, 1), (1, 1, 0)):
        mosaic[y::2, x::2] = _BGR[y::2, x::2, colour]
    mosaic[0, 0] = 255
    wide = np.round(mosaic * (1023 / 255)).astype(np.uint16)
    np.testing.assert_array_equal(image_of(_message("bayer_rggb16", wide)), image_of(_message("bayer_rggb8", mosaic)))


def test_big_endian() -> None:
    data = (_GREY.astype(np.uint16) * 257).astype(">u2")
    np.testing.assert_array_equal(image_of(_message("mono16", data, big=True)), _GREY)


@pytest.mark.parametrize("padding", [0, 16])
def test_yuv(padding: int) -> None:
    yuv = cv2.cvtColor(_BGR, cv2.COLOR_BGR2YUV_I420)
    planes = yuv[24:].reshape(2, -1)
    nv12 = np.vstack([yuv[:24], planes.T.reshape(12, 32)])
    u, v = (plane.reshape(12, 16).repeat(2, axis=0) for plane in planes)
    yuy2 = np.dstack([yuv[:24, ::2], u, yuv[:24, 1::2], v])  # OpenCV writes it since 4.9 only
    for encoding, data in (("nv12", nv12), ("yuv422_yuy2", yuy2)):
        image = image_of(_message(encoding, data, padding=padding))
        assert image.shape == _BGR.shape
        assert np.abs(image.astype(int) - _BGR).mean() < 12


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"])
def test_bayer(encoding: str) -> None:
    mosaic, colours = np.zeros((24, 32), np.uint8), {"b": 0, "g": 1, "r": 2}
    for letter, (y, x) in zip(encoding[6:10], [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
        mosaic[y::2, x::2] = _BGR[y::2, x::2, colours[letter]]
    assert np.abs(image_of(_message(encoding, mosaic)).astype(int) - _BGR).mean() < 6


@pytest.mark.parametrize("encoding", ["32FC1", "jpeg", "", "64FC9", "16SC1"])
def test_what_is_no_picture(encoding: str) -> None:
    with pytest.raises(InputError, match="expected colour or grey"):
        image_of(_message(encoding, np.zeros((24, 32 * 8 * 9), np.uint8)))


def test_the_size_is_known_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    size = _BGR.shape[1], _BGR.shape[0]
    packed = [cv2.imencode(suffix, _BGR)[1].tobytes() for suffix in (".jpg", ".png")]
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    compressed = [messages.compressed_image_message(1, "camera", data) for data in packed]
    assert [image_size_of(message) for message in (image_message(1, "", _BGR), *compressed)] == [size] * 3
    with pytest.raises(InputError, match=r"'h264': the content is no JPEG or PNG .* it is video"):
        image_size_of(replace(messages.compressed_image_message(1, "", b"\0\0\0\1g"), format="h264"))


def test_too_few_bytes() -> None:
    with pytest.raises(InputError, match="has 1440 bytes in rows of 96, expected 24 rows"):
        image_of(_message("bgr8", _BGR[:15]))
    with pytest.raises(InputError, match="expected 24 rows of at least 96"):
        image_of(_message("bgr8", _BGR[:, :30]))


def test_compressed_images_are_not_turned_and_damaged_ones_refused() -> None:
    jpeg = cv2.imencode(".jpg", _BGR)[1].tobytes()
    image = image_of(messages.compressed_image_message(1, "camera", jpeg))
    assert image.shape == _BGR.shape
    with pytest.raises(InputError, match="cut short"):
        image_of(messages.compressed_image_message(1, "camera", jpeg[:-20]))


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        (
            "h264",
            "'h264': the content is no JPEG or PNG .* it is video, expected jpeg or png; have image_transport",
        ),
        ("H265; yuv420p", "it is video"),
        ("16UC1; compressedDepth png", "it is depth, expected a picture"),
        ("", "format '': the content is no JPEG or PNG image"),
    ],
)
def test_what_is_no_compressed_picture_is_named(kind: str, hint: str) -> None:
    message = replace(messages.compressed_image_message(1, "camera", b"\0\0\0\1g"), format=kind)
    with pytest.raises(InputError, match=hint):
        image_of(message)


@pytest.mark.parametrize("model", ["PINHOLE", "OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE"])
def test_cameras_pass_through_camera_info(model: str) -> None:
    parameters = {
        "PINHOLE": (),
        "OPENCV": (0.1, -0.2, 0.01, 0.02),
        "FULL_OPENCV": (0.1, -0.2, 0.01, 0.02, 0.3, 0.01, 0.02, 0.03),
        "OPENCV_FISHEYE": (0.1, -0.02, 0.01, 0.002),
    }[model]
    camera = Camera(model, 640, 480, (500.5, 501.5, 320.0, 239.25, *parameters))
    assert camera_of(camera_info_message(1, "camera", camera)) == camera


def test_stamps_and_image_messages() -> None:
    message = image_message(1_700_000_000_000_000_001, "camera", _BGR)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 1)
    assert messages.stamp_ns_of(message) == 1_700_000_000_000_000_001
    np.testing.assert_array_equal(image_of(message), _BGR)


def test_messages_of_rclpy_are_read_as_well() -> None:
    """Their data is an array.array, and they know nothing of rosbags."""
    fields = {"height": 24, "width": 32, "encoding": "bgr8", "is_bigendian": 0, "header": None}
    for padding in (0, 8):
        rows = np.hstack([_BGR.reshape(24, 96), np.zeros((24, padding), np.uint8)])
        raw = SimpleNamespace(**fields, step=96 + padding, data=array("B", rows.tobytes()))
        np.testing.assert_array_equal(image_of(raw), _BGR)
    png = SimpleNamespace(format="png", data=array("B", cv2.imencode(".png", _BGR)[1].tobytes()))
    np.testing.assert_array_equal(image_of(png), _BGR)


_FULL = Camera("OPENCV", 640, 480, (500.0, 502.0, 321.0, 239.0, 0.1, -0.2, 0.01, 0.02))


def _info(**changes: object) -> SimpleNamespace:
    message = camera_info_message(1, "camera", _FULL)
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    fields = {name: getattr(message, name) for name in ("width", "height", "distortion_model", "d", "k", "p")}
    return SimpleNamespace(**({**fields, "roi": roi, "binning_x": 0, "binning_y": 0} | changes))


def _pixel_after(camera: Camera, point: np.ndarray) -> np.ndarray:
    return camera.project(point[None])[0]


def test_a_part_of_the_sensor_with_fewer_pixels() -> None:
    """A point's pixel in the image that is cut out and made smaller, with pixel borders at whole numbers."""
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=300)
    part = camera_of(_info(roi=roi, binning_x=2, binning_y=4))
    assert (part.width, part.height) == (200, 75)
    point = np.array([0.1, -0.2, 2.0])
    expected = (_pixel_after(_FULL, point) - [100, 40]) / [2, 4]
    np.testing.assert_allclose(_pixel_after(part, point), expected, atol=1e-9)


def test_rectified_images_have_the_calibration_p() -> None:
    p = np.array([[450.0, 0.0, 310.0, -45.0], [0.0, 451.0, 230.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    camera = camera_of(_info(p=p.reshape(-1)), rectified=True)
    assert camera == Camera("PINHOLE", 640, 480, (450.0, 451.0, 310.5, 230.5))
    assert camera_of(_info(p=p.reshape(-1))) == _FULL
    with pytest.raises(InputError, match="focal length 0"):
        camera_of(_info(p=np.zeros(12)), rectified=True)


def test_a_part_outside_of_the_sensor_is_refused() -> None:
    roi = SimpleNamespace(x_offset=300, y_offset=0, width=400, height=300)
    with pytest.raises(InputError, match="the roi is 400x300 at 300, 0, expected a part of 640x480"):
        camera_of(_info(roi=roi))


_READ = [value for value in vars(messages).values() if isinstance(value, str) and "/msg/" in value]


def _layout(kind: str, store: Stores) -> list[object]:
    """Name and type of every field of a message in a distribution, those of its parts included."""
    layout: list[object] = []
    for name, (node, detail) in get_typestore(store).fielddefs[kind][1]:
        element = detail[0] if node in (Nodetype.ARRAY, Nodetype.SEQUENCE) else (node, detail)
        parts = _layout(str(element[1]), store) if element[0] is Nodetype.NAME else []
        layout.append((name, node, detail, parts))
    return layout


@pytest.mark.parametrize("store", [store for store in Stores if store.name.startswith("ROS2_")], ids=lambda s: s.name)
def test_what_is_read_from_a_bag_has_one_layout_in_all_distributions(store: Stores) -> None:
    """So bags of Humble, Jazzy, Kilted and Lyrical are read with the definitions of Jazzy."""
    assert len(_READ) >= 9
    for kind in _READ:
        assert _layout(kind, store) == _layout(kind, Stores.ROS2_JAZZY), kind


def test_layouts_are_compared_part_by_part() -> None:
    kind = "lifecycle_msgs/msg/TransitionEvent"
    assert _layout(kind, Stores.ROS2_KILTED) == _layout(kind, Stores.ROS2_JAZZY)
    if hasattr(Stores, "ROS2_LYRICAL"):
        assert _layout(kind, Stores.ROS2_LYRICAL) != _layout(kind, Stores.ROS2_JAZZY)
