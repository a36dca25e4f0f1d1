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

"""Each usual mistake is named where it is made, and none where there is none: on exact points, and on real images."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from posed_points import NumberedExtractor, PosedPoints, make_posed_points

from vloc_ros.assembly import build_extractor
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import PosedImage, silent
from vloc_ros.datasets.image_folders import list_posed_images
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.sfm import input_mistakes
from vloc_ros.mapping.sfm.input_mistakes import find_input_mistakes
from vloc_ros.storage.cameras import read_camera

_GL = Pose(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
_OPTICAL_FROM_BODY = Pose(np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), np.zeros(3))


def _read_as_xyzw(pose: Pose) -> Pose:
    """As it is read when its quaternion is written w x y z."""
    x, y, z, w = pose.quaternion
    return Pose.from_quaternion([w, x, y, z], pose.translation)


_POSES: dict[str, Callable[[Pose], Pose]] = {
    "^the poses are inverted, camera_from_map": Pose.inverse,
    "^the quaternions are in the order w x y z: ": _read_as_xyzw,
    "w x y z and the poses inverted, .* as COLMAP has both": lambda pose: _read_as_xyzw(pose.inverse()),
    "^the cameras have the axes of OpenGL": lambda pose: pose @ _GL,
    "inverted and their cameras have the axes of OpenGL": lambda pose: (pose @ _GL).inverse(),
    "^the poses are of a body, x forward": lambda pose: pose @ _OPTICAL_FROM_BODY,
}


def _calibrated(camera: Camera, focal: float, shift: tuple[float, float] = (0.0, 0.0)) -> Camera:
    """Of a model with one focal length or two."""
    focals = len(camera.parameters) - (2 if camera.model == "PINHOLE" else 3)
    values = np.array(camera.parameters)
    values[:focals] *= focal
    values[focals : focals + 2] += np.multiply(shift, (camera.width, camera.height))
    return replace(camera, parameters=tuple(values))


_CAMERAS: dict[str, Callable[[Camera], Camera]] = {
    r"^the focal length is not .* 0\.[67]\d times as long": lambda camera: _calibrated(camera, 1.5),
    r"^the focal length is not .* 1\.[56]\d times as long": lambda camera: _calibrated(camera, 0.63),
    "^the principal point is not that of these images": lambda camera: _calibrated(camera, 1.0, (0.2, -0.15)),
    r"images of another size, a focal length [12]\.\d\d": lambda camera: _calibrated(camera, 0.5, (-0.25, -0.25)),
}
_ORDERS: dict[str, Callable[[list[Pose]], list[Pose]]] = {
    "^the poses are in the reverse order": lambda poses: poses[::-1],
    "^each pose is that of the image after": lambda poses: [*poses[1:], poses[-1]],
    "^each pose is that of the image before": lambda poses: [poses[0], *poses[:-1]],
}


@pytest.fixture(scope="module")
def points() -> PosedPoints:
    return make_posed_points(images=16)


@pytest.fixture(scope="module")
def matches(points: PosedPoints) -> input_mistakes.Matches:
    """Of the images, which are the same whatever poses and calibration are given."""
    return input_mistakes._match_groups(points.images(), NumberedExtractor(points.features), silent)


@pytest.fixture
def matched(matches: input_mistakes.Matches, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are matched once for most tests."""
    monkeypatch.setattr(input_mistakes, "_match_groups", lambda *_: matches)


def _first(images: list[PosedImage], points: PosedPoints) -> str:
    found = find_input_mistakes(images, NumberedExtractor(points.features), silent)
    return str(found[0]) if found else ""


def test_right_input_has_no_mistake(points: PosedPoints) -> None:
    assert _first(points.images(), points) == ""
    assert _first(points.images(posed=False), points) == ""


@pytest.mark.usefixtures("matched")
def test_noise_is_no_mistake(points: PosedPoints) -> None:
    rng = np.random.default_rng(0)
    for metres, radians in ((0.01, 0.005), (0.05, 0.02), (0.3, 0.1)):
        noise = [Pose.from_rotation_vector(rng.normal(0, radians, 3), rng.normal(0, metres, 3)) for _ in points.poses]
        noisy = [pose @ one for pose, one in zip(points.poses, noise, strict=True)]
        assert _first(_posed(points.images(), noisy), points) == ""


def _posed(images: list[PosedImage], poses: list[Pose]) -> list[PosedImage]:
    return [replace(image, map_from_camera=pose) for image, pose in zip(images, poses, strict=True)]


@pytest.mark.usefixtures("matched")
@pytest.mark.parametrize("expected", _POSES)
def test_poses_of_another_convention(points: PosedPoints, expected: str) -> None:
    _assert_named(_first(_posed(points.images(), [_POSES[expected](pose) for pose in points.poses]), points), expected)


@pytest.mark.parametrize("expected", _ORDERS)
def test_poses_of_other_images(points: PosedPoints, expected: str) -> None:
    _assert_named(_first(_posed(points.images(), _ORDERS[expected](list(points.poses))), points), expected)


@pytest.mark.usefixtures("matched")
@pytest.mark.parametrize("expected", _CAMERAS)
def test_the_calibration_of_another_camera(points: PosedPoints, expected: str) -> None:
    images = [replace(image, camera=_CAMERAS[expected](image.camera)) for image in points.images()]
    _assert_named(_first(images, points), expected)


def _assert_named(found: str, expected: str) -> None:
    assert re.search(expected, found), found


@pytest.mark.slow
def test_each_is_named_on_real_images(shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    castle = shared_data("castle")
    config = MappingConfig()
    reduced = replace(config.extractor, max_megapixels=0.5)
    extractor = build_extractor(reduced, None, inference=config.inference)
    camera = read_camera(castle / "camera_info.yaml")
    images = list_posed_images(castle / "map" / "images", camera, poses_file=castle / "map" / "poses_tum.txt")[:16]
    truth = [image.map_from_camera for image in images]
    assert all(truth)
    matches = input_mistakes._match_groups(images, extractor, silent)
    monkeypatch.setattr(input_mistakes, "_match_groups", lambda *_: matches)
    assert find_input_mistakes(images, extractor, silent) == []
    for expected, moved in _POSES.items():
        given = [moved(pose) for pose in truth if pose is not None]
        _assert_named(str(find_input_mistakes(_posed(images, given), extractor, silent)[0]), expected)
    for expected, changed in _CAMERAS.items():
        wrong = [replace(image, camera=changed(camera)) for image in images]
        _assert_named(str(find_input_mistakes(wrong, extractor, silent)[0]), expected)
