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

"""transforms.json: OpenGL's axes become those of an optical frame, and calibrations are the file's or the frame's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.storage.transforms_files import read_transforms

_SHARED = {"w": 640, "h": 480, "fl_x": 500.0, "fl_y": 510.0, "cx": 321.0, "cy": 239.0}


def _write(path: Path, shared: dict[str, Any], **frame: Any) -> Path:
    # a camera at (1, 2, 3) that looks along the world's y axis, z up, in OpenGL's axes: right x, up z, back -y
    matrix = [[1, 0, 0, 1], [0, 0, -1, 2], [0, 1, 0, 3], [0, 0, 0, 1]]
    frames = [{"file_path": "./images/f.png", "transform_matrix": matrix, **frame}]
    path.write_text(json.dumps({**shared, "frames": frames}))
    return path


def test_a_camera_looks_along_the_negative_z_axis(tmp_path: Path) -> None:
    (frame,) = read_transforms(_write(tmp_path / "t.json", _SHARED))
    assert frame.name == "images/f.png"
    assert frame.camera() == Camera("PINHOLE", 640, 480, (500.0, 510.0, 321.0, 239.0))
    np.testing.assert_allclose(frame.world_from_camera.apply([0, 0, 5]), [1, 7, 3])
    np.testing.assert_allclose(frame.world_from_camera.apply([0, 1, 0]), [1, 2, 2], err_msg="y is down")


@pytest.mark.parametrize(
    ("values", "camera"),
    [
        ({"k1": 0.1, "p2": 0.01}, Camera("OPENCV", 640, 480, (500, 510, 321, 239, 0.1, 0, 0, 0.01))),
        (
            {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.2},
            Camera("OPENCV_FISHEYE", 640, 480, (500, 510, 321, 239, 0.1, 0, 0, 0.2)),
        ),
        ({"k3": 0.1}, Camera("FULL_OPENCV", 640, 480, (500, 510, 321, 239, 0, 0, 0, 0, 0.1, 0, 0, 0))),
        ({"fl_x": 400.0, "fl_y": 400.0}, Camera("PINHOLE", 640, 480, (400, 400, 321, 239))),
    ],
)
def test_what_a_frame_says_goes_first(tmp_path: Path, values: dict[str, Any], camera: Camera) -> None:
    (frame,) = read_transforms(_write(tmp_path / "t.json", _SHARED, **values))
    assert frame.camera() == camera


def test_a_field_of_view_gives_the_focal_length(tmp_path: Path) -> None:
    (frame,) = read_transforms(_write(tmp_path / "t.json", {"w": 640, "h": 480, "camera_angle_x": np.pi / 2}))
    np.testing.assert_allclose(frame.camera().parameters, (320.0, 320.0, 320.0, 240.0))


@pytest.mark.parametrize(
    ("shared", "frame", "found"),
    [
        ({"fl_x": 500.0}, {}, "w and h are missing"),
        ({**_SHARED, "fl_x": 0}, {}, "fl_x is 0 and camera_angle_x None"),
        ({**_SHARED, "fl_x": -1}, {}, "focal length -1"),
        ({"w": 640, "h": 480, "camera_angle_x": 0}, {}, "fl_x is None and camera_angle_x 0"),
        ({**_SHARED, "w": float("inf")}, {}, "no finite number"),
        ({**_SHARED, "cx": float("nan")}, {}, "not finite"),
        (_SHARED, {"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR"),
        (_SHARED, {"transform_matrix": [[1, 0], [0, 1]]}, "expected the 12"),
        (_SHARED, {"transform_matrix": None}, "no transform_matrix"),
        (_SHARED, {"file_path": 3}, "frame 0 has no file_path"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, shared: dict[str, Any], frame: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=rf"t\.json: .*{found}"):
        read_transforms(_write(tmp_path / "t.json", shared, **frame))[0].camera()
