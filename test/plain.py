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

"""A textured plain seen from above, for tests of aerial maps."""

from __future__ import annotations

import cv2
import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.acceptance import EVIDENCE_OF, TILE_KIND, AcceptanceModel, EvidenceTerm
from vloc_ros.geo.ground_images import GroundImage

CAMERA = Camera("PINHOLE", 480, 360, (400.0, 400.0, 240.0, 180.0))
SIZE_M = 0.2


def make_ground(seed: int, *, side_px: int = 900) -> GroundImage:
    """Fields and roofs of random colours, (0, 0) in the middle."""
    rng = np.random.default_rng(seed)
    image = np.full((side_px, side_px, 3), 90, np.uint8)
    for _ in range(1500):
        centre, size = rng.uniform(0, side_px, 2), rng.uniform(6, 60, 2)
        box = cv2.boxPoints((tuple(centre), tuple(size), float(rng.uniform(0, 180))))
        cv2.fillConvexPoly(image, box.astype(np.int32), [int(v) for v in rng.integers(30, 220, 3)])
    image = cv2.GaussianBlur(image, (0, 0), 0.8)
    half_m = SIZE_M * side_px / 2
    return GroundImage(np.asarray(image), np.ones((side_px, side_px), bool), -half_m, half_m, SIZE_M)


def look_down(x: float, y: float, height_m: float, *, yaw: float = 0.0, tilt: tuple[float, float] = (0.0, 0.0)) -> Pose:
    """map_from_camera; the upper edge of the image points to the map's y at yaw 0."""
    turn = Pose.from_rotation_vector([0.0, 0.0, yaw], np.zeros(3)).rotation
    lean = Pose.from_rotation_vector([*tilt, 0.0], np.zeros(3)).rotation
    return Pose(lean @ turn @ np.diag([1.0, -1.0, -1.0]), np.array([x, y, height_m]))


def photograph(ground: GroundImage, map_from_camera: Pose, camera: Camera = CAMERA) -> Array:
    """What a camera sees of the plain."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = camera.unproject(np.column_stack([x.ravel(), y.ravel()])) @ map_from_camera.rotation.T
    points = map_from_camera.translation + rays * (-map_from_camera.translation[2] / rays[:, 2:])
    pixels = np.column_stack([points[:, 0] - ground.left_m, ground.top_m - points[:, 1]]) / ground.ground_size_m - 0.5
    maps = pixels.reshape(camera.height, camera.width, 2).astype(np.float32)
    return np.asarray(cv2.remap(ground.image, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR))


def accept_many_inliers() -> AcceptanceModel:
    """A table that weighs inliers alone: what is decided with a fitted one is measured, not tested."""
    nothing = EvidenceTerm(np.zeros(1), np.zeros(1))
    terms = {name: nothing for name in EVIDENCE_OF[TILE_KIND] if name != "margin"}
    terms["inliers"] = EvidenceTerm(np.log1p([8.0, 60.0]), np.array([-12.0, 0.0]))
    margin = EvidenceTerm(np.array([-0.1, 0.0, 0.1]), np.array([-8.0, 0.0, 8.0]))
    return AcceptanceModel("test", 4.0, terms, margin, 8, np.array([0.01]), np.array([1.5]), 300, TILE_KIND)
