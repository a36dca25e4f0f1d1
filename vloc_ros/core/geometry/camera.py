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

"""Camera models: where a 3D point appears in the image, and along which ray a pixel looks.

Models carry COLMAP's names and parameter order, which PoseLib and pycolmap read directly. The pixel convention is
COLMAP's: the centre of the top-left pixel is (0.5, 0.5). ROS puts it at (0, 0); `from_ros` shifts the principal point
by half a pixel, once, at the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.geometry.ros_calibration import MATRIX_ROWS, check_matrix, model_of_distortion

PARAMETER_NAMES: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}
_MIN_DEPTH = 1e-6
_HALF_PIXEL = 0.5
_POLISH_STEPS = 4
_STEP = 1e-5
_SINGULAR_PX2 = 1.0
_UNREACHABLE_PX = 0.1
# pixels of an image, its rim included, that tell whether rays meet all of it
_GRID = (65, 49)
# what calibrations of whole sensors have, the oddest included: least focal length in parts of the width, the principal
# point in parts of the size from the middle along one axis: a strip may be cut out
_MAX_ASPECT, _MIN_FOCAL, _MAX_OFF_CENTRE = 3.0, 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Camera:
    """An intrinsic camera calibration.

    Attributes:
        model: a COLMAP model name, one of `PARAMETER_NAMES`.
        width, height: image size in pixels.
        parameters: the model's parameters in COLMAP's order; the principal point in COLMAP's pixel convention.

    Raises:
        InputError: unknown model, wrong number of parameters, a value that is not finite, a focal length or size
            that is not positive.
    """

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.model not in PARAMETER_NAMES:
            raise InputError(f"unknown camera model {self.model!r}, expected one of {', '.join(PARAMETER_NAMES)}")
        parameters = tuple(float(p) for p in self.parameters)
        names = PARAMETER_NAMES[self.model]
        if len(parameters) != len(names):
            raise InputError(f"camera model {self.model} needs {' '.join(names)}, found {len(parameters)} numbers")
        if not np.isfinite(parameters).all():
            raise InputError("a camera parameter is not finite; calibrate the camera again")
        if self.width <= 0 or self.height <= 0:
            raise InputError(f"a camera has image size {self.width}x{self.height}, expected a positive one")
        if any(p <= 0 for p, name in zip(parameters, names, strict=True) if name.startswith("f")):
            raise InputError(f"a camera has focal length {parameters[0]:g} px, expected a positive one: uncalibrated?")
        object.__setattr__(self, "parameters", parameters)

    @staticmethod
    def from_ros(model: str, width: int, height: int, k: Sequence[float], d: Sequence[float]) -> Camera:
        """From the fields of a sensor_msgs/CameraInfo: distortion model, size, K (9 numbers, row-major) and D.

        An empty `model` with an empty `d` is an undistorted camera, as drivers publish it. The calibration is that of a
        whole sensor; for images of a part of it see `region`.

        Raises:
            InputError: K is not of the form of a camera matrix, or no sensor of this size has it; the model is unknown.
        """
        check_matrix(k)
        name, distortion = model_of_distortion(model, [float(c) for c in d])
        intrinsics = (float(k[0]), float(k[4]), float(k[2]) + _HALF_PIXEL, float(k[5]) + _HALF_PIXEL)
        camera = Camera(name, width, height, (*intrinsics, *distortion))
        camera.check_sensor()
        return camera

    def to_ros(self) -> tuple[str, list[float], list[float]]:
        """(distortion model, K of 9 numbers, D) as sensor_msgs/CameraInfo has them; the inverse of `from_ros`."""
        fx, fy, cx, cy = self.intrinsics
        k = [fx, 0.0, cx - _HALF_PIXEL, 0.0, fy, cy - _HALF_PIXEL, 0.0, 0.0, 1.0]
        if self.model == "OPENCV_FISHEYE":
            return "equidistant", k, list(self.distortion)
        d = list(self.distortion)
        if any(d[5:]):
            return "rational_polynomial", k, d
        return "plumb_bob", k, d[:5]

    @property
    def intrinsics(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels."""
        p = self.parameters
        if PARAMETER_NAMES[self.model][0] == "f":
            return p[0], p[0], p[1], p[2]
        return p[0], p[1], p[2], p[3]

    @property
    def matrix(self) -> Array:
        """(3, 3) camera matrix."""
        fx, fy, cx, cy = self.intrinsics
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    @property
    def distortion(self) -> tuple[float, ...]:
        """OpenCV's coefficients: k1 k2 p1 p2 k3 k4 k5 k6, or the four of the fisheye model."""
        names = PARAMETER_NAMES[self.model]
        values = dict(zip(names, self.parameters, strict=True))
        wanted = ("k1", "k2", "k3", "k4") if self.is_fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
        return tuple(values.get(name, 0.0) for name in wanted)

    @property
    def is_fisheye(self) -> bool:
        """True for the equidistant model."""
        return self.model == "OPENCV_FISHEYE"

    def check_sensor(self) -> None:
        """Refuse what no sensor as a whole has, such as values that are not pixels, or are those of other images.

        Raises:
            InputError: the focal lengths differ or are short beyond reason, or the principal point is far outside.
        """
        fx, fy, cx, cy = self.intrinsics
        size = f"{self.width}x{self.height}"
        if not 1.0 / _MAX_ASPECT <= fx / fy <= _MAX_ASPECT or fx < _MIN_FOCAL * self.width:
            raise InputError(
                f"a camera has focal lengths {fx:g} and {fy:g} px and images of {size}, expected pixels; give K as the "
                f"rows {MATRIX_ROWS}"
            )
        off_centre = min(abs(cx / self.width - 0.5), abs(cy / self.height - 0.5))
        if max(abs(cx), abs(cy)) <= _HALF_PIXEL or off_centre > _MAX_OFF_CENTRE:
            raise InputError(
                f"a camera has its principal point at {cx:g}, {cy:g} and images of {size}, expected it near their "
                "middle; give the calibration of these images, in pixels"
            )

    def region(self, roi: tuple[int, int, int, int], binning: tuple[int, int]) -> Camera:
        """The calibration of images that show a part of the sensor, in fewer pixels.

        Args:
            roi: x, y, width and height as sensor_msgs/CameraInfo has them: width and height of 0 are the whole sensor.
            binning: pixels of the sensor that become one, along x and y; 0 for one each.

        Raises:
            InputError: the part lies outside of the sensor.
        """
        x, y, *size = roi
        width, height = size if all(size) else (self.width, self.height)
        if x + width > self.width or y + height > self.height:
            raise InputError(f"the roi is {width}x{height} at {x}, {y}, expected a part of {self.width}x{self.height}")
        columns, rows = width // max(binning[0], 1), height // max(binning[1], 1)
        part = self.part(x, y, columns * max(binning[0], 1), rows * max(binning[1], 1))
        return part.scaled(columns, rows)

    def part(self, x: int, y: int, width: int, height: int) -> Camera:
        """The same camera for the part of its images that begins at column x and row y."""
        names = PARAMETER_NAMES[self.model]
        offsets = {"cx": x, "cy": y}
        parameters = (p - offsets.get(name, 0) for p, name in zip(self.parameters, names, strict=True))
        return Camera(self.model, width, height, tuple(parameters))

    def scaled(self, width: int, height: int) -> Camera:
        """The same camera for an image resized to `width` x `height`."""
        sx, sy = width / self.width, height / self.height
        factors = {"fx": sx, "fy": sy, "cx": sx, "cy": sy, "f": (sx + sy) / 2}
        names = PARAMETER_NAMES[self.model]
        parameters = (p * factors.get(name, 1.0) for p, name in zip(self.parameters, names, strict=True))
        return Camera(self.model, width, height, tuple(parameters))

    def project(self, points: npt.ArrayLike) -> Array:
        """Project (N, 3) points of the camera's optical frame (z forward) to (N, 2) pixels; NaN behind the camera."""
        points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        pixels = np.full((len(points), 2), np.nan)
        front = points[:, 2] > _MIN_DEPTH
        if len(points) and front.all():
            return self._project_front(points)
        if front.any():
            pixels[front] = self._project_front(points[front])
        return pixels

    def _project_front(self, points: Array) -> Array:
        if self.is_fisheye:
            zero, distortion = np.zeros(3), np.array(self.distortion)
            pixels = cv2.fisheye.projectPoints(points[:, None], zero, zero, self.matrix, distortion)[0]
            return np.asarray(pixels).reshape(-1, 2)
        (fx, fy, cx, cy), coefficients = _projection(self)
        depths = points[:, 2]
        x, y = points[:, 0] / depths, points[:, 1] / depths
        if any(coefficients):
            x, y = _distort(x, y, coefficients)
        pixels = np.empty((len(points), 2))
        np.add(fx * x, cx, out=pixels[:, 0])
        np.add(fy * y, cy, out=pixels[:, 1])
        return pixels

    def unproject(self, pixels: npt.ArrayLike) -> Array:
        """(N, 2) pixels to (N, 3) rays of the optical frame with z = 1; NaN where no such ray exists."""
        pixels = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
        if not len(pixels):
            return np.zeros((0, 3))
        fx, fy, cx, cy = self.intrinsics
        xy = (pixels - (cx, cy)) / (fx, fy)
        if self.is_fisheye:
            xy = cv2.fisheye.undistortPoints(pixels[:, None], self.matrix, np.array(self.distortion)).reshape(-1, 2)
        elif any(self.distortion):
            xy = cv2.undistortPoints(pixels[:, None], self.matrix, np.array(self.distortion)).reshape(-1, 2)
        rays = np.column_stack([xy, np.ones(len(pixels))])
        if self.is_fisheye or any(self.distortion):
            self._polish(rays, pixels)
        return rays

    def reaches(self, pixels: Array) -> npt.NDArray[np.bool_]:
        """(N,) whether a ray with z = 1 meets (N, 2) pixels, see `unreached_share`."""
        if not unreached_share(self):
            return np.ones(len(pixels), bool)
        return np.asarray(np.isfinite(self.unproject(pixels)[:, 0]))

    def _polish(self, rays: Array, pixels: Array) -> None:
        """Newton steps in place on rays with z = 1: OpenCV's own inversion stops early, differently by version."""
        step_x, step_y = np.array([_STEP, 0.0, 0.0]), np.array([0.0, _STEP, 0.0])
        for _ in range(_POLISH_STEPS):
            residual = pixels - self._project_front(rays)
            dx = (self._project_front(rays + step_x) - self._project_front(rays - step_x)) / (2 * _STEP)
            dy = (self._project_front(rays + step_y) - self._project_front(rays - step_y)) / (2 * _STEP)
            determinant = dx[:, 0] * dy[:, 1] - dx[:, 1] * dy[:, 0]
            invertible = np.abs(determinant) > _SINGULAR_PX2
            determinant = np.where(invertible, determinant, np.inf)
            rays[:, 0] += (residual[:, 0] * dy[:, 1] - residual[:, 1] * dy[:, 0]) / determinant
            rays[:, 1] += (residual[:, 1] * dx[:, 0] - residual[:, 0] * dx[:, 1]) / determinant
        rays[np.abs(self._project_front(rays) - pixels).max(axis=1) > _UNREACHABLE_PX] = np.nan

    def contains(self, pixels: Array) -> npt.NDArray[np.bool_]:
        """(N,) whether (N, 2) pixels lie inside the image; NaN does not."""
        inside = (pixels >= 0) & (pixels <= (self.width, self.height))
        return np.asarray(inside.all(axis=1))

    def grid_cells(self, pixels: Array, grid: tuple[int, int]) -> Array:
        """(N,) number of the cell of each of (N, 2) pixels in a grid of (columns, rows) over the image, row by row."""
        column, row = np.clip(pixels * grid / (self.width, self.height), 0, np.array(grid) - 1).astype(int).T
        return np.asarray(row * grid[0] + column)


@lru_cache(maxsize=64)
def _projection(camera: Camera) -> tuple[tuple[float, float, float, float], tuple[float, ...]]:
    """Intrinsics and distortion of a camera, which a query needs some twenty times."""
    return camera.intrinsics, camera.distortion


def _distort(x: Array, y: Array, distortion: tuple[float, ...]) -> tuple[Array, Array]:
    """Brown's model with a rational factor, as OpenCV has it.

    OpenCV's own function takes five times as long, since it makes derivatives too. Terms that are zero are left out.
    """
    k1, k2, p1, p2, k3, k4, k5, k6 = distortion
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) if k2 or k3 else 1 + k1 * r2
    if k4 or k5 or k6:
        radial = radial / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    if not (p1 or p2):
        return x * radial, y * radial
    xy = 2 * x * y
    return x * radial + p1 * xy + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + p2 * xy


@lru_cache(maxsize=64)
def unreached_share(camera: Camera) -> float:
    """The part of a camera's image that no ray with z = 1 meets.

    A calibration made without points at the rim ends before it, and a fisheye sees more than half of a sphere.
    """
    if not (camera.is_fisheye or any(camera.distortion)):
        return 0.0
    x, y = (np.linspace(0.0, size, count) for size, count in zip((camera.width, camera.height), _GRID, strict=True))
    rays = camera.unproject(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    return float(np.isnan(rays[:, 0]).mean())


def unreached_text(camera: Camera) -> str | None:
    """For people: how much of the image is of no use; None where rays meet all of it."""
    share = unreached_share(camera)
    if not share:
        return None
    return (
        f"by the calibration no ray meets {share:.1%} of the image: keypoints there are left out; where the lens does "
        "see there, calibrate again with points at the rim"
    )
