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

"""Calibrations as other tools write them are those that ROS would have, and what is in doubt is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import PARAMETER_NAMES, Camera
from vloc_ros.storage.cameras import read_camera

_K = (525.5, 526.0, 319.5, 239.5)
# the principal point is half a pixel further in COLMAP's convention
_BROWN = Camera("OPENCV", 640, 480, (525.5, 526.0, 320.0, 240.0, 0.1, -0.2, 0.001, 0.002))
_FISHEYE = Camera("OPENCV_FISHEYE", 640, 480, (525.5, 526.0, 320.0, 240.0, 0.1, -0.02, 0.003, -0.004))
_PINHOLE = Camera("PINHOLE", 640, 480, (525.5, 526.0, 320.0, 240.0))

_ECHO = """\
header:
  stamp:
    sec: 1700000000
    nanosec: 5
  frame_id: camera
height: 480
width: 640
distortion_model: plumb_bob
d:
- 0.1
- -0.2
- 0.001
- 0.002
- 0.0
k:
- 525.5
- 0.0
- 319.5
- 0.0
- 526.0
- 239.5
- 0.0
- 0.0
- 1.0
r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
p: [500.0, 0.0, 320.0, 0.0, 0.0, 500.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]
binning_x: 0
binning_y: 0
roi:
  x_offset: 0
  y_offset: 0
  height: 0
  width: 0
  do_rectify: false
---
"""
_KALIBR = """\
cam0:
  cam_overlaps: [1]
  camera_model: pinhole
  distortion_coeffs: [0.1, -0.2, 0.001, 0.002]
  distortion_model: radtan
  intrinsics: [525.5, 526.0, 319.5, 239.5]
  resolution: [640, 480]
  rostopic: /cam0/image_raw
cam1:
  T_cn_cnm1:
  - [1.0, 0.0, 0.0, -0.1]
  camera_model: pinhole
  distortion_coeffs: [0.1, -0.02, 0.003, -0.004]
  distortion_model: equidistant
  intrinsics: [525.5, 526.0, 319.5, 239.5]
  resolution: [640, 480]
  rostopic: /cam1/image_raw
"""
_KALIBR_REPORT = """Calibration results
====================
Camera-system parameters:
\tcam0 (/camera/image_raw):
\t type: <class 'aslam_cv.libaslam_cv_python.DistortedPinholeCameraGeometry'>
\t distortion: [0.1 -0.2 0.001 0.002] +- [0.001 0.002 0.0001 0.0001]
\t projection: [500. 500. 320. 240.] +- [0.1 0.1 0.2 0.2]
"""
_EUROC = """\
sensor_type: camera
rate_hz: 20
resolution: [640, 480]
camera_model: pinhole
intrinsics: [525.5, 526.0, 319.5, 239.5] #fu, fv, cu, cv
distortion_model: radial-tangential
distortion_coefficients: [0.1, -0.2, 0.001, 0.002]
"""
_OPENCV = """\
%YAML:1.0
---
calibration_time: "Sun Nov 29 09:00:00 2026"
image_width: 640
image_height: 480
flags: 0
fisheye_model: 0
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 525.5, 0., 319.5, 0., 526., 239.5, 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: [ 0.1, -0.2, 1.0e-03, 2.0e-03, 0. ]
"""
_ORB_SLAM3 = """\
%YAML:1.0

#--------------------------------------------------------------------------------------------
File.version: "1.0"
Camera.type: "PinHole"
Camera1.fx: 525.5
Camera1.fy: 526.0
Camera1.cx: 319.5
Camera1.cy: 239.5
Camera1.k1: 0.1
Camera1.k2: -0.2
Camera1.p1: 0.001
Camera1.p2: 0.002
Camera.width: 640
Camera.height: 480
Camera.newWidth: 320
Camera.fps: 20
ORBextractor.nFeatures: 1000
"""
_ORB_SLAM_FISHEYE = """\
%YAML:1.0
Camera.type: "KannalaBrandt8"
Camera.fx: 525.5
Camera.fy: 526.0
Camera.cx: 319.5
Camera.cy: 239.5
Camera.k1: 0.1
Camera.k2: -0.02
Camera.k3: 0.003
Camera.k4: -0.004
Camera.width: 640
Camera.height: 480
"""
_COLMAP = """\
# Camera list with one line of data per camera:
#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
1 OPENCV 640 480 525.5 526.0 320.0 240.0 0.1 -0.2 0.001 0.002
"""
_ROS1 = _ECHO.replace("\nd:", "\nD:").replace("\nk:", "\nK:").replace("\nr:", "\nR:").replace("\np:", "\nP:")
_NESTED = "image_size: 0\nwidth: 640\nheight: 480\nK: [[525.5, 0, 319.5], [0, 526, 239.5], [0, 0, 1]]\nD: []\n"


def _file(tmp_path: Path, text: str, name: str = "camera.yaml") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (_ECHO, _BROWN),
        (_ECHO + "height: [not\n---\n", _BROWN),
        (_ROS1, _BROWN),
        (_EUROC, _BROWN),
        (_OPENCV, _BROWN),
        (_OPENCV.replace("camera_matrix", "Camera_Matrix").replace("image_w", "image_W"), _BROWN),
        (_OPENCV.replace("camera_matrix", "K").replace("distortion_coefficients", "D"), _BROWN),
        (_ORB_SLAM3, _BROWN),
        (_ORB_SLAM3.replace("Camera1.", "Camera."), _BROWN),
        (_ORB_SLAM3.replace("PinHole", "Rectified"), _PINHOLE),
        (_ORB_SLAM_FISHEYE, _FISHEYE),
        (_COLMAP, _BROWN),
        (_NESTED, _PINHOLE),
    ],
)
def test_a_calibration_is_the_same_in_every_format(tmp_path: Path, text: str, expected: Camera) -> None:
    assert read_camera(_file(tmp_path, text)) == expected


def test_one_of_several_cameras_is_named(tmp_path: Path) -> None:
    path = _file(tmp_path, _KALIBR)
    with pytest.raises(InputError, match=r"holds the cameras cam0, cam1, expected one; name .*camera.yaml#cam0"):
        read_camera(path)
    assert read_camera(path.with_name("camera.yaml#cam0")) == _BROWN
    assert read_camera(path.with_name("camera.yaml#cam1")) == _FISHEYE
    with pytest.raises(InputError, match="has no camera cam2, expected one of cam0, cam1"):
        read_camera(path.with_name("camera.yaml#cam2"))
    both = _COLMAP + "2 PINHOLE 640 480 525.5 526.0 320.0 240.0\n"
    assert read_camera(_file(tmp_path, both, "cameras.txt").with_name("cameras.txt#2")) == _PINHOLE
    assert read_camera(_file(tmp_path, _COLMAP + _COLMAP.replace("\n1 ", "\n2 "), "cameras.txt")) == _BROWN


def test_part_of_the_sensor_as_in_a_message(tmp_path: Path) -> None:
    """As the same message is read from a topic."""
    changed = _ECHO.replace("x_offset: 0", "x_offset: 100").replace("  width: 0", "  width: 400")
    changed = changed.replace("  height: 0", "  height: 300").replace("binning_x: 0", "binning_x: 2")
    camera = read_camera(_file(tmp_path, changed))
    assert (camera.width, camera.height) == (200, 300)
    assert camera.intrinsics == (525.5 / 2, 526.0, (320.0 - 100) / 2, 240.0)


@pytest.mark.parametrize("model", list(PARAMETER_NAMES))
@pytest.mark.parametrize("binary", [True, False])
def test_colmap_reads_the_same_cameras(tmp_path: Path, model: str, binary: bool) -> None:
    """Of files that COLMAP itself writes."""
    pycolmap = pytest.importorskip("pycolmap", reason="no pycolmap: pip install 'vloc_ros[mapping]'")
    values = [
        525.5 if name[0] == "f" else {"cx": 320.0, "cy": 240.0}.get(name, 0.01) for name in PARAMETER_NAMES[model]
    ]
    reconstruction = pycolmap.Reconstruction()
    reconstruction.add_camera(pycolmap.Camera(model=model, width=640, height=480, params=values, camera_id=7))
    (reconstruction.write_binary if binary else reconstruction.write_text)(str(tmp_path))
    assert read_camera(tmp_path / f"cameras.{'bin' if binary else 'txt'}") == Camera(model, 640, 480, tuple(values))


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("SIMPLE_FISHEYE", (500.0, 320.0, 240.0)),
        ("FISHEYE", (500.0, 490.0, 320.0, 240.0)),
        ("SIMPLE_RADIAL_FISHEYE", (500.0, 320.0, 240.0, 0.1)),
        ("RADIAL_FISHEYE", (500.0, 320.0, 240.0, 0.1, 0.02)),
    ],
)
def test_fisheyes_of_colmap_with_fewer_coefficients(tmp_path: Path, model: str, values: tuple[float, ...]) -> None:
    pycolmap = pytest.importorskip("pycolmap", reason="no pycolmap: pip install 'vloc_ros[mapping]'")
    theirs = pycolmap.Camera(model=model, width=640, height=480, params=list(values))
    found = read_camera(_file(tmp_path, f"1 {model} 640 480 {' '.join(map(str, values))}\n", "cameras.txt"))
    points = np.array([[0.1, -0.2, 1.0], [0.9, 0.4, 1.0], [-2.0, 0.3, 0.7]])
    np.testing.assert_allclose(found.project(points), theirs.img_from_cam(points), atol=1e-8)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            _OPENCV.replace("fisheye_model: 0\n", "").replace(", 0. ]\n", " ]\n"),
            "distortion_model is missing .*; add it",
        ),
        (_OPENCV.replace("image_width: 640\n", ""), "image_width is missing"),
        (_KALIBR_REPORT, "is Kalibr's report for people, expected its camchain.yaml"),
        (_EUROC.replace("pinhole", "omni"), "camera model is 'omni' .* expected pinhole"),
        (_EUROC.replace("resolution: [640, 480]", ""), "resolution None, expected"),
        (_EUROC.replace("radial-tangential", "fov"), "distortion 'fov', expected pinhole with radtan or equidistant"),
        (_ORB_SLAM3.replace("Camera.width: 640\n", ""), "Camera.width is missing"),
        (_ORB_SLAM_FISHEYE.replace("Camera.k4: -0.004\n", ""), "Camera.k4 is missing"),
        (_ORB_SLAM3.replace("PinHole", "Panorama"), "Camera.type is 'Panorama'"),
        (_COLMAP.replace("OPENCV", "FOV"), "camera model FOV is not known here"),
        (_COLMAP.replace("320.0 240.0", "0 0"), "principal point at 0, 0"),
        (_COLMAP + "2 PINHOLE wide 480 1\n", "found '2 PINHOLE wide 480 1', expected a row CAMERA_ID"),
        (_COLMAP + "2 PINHOLE 6_40 480 1 1 1 1\n", "expected a row CAMERA_ID"),
        (_COLMAP + "2 PINHOLE 640 480 5_0 5 1 1\n", "expected a row CAMERA_ID"),
        (_ECHO.replace("x_offset: 0", "x_offset: left"), "expected whole numbers of pixels"),
    ],
)
def test_what_is_missing_or_in_doubt_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as error:
        read_camera(_file(tmp_path, text))
    assert str(error.value).startswith(str(tmp_path))


@pytest.mark.parametrize("data", [b"", b"hello", bytes(8), (1).to_bytes(8, "little") + bytes(20)])
def test_a_binary_file_that_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "cameras.bin").write_bytes(data)
    with pytest.raises(InputError, match=r"cameras\.bin: "):
        read_camera(tmp_path / "cameras.bin")
