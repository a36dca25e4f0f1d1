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

"""What sensor_msgs/CameraInfo may hold: the form of its K, and which model is meant by its distortion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vloc_ros.core.errors import InputError

MATRIX_ROWS = "fx 0 cx, 0 fy cy, 0 0 1"
# in parts of the focal length, as no calibration is without rounding
_MAX_SKEW = 1e-4


def check_matrix(k: Sequence[float]) -> None:
    """Refuse a K of which only a part could be used.

    Raises:
        InputError: it is not of the form of a camera matrix.
    """
    if len(k) != 9:
        raise InputError(f"a camera matrix K has {len(k)} numbers, expected 9")
    fx, skew, cx, below, fy, cy, *last = (float(value) for value in k)
    found = f"the camera matrix K is {' '.join(f'{float(value):g}' for value in k)}"
    if not np.isfinite([fx, skew, cx, below, fy, cy, *last]).all():
        raise InputError(f"{found}: a value is not finite; calibrate the camera again")
    if fx <= 0 or fy <= 0:
        raise InputError(f"{found}: focal length {min(fx, fy):g} px, expected a positive one: uncalibrated?")
    if any(last[:2]) and cx == cy == 0.0:
        raise InputError(f"{found}: it is transposed, expected the rows {MATRIX_ROWS}")
    if below or last != [0.0, 0.0, 1.0]:
        raise InputError(f"{found}, expected the rows {MATRIX_ROWS}; give all nine numbers, row by row")
    if abs(skew) > _MAX_SKEW * fx:
        raise InputError(f"{found}: it has a skew of {skew:g} px, which no model here has; calibrate without skew")


def model_of_distortion(model: str, coefficients: Sequence[float]) -> tuple[str, tuple[float, ...]]:
    """COLMAP's name of a distortion model of ROS, and the parameters that follow fx, fy, cx and cy.

    Raises:
        InputError: the model is unknown, or has another number of coefficients.
    """
    if model not in ("", "plumb_bob", "rational_polynomial", "equidistant") or (not model and any(coefficients)):
        raise InputError(
            f"unknown distortion model {model!r}, expected plumb_bob, rational_polynomial or equidistant; "
            "calibrate with one of these"
        )
    if not any(coefficients) and model != "equidistant":
        return "PINHOLE", ()
    if model == "equidistant" and len(coefficients) == 4:
        return "OPENCV_FISHEYE", tuple(coefficients)
    if model == "plumb_bob" and len(coefficients) in (4, 5):
        k1, k2, p1, p2, k3 = (*coefficients, 0.0)[:5]
        if k3 == 0.0:
            return "OPENCV", (k1, k2, p1, p2)
        return "FULL_OPENCV", (k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)
    if model == "rational_polynomial" and len(coefficients) >= 8 and not any(coefficients[8:]):
        return "FULL_OPENCV", tuple(coefficients[:8])
    raise InputError(
        f"distortion model {model} does not have {len(coefficients)} coefficients; calibrate the camera again"
    )
