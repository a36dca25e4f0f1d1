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

"""An image overlaid with the points of a LiDAR map, coloured by their depth, as the camera would see them."""

from __future__ import annotations

import cv2
import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

_CELL_PX, _BEHIND = 12, 1.1
_RADIUS_PX, _OPACITY = 2, 0.75


def draw_lidar_overlay(image: Array, camera: Camera, scene_from_camera: Pose, points: Array, *, far_m: float) -> Array:
    """The image with the points that no nearer ones hide, from near in red to far in blue.

    Args:
        image: (H, W) uint8 grey or (H, W, 3) BGR.
        camera: that took it.
        scene_from_camera: pose of the optical frame.
        points: (N, 3) of the scene.
        far_m: points further away are left out; blue is as far.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    drawn = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
    seen = scene_from_camera.inverse().apply(points)
    seen = seen[(seen[:, 2] > 0) & (np.linalg.norm(seen, axis=1) < far_m)]
    pixels = camera.project(seen)
    inside = np.isfinite(pixels).all(axis=1) & camera.contains(pixels)
    pixels, depth_m = pixels[inside], seen[inside, 2]
    shown = _is_unhidden(pixels, depth_m, camera)
    pixels, depth_m = pixels[shown], depth_m[shown]
    near_to_far = np.clip(255.0 * (1.0 - np.sqrt(depth_m / far_m)), 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(near_to_far[:, None], cv2.COLORMAP_TURBO)[:, 0] if len(depth_m) else np.zeros((0, 3))
    points_alone = drawn.copy()
    for k in np.argsort(-depth_m):
        centre = (int(pixels[k, 0]), int(pixels[k, 1]))
        cv2.circle(points_alone, centre, _RADIUS_PX, colours[k].tolist(), cv2.FILLED)
    return np.asarray(cv2.addWeighted(points_alone, _OPACITY, drawn, 1.0 - _OPACITY, 0.0))


def _is_unhidden(pixels: Array, depth_m: Array, camera: Camera) -> Array:
    """(N,) whether no point of the same part of the image is clearly nearer."""
    columns = camera.width // _CELL_PX + 1
    cell = (pixels[:, 1] // _CELL_PX).astype(int) * columns + (pixels[:, 0] // _CELL_PX).astype(int)
    nearest = np.full(columns * (camera.height // _CELL_PX + 1), np.inf)
    np.minimum.at(nearest, cell, depth_m)
    return np.asarray(depth_m <= _BEHIND * nearest[cell])
