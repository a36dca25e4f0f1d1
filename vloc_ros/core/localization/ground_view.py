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

"""A view from above, made level: as a camera that looks straight down from the same place would see the ground."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.query import PosePrior, View

_MOST_PX = 1_200_000
# ground further from straight down is seen too flat to resemble a map
_WIDEST_RAD = np.radians(55.0)
# less of the image shows such ground: the view is of the horizon
_LEAST_GROUND = 0.3
_GRID = 24
# smaller views hold too few keypoints
_LEAST_PX = 64


class GroundViewError(InputError):
    """The view shows too little ground, or in too few pixels of the map."""


@dataclass(frozen=True, slots=True, eq=False)
class AerialQuery:
    """An image of the ground, and what is known of how it was taken.

    Attributes:
        view: the image with its calibration; the rig is the camera itself.
        down: (3,) direction of gravity in the optical frame, of length 1; None where unknown.
        down_std_rad: standard deviation of its direction.
        altitude_m: above the ground; None where unknown.
        altitude_std: its standard deviation, as a share of it.
        yaw_rad: of the upper edge of the image in the map, counter-clockwise from x; None where unknown.
        prior: where the camera is expected; tiles there are tried beside the most similar ones. None where unknown.
    """

    view: View
    down: Array | None = None
    down_std_rad: float = 0.03
    altitude_m: float | None = None
    altitude_std: float = 0.1
    yaw_rad: float | None = None
    prior: PosePrior | None = None

    def __post_init__(self) -> None:
        down = self.down
        if down is not None and (down.shape != (3,) or not abs(float(np.linalg.norm(down)) - 1.0) < 1e-3):
            raise InputError(f"gravity is {down}, expected a direction of length 1 in the optical frame")
        if self.altitude_m is not None and not 0.0 < self.altitude_m < np.inf:
            raise InputError(
                f"the altitude is {self.altitude_m} m, expected metres above the ground, more than 0; leave it out "
                "where it is unknown"
            )
        if self.yaw_rad is not None and not np.isfinite(self.yaw_rad):
            raise InputError("the heading is not finite; leave it out where it is unknown")


@dataclass(frozen=True, slots=True, eq=False)
class LevelView:
    """A view made level; where gravity is unknown, the view itself without its distortion.

    Attributes:
        image: (H, W, 3) or (H, W) uint8.
        camera: a pinhole with x right, y down, and z down to the ground.
        level_from_camera: rotation of the optical frame, without translation.
        ground_size_m: of a pixel; None where the altitude is unknown.
    """

    image: Array
    camera: Camera
    level_from_camera: Pose
    ground_size_m: float | None


def make_level(query: AerialQuery, *, finest_m: float, scale: float = 1.0) -> LevelView:
    """Rectify a view by gravity, to pixels of the map's size where the altitude is known.

    Args:
        query: the view.
        finest_m: ground size of the map's finest tiles; nothing finer is needed.
        scale: of the level view, at most 1.

    Raises:
        GroundViewError: gravity says that the view shows hardly any ground below, or the altitude says that it shows
            only a few of the map's pixels.
    """
    camera, down = query.view.camera, query.down
    turn = _turn_to_z(down) if down is not None else np.eye(3)
    x, y = np.meshgrid(np.linspace(0.5, camera.width - 0.5, _GRID), np.linspace(0.5, camera.height - 0.5, _GRID))
    rays = camera.unproject(np.column_stack([x.ravel(), y.ravel()])) @ turn.T
    below = np.asarray(np.isfinite(rays).all(axis=1))
    below[below] &= rays[below, 2] > np.cos(_WIDEST_RAD) * np.linalg.norm(rays[below], axis=1)
    if below.mean() < _LEAST_GROUND:
        raise GroundViewError(
            f"hardly any ground: {below.mean():.0%} of the image lies within {np.degrees(_WIDEST_RAD):.0f} deg of "
            f"straight down, expected {_LEAST_GROUND:.0%}; point the camera down"
        )
    on_plane = rays[below, :2] / rays[below, 2:]
    low, high = on_plane.min(axis=0), on_plane.max(axis=0)
    own = float(camera.intrinsics[0])
    focal = own if query.altitude_m is None else min(own, query.altitude_m / finest_m)
    area = float(np.prod(high - low))
    focal = min(focal, float(np.sqrt(_MOST_PX / area)))
    focal *= scale
    width, height = (max(1, int(size)) for size in focal * (high - low))
    if query.altitude_m is not None and min(width, height) < _LEAST_PX:
        raise GroundViewError(
            f"from an altitude of {query.altitude_m:g} m the view shows {width}x{height} pixels of {finest_m:g} m as "
            f"the map's finest, expected {_LEAST_PX} at least each way; is it in metres above the ground? Fly higher, "
            "or make a finer map"
        )
    level = Camera("PINHOLE", width, height, (focal, focal, *(float(v) for v in -focal * low)))
    size_m = None if query.altitude_m is None else query.altitude_m / focal
    return LevelView(_warp(query.view, level, turn, own / focal), level, Pose(turn, np.zeros(3)), size_m)


def _warp(view: View, level: Camera, turn: Array, shrink: float) -> Array:
    if shrink >= 2.0:  # a wide blur of all pixels takes longer
        view, shrink = view.reduce(1.0 / int(shrink)), shrink / int(shrink)
    x, y = np.meshgrid(np.arange(level.width) + 0.5, np.arange(level.height) + 0.5)
    rays = level.unproject(np.column_stack([x.ravel(), y.ravel()])) @ turn
    pixels = view.camera.project(rays)
    pixels = np.where(np.isfinite(pixels), pixels, -1e4).reshape(level.height, level.width, 2) - 0.5
    image = view.image
    if shrink > 1.0:
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(max(shrink**2 - 1, 1e-4)))
    return np.asarray(
        cv2.remap(image, pixels[..., 0].astype(np.float32), pixels[..., 1].astype(np.float32), cv2.INTER_LINEAR)
    )


def _turn_to_z(down: Array) -> Array:
    """(3, 3) the smallest rotation that carries a unit vector to z."""
    axis = np.array([down[1], -down[0], 0.0])
    sine = float(np.linalg.norm(axis))
    if sine < 1e-12:
        return np.eye(3) if down[2] > 0 else np.diag([1.0, -1.0, -1.0])
    return np.asarray(cv2.Rodrigues(axis / sine * np.arctan2(sine, down[2]))[0])
