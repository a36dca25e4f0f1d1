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

"""Camera calibrations: ROS's camera_info YAML, read and written, and the formats of other tools, read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.camera_formats import (
    Calibrations,
    is_colmap_text,
    is_kalibr_report,
    read_colmap_binary,
    read_colmap_text,
    read_kalibr,
    read_orb_slam,
)
from vloc_ros.storage.text import naming_file, read_text

_EXPECTED = "a calibration: camera_info, or that of Kalibr, OpenCV, ORB-SLAM or COLMAP"
# 4 may be those of a fisheye
_MODEL_OF_COUNT = dict.fromkeys((0, 5), "plumb_bob") | dict.fromkeys((8, 12, 14), "rational_polynomial")
_SIZE = "add image_width and image_height, the size in pixels of the images that the camera was calibrated with"
_REMEDIES = {
    "image_width": _SIZE,
    "image_height": _SIZE,
    "distortion_model": "add it: plumb_bob, or equidistant for coefficients of cv2.fisheye",
}
_IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def read_camera(path: Path) -> Camera:
    """Read the calibration of a camera.

    Formats are ROS's camera_info, as `camera_calibration` writes it or `ros2 topic echo --once` prints it, `roi` and
    binning included; YAML of Kalibr, EuRoC, OpenCV and ORB-SLAM; and COLMAP's `cameras.txt` and `cameras.bin`. Of a
    file with several cameras, `FILE#NAME` is one. Rectification and projection matrices are not used.

    Raises:
        InputError: the file is missing, not such a file, or its calibration cannot be used; the message names the key.
    """
    path, name = _split_name(Path(path))
    try:
        with naming_file(path):
            binary = path.suffix == ".bin"
            cameras = read_colmap_binary(_read_bytes(path)) if binary else _read_text_format(read_text(path))
            return _choose(path, name, cameras)
    except NotYamlError as error:
        raise InputError(f"{path}{error}: is not YAML, expected {_EXPECTED}") from None


class NotYamlError(Exception):
    """Its text says where."""


def _split_name(path: Path) -> tuple[Path, str]:
    """The file, and the name of a camera in it."""
    file, _, name = path.name.rpartition("#")
    return (path.with_name(file), name) if file and not path.exists() else (path, "")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a file; check the name") from error


def _choose(path: Path, name: str, cameras: Calibrations) -> Camera:
    """The named camera, or the only one; several that are the same are one."""
    if name and name not in cameras:
        raise InputError(f"has no camera {name}, expected one of {', '.join(cameras)}")
    if name or len(cameras) == 1:
        return cameras[name or next(iter(cameras))]()
    try:
        found = {take() for take in cameras.values()}
    except InputError:  # of one that may not be used
        found = set()
    if len(found) != 1:
        raise InputError(
            f"holds the cameras {', '.join(cameras)}, expected one; name that of the images, such as "
            f"{path}#{next(iter(cameras))}"
        )
    return found.pop()


def _read_text_format(text: str) -> Calibrations:
    if is_colmap_text(text):
        return read_colmap_text(text)
    if is_kalibr_report(text):
        raise InputError("is Kalibr's report for people, expected its camchain.yaml, which lies beside it; give that")
    values = load_yaml(text)
    if not isinstance(values, Mapping):
        raise InputError(f"is no table of keys, expected {_EXPECTED}")
    return read_kalibr(values) or read_orb_slam(values) or {"": partial(_read_camera_info, values)}


class _Loader(yaml.SafeLoader):
    """Knows OpenCV's matrices, too."""


def _construct_matrix(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _construct_matrix)


def load_yaml(text: str) -> Any:
    """The first document: `ros2 topic echo` ends each with a line; OpenCV begins with a directive of its own.

    Raises:
        NotYamlError: it is none.
    """
    try:
        return next(yaml.load_all(re.sub(r"\A%YAML.*", "", text), _Loader), None)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise NotYamlError("" if line is None else f", line {line + 1}") from None


def _read_camera_info(values: Mapping[Any, Any]) -> Camera:
    """Of ROS or OpenCV, whose keys are spelt in many ways, also as OpenCV's tutorial calls its variables."""
    names = ("distortion_coefficients", "d", "dist_coeffs", "dist_coeff", "distortion_coeffs", "dist")
    d = _numbers(values, *names)
    width, height = _pixels(values, "image_width", "width"), _pixels(values, "image_height", "height")
    camera = Camera.from_ros(_model(values, len(d)), width, height, _numbers(values, "camera_matrix", "k", "mtx"), d)
    roi = _find(values, "roi") or {}
    if not isinstance(roi, Mapping):
        raise InputError(f"roi is {roi!r}, expected x_offset, y_offset, width and height")
    part = [roi.get(key, 0) for key in ("x_offset", "y_offset", "width", "height")]
    binning = [_find(values, key) or 0 for key in ("binning_x", "binning_y")]
    if not all(type(value) is int and value >= 0 for value in (*part, *binning)):
        raise InputError(f"roi is {part} and binning {binning}, expected whole numbers of pixels")
    return camera.region((part[0], part[1], part[2], part[3]), (binning[0], binning[1]))


def write_camera(path: Path, camera: Camera, *, name: str) -> None:
    """Write a camera_info YAML with identity rectification."""
    model, k, d = camera.to_ros()
    projection = [k[0], k[1], k[2], 0.0, k[3], k[4], k[5], 0.0, k[6], k[7], k[8], 0.0]
    values = {
        "image_width": camera.width,
        "image_height": camera.height,
        "camera_name": name,
        "camera_matrix": {"rows": 3, "cols": 3, "data": k},
        "distortion_model": model,
        "distortion_coefficients": {"rows": 1, "cols": len(d), "data": d},
        "rectification_matrix": {"rows": 3, "cols": 3, "data": _IDENTITY},
        "projection_matrix": {"rows": 3, "cols": 4, "data": projection},
    }
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=1000)
    write_bytes_atomically(path, text.encode())


def _find(values: Mapping[Any, Any], *names: str) -> Any:
    """The value of a key that is one of these names, however it is spelt; None without any."""
    wanted = {_plain(name) for name in names}
    return next((value for key, value in values.items() if _plain(key) in wanted), None)


def _plain(key: object) -> str:
    return str(key).replace("_", "").lower()


def _entry(values: Mapping[Any, Any], *names: str) -> Any:
    found = _find(values, *names)
    if found is None:
        there = ", ".join(str(key) for key in values) or "nothing"
        remedy = _REMEDIES.get(names[0], "calibrate the camera, or rename the key that holds it")
        raise InputError(f"{names[0]} is missing (found {there}), expected {_EXPECTED}; {remedy}")
    return found


def _model(values: Mapping[Any, Any], coefficients: int) -> str:
    """The distortion model; where there is none, as in OpenCV's files, the only one with so many coefficients."""
    model, fisheye = _find(values, "distortion_model"), _find(values, "fisheye_model")
    if model is None and fisheye:
        return "equidistant"
    if model is None and (fisheye is not None or coefficients in _MODEL_OF_COUNT):
        return _MODEL_OF_COUNT.get(coefficients, "plumb_bob")
    if not isinstance(_entry(values, "distortion_model"), str):
        raise InputError(f"distortion_model is {model!r}, expected a name such as plumb_bob")
    return str(model)


def _pixels(values: Mapping[Any, Any], *names: str) -> int:
    size = _entry(values, *names)
    if type(size) is not int or size <= 0:
        raise InputError(f"{names[0]} is {size!r}, expected a positive number of pixels")
    return size


def _numbers(values: Mapping[Any, Any], *names: str) -> list[float]:
    entry = _entry(values, *names)
    data: Any = entry.get("data") if isinstance(entry, Mapping) else entry
    try:
        # camera_calibration writes 1e-05, which YAML 1.1 takes for text: text that is a number is one
        rows = [row if isinstance(row, list) else [row] for row in data]
        return [float(v) for row in rows for v in row]
    except (TypeError, ValueError):
        raise InputError(f"{names[0]} has data {data!r}, expected a list of numbers") from None
