"""Camera calibrations as ROS's camera_info YAML, the file that `camera_calibration` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.text import read_text

_IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def read_camera(path: Path) -> Camera:
    """Read a camera_info YAML; rectification and projection matrices are not used.

    Raises:
        InputError: the file is missing, not such a file, or its calibration cannot be used; the message names the key.
    """
    try:
        values = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f", line {line + 1}"
        raise InputError(
            f"{path}{where}: is not YAML, expected a camera_info file, as camera_calibration writes it"
        ) from None
    try:
        if not isinstance(values, Mapping):
            raise InputError("is no table of keys, expected a camera_info file with image_width, camera_matrix, …")
        return Camera.from_ros(
            _model(values),
            _pixels(values, "image_width"),
            _pixels(values, "image_height"),
            _numbers(values, "camera_matrix"),
            _numbers(values, "distortion_coefficients"),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


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


def _entry(values: Mapping[Any, Any], key: str) -> Any:
    if key not in values:
        found = ", ".join(str(k) for k in values) or "nothing"
        raise InputError(f"{key} is missing (found {found}), expected a camera_info file; calibrate the camera")
    return values[key]


def _model(values: Mapping[Any, Any]) -> str:
    model = _entry(values, "distortion_model")
    if not isinstance(model, str):
        raise InputError(f"distortion_model is {model!r}, expected a name such as plumb_bob")
    return model


def _pixels(values: Mapping[Any, Any], key: str) -> int:
    size = _entry(values, key)
    if type(size) is not int or size <= 0:
        raise InputError(f"{key} is {size!r}, expected a positive number of pixels")
    return size


def _numbers(values: Mapping[Any, Any], key: str) -> list[float]:
    entry = _entry(values, key)
    data: Any = entry.get("data") if isinstance(entry, Mapping) else entry
    try:
        # camera_calibration writes 1e-05, which YAML 1.1 takes for text: text that is a number is one
        return [float(v) for v in data]
    except (TypeError, ValueError):
        raise InputError(f"{key} has data {data!r}, expected a list of numbers") from None
