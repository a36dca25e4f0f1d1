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

"""camera_info YAML round trips, real-world variants, and bad files named with their key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.storage.cameras import read_camera, write_camera

_CALIBRATION_TOOL = """\
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [525.5, 0., 319.5, 0., 526, 239.5, 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.1, -0.2, 1e-3, 0.002, 0.]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1., 0., 0., 0., 1., 0., 0., 0., 1.]
projection_matrix:
  rows: 3
  cols: 4
  data: [500., 0., 320., 0., 0., 500., 240., 0., 0., 0., 1., 0.]
"""
_CAMERAS = [
    Camera("PINHOLE", 640, 480, (500.0, 501.0, 320.0, 240.0)),
    Camera("OPENCV", 640, 480, (500.0, 501.0, 320.25, 240.125, 0.1, -0.2, 0.001, 0.002)),
    Camera("FULL_OPENCV", 640, 480, (500.0, 501.0, 320.0, 240.0, 0.1, -0.2, 0.001, 0.002, 0.3, 0.01, 0.02, 0.03)),
    Camera("OPENCV_FISHEYE", 640, 480, (300.0, 301.0, 320.0, 240.0, 0.1, -0.02, 0.003, -0.004)),
    Camera("OPENCV_FISHEYE", 640, 480, (300.0, 301.0, 320.0, 240.0, 0.0, 0.0, 0.0, 0.0)),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "camera.yaml"


@pytest.mark.parametrize("camera", _CAMERAS, ids=lambda c: c.model)
def test_round_trip(path: Path, camera: Camera) -> None:
    write_camera(path, camera, name="front")
    assert read_camera(path) == camera
    assert yaml.safe_load(path.read_text())["camera_name"] == "front"


def test_as_the_calibration_tool_writes_it(path: Path) -> None:
    path.write_text(_CALIBRATION_TOOL)
    camera = read_camera(path)
    assert camera == Camera("OPENCV", 640, 480, (525.5, 526.0, 320.0, 240.0, 0.1, -0.2, 0.001, 0.002))


@pytest.mark.parametrize("matrix", ["[[500, 0, 320], [0, 500, 240], [0, 0, 1]]", "[500, 0, 320, 0, 500, 240, 0, 0, 1]"])
def test_as_the_tutorial_of_opencv_calls_it(path: Path, matrix: str) -> None:
    text = f"mtx: {matrix}\ndist: [[0.1, -0.2, 0.001, 0.002, 0.0]]\n"
    path.write_text(text)
    with pytest.raises(InputError, match=r"image_width is missing .*; add image_width and image_height"):
        read_camera(path)
    path.write_text(text + "image_width: 640\nimage_height: 480\n")
    assert read_camera(path).intrinsics == (500.0, 500.0, 320.5, 240.5)
    assert read_camera(path).distortion[:4] == (0.1, -0.2, 0.001, 0.002)


def _changed(path: Path, old: str, new: str) -> None:
    assert old in _CALIBRATION_TOOL
    path.write_text(_CALIBRATION_TOOL.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("image_width: 640\n", "", "image_width is missing"),
        ("image_width: 640", "image_width: 640.5", "image_width is 640.5"),
        ("image_height: 480", "image_height: 0", "image_height is 0"),
        ("image_height: 480", "image_height: yes", "image_height is True"),
        ("camera_matrix:", "matrix:", "camera_matrix is missing"),
        ("525.5, 0.,", "525.5,", "camera matrix K has 8 numbers"),
        ("[525.5,", "[.nan,", "not finite"),
        ("[525.5,", "[.inf,", "not finite"),
        ("[525.5,", "[0.0,", "focal length 0 px"),
        ("[525.5,", "[x,", "camera_matrix has data"),
        ("[0.1,", "[.nan,", "not finite"),
        ("[0.1, -0.2,", "[", "does not have 3 coefficients"),
        ("plumb_bob", "kannala_brandt", "unknown distortion model 'kannala_brandt'"),
        ("distortion_model: plumb_bob", "distortion_model: 3", "distortion_model is 3"),
        ("image_height: 480", "image_height: {480", "is not YAML"),
    ],
)
def test_bad_files_are_named_with_the_key(path: Path, old: str, new: str, reason: str) -> None:
    _changed(path, old, new)
    with pytest.raises(InputError, match=reason) as error:
        read_camera(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "[]", "just words", "a: &a [*a]", "\x00", "!!python/object:os.system {}"])
def test_other_files(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(InputError, match=r"camera\.yaml"):
        read_camera(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read \(No such .*\), expected a file; check the name"):
        read_camera(tmp_path / "none.yaml")
