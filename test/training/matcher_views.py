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

"""Views of a flat wall and of boxes of points, for trainings of matchers."""

from __future__ import annotations

import numpy as np

from training.iterative_matching.config import MatcherTrainingConfig, build_config
from training.iterative_matching.views import PlanarGeometry, PosedGeometry, View
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

CAMERA = Camera("PINHOLE", 320, 240, (250.0, 250.0, 160.0, 120.0))
DIMENSION = 8
TINY = (
    *("model.width=16", "model.layers=2", "model.heads=2", "model.group=1", "fit.batch=2", "fit.pairs=8"),
    *("fit.drawn_keypoints=32", "fit.epochs=2", "fit.scored_keypoints=64", "fit.accelerator=cpu", "data.strangers=0.2"),
)


def tiny(*more: str, preset: str = "tiny") -> MatcherTrainingConfig:
    """A configuration of a network with a few thousand weights."""
    return build_config(preset, [*TINY, *more])


def make_points(seed: int, count: int = 120) -> tuple[Array, Array]:
    """(N, 3) points 3 to 6 m in front of the origin, and a (N, D) descriptor of each."""
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.uniform(-2, 2, count), rng.uniform(-1.5, 1.5, count), rng.uniform(3, 6, count)])
    descriptors = rng.normal(size=(count, DIMENSION))
    return points, descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


def see(points: Array, descriptors: Array, pose: Pose, *, seed: int, noise: float = 0.1) -> tuple[View, Array]:
    """A view of points from a pose in random order, and (N,) the point that each keypoint shows."""
    rng = np.random.default_rng(seed)
    there = pose.inverse().apply(points)
    xy = CAMERA.project(there)
    rows = rng.permutation(np.flatnonzero(CAMERA.contains(xy)))
    changed = descriptors[rows] + noise * rng.normal(size=(len(rows), DIMENSION))
    changed /= np.linalg.norm(changed, axis=1, keepdims=True)
    geometry = PosedGeometry(CAMERA, pose, there[rows, 2].astype(np.float32))
    size, scores = (CAMERA.width, CAMERA.height), np.ones(len(rows), np.float32)
    return View(xy[rows].astype(np.float32), changed.astype(np.float16), scores, size, geometry), rows


def step_aside(metres: float = 0.4) -> Pose:
    """A camera beside the origin, turned back a little."""
    return Pose.from_rotation_vector(np.array([0.0, -0.05, 0.02]), np.array([metres, 0.1, 0.0]))


def see_plane(homography: Array, *, seed: int = 0, count: int = 60) -> View:
    """A version of an image with random keypoints, the same ones of the original for every homography."""
    rng = np.random.default_rng(seed)
    original = rng.uniform((20, 20), (300, 220), (count, 2))
    there = np.column_stack([original, np.ones(count)]) @ homography.T
    descriptors = rng.normal(size=(count, DIMENSION)).astype(np.float16)
    xy = (there[:, :2] / there[:, 2:]).astype(np.float32)
    return View(xy, descriptors, np.ones(count, np.float32), (320, 240), PlanarGeometry(homography, (320, 240)))
