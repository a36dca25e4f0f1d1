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

"""Calibrations in the formats of other tools: Kalibr and EuRoC, ORB-SLAM, COLMAP.

A file may hold several cameras. Each is checked when it is taken: one that nobody uses may be of any model.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import PARAMETER_NAMES, Camera
from vloc_ros.storage.text import integer_of, number_of

# COLMAP's numbers of its models, with how many parameters each has
COLMAP_MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    12: ("SIMPLE_DIVISION", 4),
    13: ("DIVISION", 5),
    14: ("SIMPLE_FISHEYE", 3),
    15: ("FISHEYE", 4),
    16: ("EUCM", 6),
    17: ("EQUIRECTANGULAR", 2),
}
# the cameras of a file by their names, each of which raises InputError if it is not known here
Calibrations = Mapping[str, Callable[[], Camera]]
_COLMAP_ROW = re.compile(r"\d+\s+[A-Z_]+\s+\d+\s+\d+(\s+\S+)+")
_KALIBR_DISTORTION = {
    "radtan": "plumb_bob",
    "radial-tangential": "plumb_bob",
    "equidistant": "equidistant",
    "none": "plumb_bob",
}
_ORB_SLAM_NAMES = ("Camera", "Camera1", "Camera2")
_ORB_SLAM_TYPES = ("PinHole", "KannalaBrandt8", "Rectified")


def is_colmap_text(text: str) -> bool:
    """Whether a text is a COLMAP `cameras.txt`."""
    first = next((line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"), "")
    return _COLMAP_ROW.fullmatch(first) is not None


def read_colmap_text(text: str) -> Calibrations:
    """The cameras of a `cameras.txt`, by their ids.

    Raises:
        InputError: a row is none of a camera.
    """
    cameras = {}
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            name, model, width, height, *parameters = words
            values = [number_of(value) for value in parameters]
            cameras[name] = partial(_colmap_camera, model, integer_of(width), integer_of(height), values)
        except ValueError:
            raise InputError(f"found {line!r}, expected a row CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]") from None
    return cameras


def read_colmap_binary(data: bytes) -> Calibrations:
    """The cameras of a `cameras.bin`, by their ids.

    Raises:
        InputError: it is none or cut short, or a model is not one of COLMAP's, so that its length is unknown.
    """
    cameras = {}
    try:
        (count,), position = struct.unpack_from("<Q", data), 8
        for _ in range(count):
            camera_id, number, width, height = struct.unpack_from("<IiQQ", data, position)
            if number not in COLMAP_MODELS:
                raise _unknown(number)
            model, parameters = COLMAP_MODELS[number]
            values = struct.unpack_from(f"<{parameters}d", data, position + 24)
            cameras[str(camera_id)] = partial(_colmap_camera, model, width, height, values)
            position += 24 + 8 * parameters
    except struct.error:
        raise InputError("is no whole cameras.bin of COLMAP; export the model again, or as text") from None
    if not cameras or position != len(data):
        raise InputError(f"holds {len(cameras)} cameras in {len(data)} bytes, expected a cameras.bin of COLMAP")
    return cameras


def _colmap_camera(model: str, width: int, height: int, parameters: Sequence[float]) -> Camera:
    camera = Camera(*_as_known_model(model, width, height, tuple(parameters)))
    camera.check_sensor()
    return camera


def _as_known_model(
    model: str, width: int, height: int, values: tuple[float, ...]
) -> tuple[str, int, int, tuple[float, ...]]:
    """Fisheye models with fewer coefficients are the one with four, the others 0."""
    match model, values:
        case ("SIMPLE_FISHEYE", (f, cx, cy)):
            known = (f, f, cx, cy, 0.0, 0.0, 0.0, 0.0)
        case ("FISHEYE", (fx, fy, cx, cy)):
            known = (fx, fy, cx, cy, 0.0, 0.0, 0.0, 0.0)
        case ("SIMPLE_RADIAL_FISHEYE", (f, cx, cy, k1)):
            known = (f, f, cx, cy, k1, 0.0, 0.0, 0.0)
        case ("RADIAL_FISHEYE", (f, cx, cy, k1, k2)):
            known = (f, f, cx, cy, k1, k2, 0.0, 0.0)
        case _ if model in PARAMETER_NAMES:
            return model, width, height, values
        case _:
            raise _unknown(model)
    return "OPENCV_FISHEYE", width, height, known


def _unknown(model: str | int) -> InputError:
    return InputError(
        f"camera model {model} is not known here, expected one of {', '.join(PARAMETER_NAMES)}; undistort the images "
        "with COLMAP, or give --camera"
    )


def is_kalibr_report(text: str) -> bool:
    """Whether a text is Kalibr's `results-cam.txt` or the like, which it writes beside the calibration."""
    return text.lstrip().lower().startswith("calibration results") or "camera-system parameters" in text.lower()


def read_kalibr(values: Mapping[Any, Any]) -> Calibrations:
    """The cameras of a Kalibr camchain by their names, or that of a EuRoC `sensor.yaml`; empty for something else."""
    named = {"": values} if "intrinsics" in values else values
    chains = {str(name): one for name, one in named.items() if isinstance(one, Mapping) and "intrinsics" in one}
    return {name: partial(_kalibr_camera, one) for name, one in chains.items()}


def _kalibr_camera(values: Mapping[Any, Any]) -> Camera:
    model, distortion = values.get("camera_model"), str(values.get("distortion_model"))
    if model != "pinhole" or distortion not in _KALIBR_DISTORTION:
        raise InputError(
            f"the camera model is {model!r} with the distortion {distortion!r}, expected pinhole with radtan or "
            "equidistant; calibrate with one of these"
        )
    coefficients = values.get("distortion_coeffs", values.get("distortion_coefficients"))
    resolution, intrinsics = values.get("resolution"), values["intrinsics"]
    try:
        width, height = (int(value) for value in resolution or ())
        fx, fy, cx, cy = (float(value) for value in intrinsics)
        d = [] if distortion == "none" else [float(value) for value in coefficients or ()]
    except (TypeError, ValueError):
        raise InputError(
            f"found intrinsics {intrinsics}, distortion_coeffs {coefficients} and resolution {resolution}, expected fu "
            "fv pu pv, their coefficients, and width and height"
        ) from None
    k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    return Camera.from_ros(_KALIBR_DISTORTION[distortion], width, height, k, d)


def read_orb_slam(values: Mapping[Any, Any]) -> Calibrations:
    """The cameras of a settings file of ORB-SLAM, by their prefixes; empty for something else."""
    return {name: partial(_orb_slam_camera, values, name) for name in _ORB_SLAM_NAMES if f"{name}.fx" in values}


def _orb_slam_camera(values: Mapping[Any, Any], name: str) -> Camera:
    kind = values.get("Camera.type", "PinHole")
    if kind not in _ORB_SLAM_TYPES:
        raise InputError(f"Camera.type is {kind!r}, expected one of {', '.join(_ORB_SLAM_TYPES)}")
    model = "equidistant" if kind == "KannalaBrandt8" else "plumb_bob"
    needed = [f"{name}.{key}" for key in ("fx", "fy", "cx", "cy")] + ["Camera.width", "Camera.height"]
    coefficients = ("k1", "k2", "k3", "k4") if model == "equidistant" else ("k1", "k2", "p1", "p2", "k3")
    needed += [f"{name}.{key}" for key in coefficients] if model == "equidistant" else []
    missing = [key for key in needed if key not in values]
    if missing:
        raise InputError(f"{missing[0]} is missing, expected the settings of a camera of type {kind}; add it")
    try:
        fx, fy, cx, cy, width, height = (float(values[key]) for key in needed[:6])
        d = [] if kind == "Rectified" else [float(values.get(f"{name}.{key}", 0.0)) for key in coefficients]
    except (TypeError, ValueError) as error:
        raise InputError(f"a value of {name} is no number ({error}), expected numbers") from None
    return Camera.from_ros(model, int(width), int(height), [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0], d)
