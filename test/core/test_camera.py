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

"""Every camera model sees and looks back along the same ray, and agrees with OpenCV, pycolmap and ROS."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import PARAMETER_NAMES, Camera, unreached_share, unreached_text

_SIZE = (640, 480)
_relaxed = settings(max_examples=50)  # the first call loads libraries, other processes take turns
_RANGES = {
    "f": (300, 900),
    "fx": (300, 900),
    "fy": (300, 900),
    "cx": (280, 360),
    "cy": (200, 280),
    "k1": (-0.05, 0.1),
    "k2": (-0.02, 0.02),
    "p1": (-0.005, 0.005),
    "p2": (-0.005, 0.005),
    "k3": (-0.005, 0.005),
    "k4": (-0.005, 0.005),
    "k5": (-0.005, 0.005),
    "k6": (-0.005, 0.005),
}


@st.composite
def cameras(draw: st.DrawFn, models: tuple[str, ...] = tuple(PARAMETER_NAMES)) -> Camera:
    model = draw(st.sampled_from(models))
    return Camera(model, *_SIZE, tuple(draw(st.floats(*_RANGES[name])) for name in PARAMETER_NAMES[model]))


_pixels = st.lists(st.tuples(st.floats(0, 640), st.floats(0, 480)), min_size=1, max_size=20)


@_relaxed
@given(cameras(), _pixels)
def test_a_pixel_comes_back_from_its_ray(camera: Camera, pixels: list[tuple[float, float]]) -> None:
    reached = camera.reaches(np.array(pixels))
    pixels = [pixel for pixel, meets in zip(pixels, reached, strict=True) if meets]
    assert pixels or unreached_share(camera)
    rays = camera.unproject(pixels)
    assert np.isfinite(rays).all()
    np.testing.assert_array_equal(rays[:, 2], 1)
    np.testing.assert_allclose(camera.project(rays), pixels, atol=1e-5)
    np.testing.assert_allclose(camera.project(rays * 7.5), pixels, atol=1e-5)


@_relaxed
@given(cameras(), _pixels)
def test_agrees_with_pycolmap(camera: Camera, pixels: list[tuple[float, float]]) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    reference = pycolmap.Camera(
        model=camera.model, width=camera.width, height=camera.height, params=list(camera.parameters)
    )
    rays = camera.unproject(pixels)
    rays = rays[np.isfinite(rays[:, 0])]
    np.testing.assert_allclose(reference.img_from_cam(rays), camera.project(rays), atol=1e-6)


@_relaxed
@given(cameras())
def test_of_no_points_there_are_no_pixels(camera: Camera) -> None:
    assert camera.project(np.zeros((0, 3))).shape == (0, 2)
    assert camera.unproject(np.zeros((0, 2))).shape == (0, 3)


@_relaxed
@given(cameras(), st.floats(-2, 2), st.floats(-2, 2))
def test_nothing_is_seen_behind(camera: Camera, x: float, y: float) -> None:
    assert np.isnan(camera.project([[x, y, -1.0], [x, y, 0.0]])).all()


@_relaxed
@given(cameras(("PINHOLE", "OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE")))
def test_camera_info_round_trip(camera: Camera) -> None:
    model, k, d = camera.to_ros()
    back = Camera.from_ros(model, camera.width, camera.height, k, d)
    points = np.array([[0.0, 0.0, 1.0], [0.3, -0.2, 1.0], [-0.4, 0.3, 1.0], [0.1, 0.25, 0.9]])
    np.testing.assert_allclose(back.project(points), camera.project(points), atol=1e-9)
    np.testing.assert_allclose(back.intrinsics, camera.intrinsics, atol=1e-9)


@_relaxed
@given(cameras(("OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE")))
def test_half_a_pixel_lies_between_ros_and_colmap(camera: Camera) -> None:
    """OpenCV and ROS count from the centre of the top-left pixel, COLMAP from its corner."""
    _, k, d = camera.to_ros()
    points = np.array([[[0.1, -0.2, 1.0]], [[-0.3, 0.2, 1.2]]])
    project = cv2.fisheye.projectPoints if camera.is_fisheye else cv2.projectPoints
    seen_by_ros = project(points, np.zeros(3), np.zeros(3), np.array(k).reshape(3, 3), np.array(d))[0].reshape(-1, 2)
    np.testing.assert_allclose(camera.project(points.reshape(-1, 3)), seen_by_ros + 0.5, atol=1e-9)


def test_the_centre_of_an_image_in_both_conventions() -> None:
    camera = Camera.from_ros("plumb_bob", 640, 480, [500, 0, 319.5, 0, 500, 239.5, 0, 0, 1], [0.0] * 5)
    np.testing.assert_array_equal(camera.project([[0, 0, 1]]), [[320, 240]])


@_relaxed
@given(cameras(), st.floats(0.25, 3.0), _pixels)
def test_scaled_cameras_see_scaled_images(camera: Camera, factor: float, pixels: list[tuple[float, float]]) -> None:
    width, height = round(640 * factor), round(480 * factor)
    if PARAMETER_NAMES[camera.model][0] == "f":
        width, height = (round(4 * factor) + 1) * 160, (round(4 * factor) + 1) * 120  # one focal length, one factor
    scale = np.array([width / 640, height / 480])
    rays = camera.unproject(pixels)
    seen = np.isfinite(rays[:, 0])
    scaled = camera.scaled(width, height).project(rays[seen])
    np.testing.assert_allclose(scaled, np.array(pixels)[seen] * scale, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "d", "expected"),
    [
        ("", [], "PINHOLE"),
        ("plumb_bob", [], "PINHOLE"),
        ("plumb_bob", [0.0] * 5, "PINHOLE"),
        ("plumb_bob", [0.1, 0, 0, 0], "OPENCV"),
        ("plumb_bob", [0.1, 0, 0, 0, 0], "OPENCV"),
        ("plumb_bob", [0.1, 0, 0, 0, 0.2], "FULL_OPENCV"),
        ("rational_polynomial", [0.1] * 8, "FULL_OPENCV"),
        ("rational_polynomial", [0.1] * 8 + [0.0] * 6, "FULL_OPENCV"),
        ("equidistant", [0.1] * 4, "OPENCV_FISHEYE"),
        ("equidistant", [0.0] * 4, "OPENCV_FISHEYE"),
    ],
)
def test_distortion_models_of_ros(model: str, d: list[float], expected: str) -> None:
    assert Camera.from_ros(model, 640, 480, [500, 0, 320, 0, 500, 240, 0, 0, 1], d).model == expected


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("plumb_bob", [0.1]),
        ("plumb_bob", [0.1] * 6),
        ("rational_polynomial", [0.1] * 5),
        ("rational_polynomial", [0.1] * 9),
        ("equidistant", [0.1] * 5),
        ("equidistant", []),
        ("thin_prism", [0.1] * 4),
        ("thin_prism", []),
        ("", [0.1] * 4),
    ],
)
def test_distortion_that_ros_does_not_have(model: str, d: list[float]) -> None:
    with pytest.raises(InputError, match="distortion model"):
        Camera.from_ros(model, 640, 480, [500, 0, 320, 0, 500, 240, 0, 0, 1], d)


@pytest.mark.parametrize(
    ("k", "reason"),
    [
        ([500, 0, 0, 0, 500, 0, 320, 240, 1], "it is transposed"),
        ([500, 0.2, 320, 0, 500, 240, 0, 0, 1], "a skew of 0.2 px"),
        ([500, 0, 320, 0, 500, 240, 0, 0, 0], "expected the rows fx 0 cx, 0 fy cy, 0 0 1"),
        ([500, 320, 500, 240, 1, 0, 0, 0, 0], "expected the rows"),
        ([500, 0, 320, 1, 500, 240, 0, 0, 1], "expected the rows"),
        ([772, 0, 0, 0, 1, 0, 0, 0, 1], "focal lengths 772 and 1 px"),
        ([500, 0, 0, 0, 500, 0, 0, 0, 1], "principal point at 0.5, 0.5"),
        ([0.8, 0, 0.5, 0, 0.8, 0.5, 0, 0, 1], "focal lengths 0.8 and 0.8 px and images of 640x480, expected pixels"),
        ([2000, 0, 1280, 0, 2000, 960, 0, 0, 1], "principal point at 1280.5, 960.5"),
        ([0] * 9, "uncalibrated"),
        ([np.nan] + [0] * 8, "not finite"),
        ([500, 0, 320, 0, 500, 240], "has 6 numbers"),
    ],
)
def test_a_matrix_of_which_only_a_part_could_be_used_is_refused(k: list[float], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Camera.from_ros("plumb_bob", 640, 480, k, [0.0] * 5)


def test_odd_sensors_are_no_mistake() -> None:
    """A fisheye, a telephoto lens, pixels of half the width, a principal point at a quarter, skew by rounding."""
    for k in (
        [90, 0, 320, 0, 90, 240],
        [9e3, 0, 320, 0, 9e3, 240],
        [500, 0, 320, 0, 250, 240],
        [900, 0, 320, 0, 300, 240],
        [500, 0, 160, 0, 500, 120],
    ):
        assert Camera.from_ros("plumb_bob", 640, 480, [*k, 0, 0, 1], [0.0] * 5).intrinsics[0] == k[0]
    strip = [500, 0, 320, 0, 500, 240, 0, 0, 1]  # the top of an image
    assert Camera.from_ros("plumb_bob", 640, 128, strip, [0.0] * 5).height == 128
    Camera.from_ros("plumb_bob", 640, 480, [500, 1e-12, 320, 0, 500, 240, 0, 0, 1], [])


@pytest.mark.parametrize(
    ("model", "size", "parameters", "reason"),
    [
        ("OMNI", (640, 480), (1.0,), "unknown camera model 'OMNI'"),
        ("PINHOLE", (640, 480), (500.0, 500.0, 320.0), "found 3 numbers"),
        ("PINHOLE", (640, 480), (500.0, 500.0, 320.0, np.nan), "not finite"),
        ("PINHOLE", (640, 480), (0.0, 0.0, 320.0, 240.0), "focal length 0"),
        ("PINHOLE", (640, 480), (500.0, -500.0, 320.0, 240.0), "focal length"),
        ("PINHOLE", (0, 480), (500.0, 500.0, 320.0, 240.0), "image size 0x480"),
    ],
)
def test_what_is_no_calibration(model: str, size: tuple[int, int], parameters: tuple[float, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Camera(model, *size, parameters)


# its image ends 338 px from the middle, before the corners
_SHORT_FISHEYE = Camera("OPENCV_FISHEYE", *_SIZE, (250.0, 250.0, 320.0, 240.0, 0.0, 0.0, 0.0, -0.0039))


@_relaxed
@given(st.just(_SHORT_FISHEYE) | cameras(("OPENCV_FISHEYE",)), _pixels)
def test_where_a_fisheye_has_no_ray_none_is_to_be_found(camera: Camera, pixels: list[tuple[float, float]]) -> None:
    fx, fy, cx, cy = camera.intrinsics
    radii = np.linalg.norm((np.array(pixels) - (cx, cy)) / (fx, fy), axis=1)
    angles = np.linspace(0.0, 1.57, 2000)
    distorted = angles * (1 + sum(k * angles ** (2 * n) for n, k in enumerate(camera.distortion, 1)))
    assert (radii[~camera.reaches(np.array(pixels))] > distorted.max() - 1e-3).all()


def test_keypoints_that_no_ray_meets_are_left_out() -> None:
    features = Features(np.array([[320, 240], [1, 1]], np.float32), np.eye(2, 4, dtype=np.float32), np.ones(2))
    assert features.seen_through(_SHORT_FISHEYE).xy.tolist() == [[320, 240]]
    assert "7.2% of the image" in str(unreached_text(_SHORT_FISHEYE))
    pinhole = Camera("PINHOLE", *_SIZE, (500.0, 500.0, 320.0, 240.0))
    assert features.seen_through(pinhole) is features
    assert unreached_text(pinhole) is None


def test_pixels_that_no_ray_reaches() -> None:
    """Strong barrel distortion ends at a circle; beyond it there is nothing to look along."""
    camera = Camera("SIMPLE_RADIAL", 640, 480, (300.0, 320.0, 240.0, -0.4))
    rays = camera.unproject([[320.0, 240.0], [640.0, 480.0]])
    np.testing.assert_allclose(rays[0], [0, 0, 1], atol=1e-9)
    assert np.isnan(rays[1]).any()


def test_empty_input() -> None:
    camera = Camera("OPENCV", *_SIZE, (500.0, 500.0, 320.0, 240.0, 0.1, 0.0, 0.0, 0.0))
    assert camera.project(np.zeros((0, 3))).shape == (0, 2)
    assert camera.unproject(np.zeros((0, 2))).shape == (0, 3)


def test_contains() -> None:
    camera = Camera("PINHOLE", *_SIZE, (500.0, 500.0, 320.0, 240.0))
    pixels = np.array([[0, 0], [640, 480], [-0.1, 5], [5, 480.1], [np.nan, 5]])
    assert camera.contains(pixels).tolist() == [True, True, False, False, False]
