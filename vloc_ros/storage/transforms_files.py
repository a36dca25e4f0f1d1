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

"""`transforms.json` of nerfstudio, instant-ngp and Blender: posed images with their calibration.

Cameras there have OpenGL's axes (x right, y up, looking along -z); here they get the axes of an optical frame. The
principal point is in COLMAP's convention.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.text import read_text
from vloc_ros.storage.trajectory_formats import pose_from_matrix

_OPENGL_FROM_OPTICAL = Pose(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
_MODELS = ("OPENCV", "OPENCV_FISHEYE", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL")
_COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3", "k4")


@dataclass(frozen=True, slots=True, eq=False)
class TransformsFrame:
    """A frame of a `transforms.json`.

    Attributes:
        path: of the file.
        name: path of its image, relative to the file.
        world_from_camera: its pose, of the optical frame.
        values: what the file says of it; what all frames share included.
    """

    path: Path
    name: str
    world_from_camera: Pose
    values: Mapping[str, Any]

    def camera(self) -> Camera:
        """Its calibration.

        Raises:
            InputError: there is none, or it cannot be used.
        """
        try:
            return _camera(self.values)
        except InputError as error:
            raise InputError(f"{self.path}: {self.name}: {error}") from error
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"{self.path}: {self.name}: a value of the calibration is no finite number, expected w, h, fl_x, cx, "
                "cy and so on; give it with --camera"
            ) from None


def read_transforms(path: Path) -> tuple[TransformsFrame, ...]:
    """The frames of a file, in its order.

    Raises:
        InputError: the file is none, or a frame has no usable pose; the message names the frame.
    """
    try:
        values = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON ({error}), expected a transforms.json") from None
    frames = values.get("frames") if isinstance(values, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: has no list `frames`, expected a transforms.json of nerfstudio")
    return tuple(_frame(path, number, frame, values) for number, frame in enumerate(frames))


def _frame(path: Path, number: int, frame: Any, shared: Mapping[str, Any]) -> TransformsFrame:
    name = frame.get("file_path") if isinstance(frame, dict) else None
    if not isinstance(name, str):
        raise InputError(f"{path}: frame {number} has no file_path, expected that of its image")
    try:
        rows = frame.get("transform_matrix")
        matrix = [float(value) for row in rows for value in row]
        pose = pose_from_matrix(matrix) @ _OPENGL_FROM_OPTICAL
        # what a frame says goes before what all share
        return TransformsFrame(path, str(PurePosixPath(name)), pose, {**shared, **frame})
    except InputError as error:
        raise InputError(f"{path}: {name}: {error}") from error
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{path}: {name}: has no transform_matrix of numbers") from None


def _camera(values: Mapping[str, Any]) -> Camera:
    focal, angle = values.get("fl_x"), values.get("camera_angle_x")
    if not focal and not angle:
        raise InputError(
            f"fl_x is {focal} and camera_angle_x {angle}, expected one of them; give the calibration with --camera"
        )
    if "w" not in values or "h" not in values:
        raise InputError("w and h are missing, the size of the images; add them, or give the calibration with --camera")
    width, height = int(values["w"]), int(values["h"])
    fx = float(focal or width / 2 / math.tan(float(angle or 0.0) / 2))
    fy = float(values.get("fl_y", fx))
    cx, cy = float(values.get("cx", width / 2)), float(values.get("cy", height / 2))
    k1, k2, p1, p2, k3, k4 = (float(values.get(name, 0.0)) for name in _COEFFICIENTS)
    model = values.get("camera_model", "OPENCV")
    if model not in _MODELS:
        raise InputError(f"camera_model is {model!r}, expected one of {', '.join(_MODELS)}")
    if model == "OPENCV_FISHEYE" or values.get("is_fisheye"):
        return Camera("OPENCV_FISHEYE", width, height, (fx, fy, cx, cy, k1, k2, k3, k4))
    if k4:
        raise InputError("k4 of a camera that is no fisheye is a model that is not known here; undistort the images")
    if k3:
        return Camera("FULL_OPENCV", width, height, (fx, fy, cx, cy, k1, k2, p1, p2, k3, 0.0, 0.0, 0.0))
    if not any((k1, k2, p1, p2)):
        return Camera("PINHOLE", width, height, (fx, fy, cx, cy))
    return Camera("OPENCV", width, height, (fx, fy, cx, cy, k1, k2, p1, p2))
