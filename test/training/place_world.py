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

"""A wall to train on, and networks small enough to learn it in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from plane_scene import CAMERA, PlaneScene, make_plane_scene, poses

from training.data.covisible_images import CovisibleImages
from training.data.posed_images import PosedImages
from training.data.visibility import Visibility
from training.place_recognition.config import PlaceRecognitionConfig, build_config
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import Keyframes, LandmarkMap

NETWORK = (
    "network.size=48",
    "network.coarse_size=32",
    "network.width=24",
    "network.second_width=32",
    "network.heads=2",
    "network.stages=1",
    "network.second_blocks=1",
    "network.dimension=16",
    "network.residuals=4",
)
TINY = (*NETWORK, "convolution.size=48", "convolution.clusters=4", "fit.groups=2", "fit.accelerator=cpu")


def tiny(*more: str, model: str = "student") -> PlaceRecognitionConfig:
    """A configuration of a network with some thousand weights."""
    return build_config("small", [*TINY, *more], model=model)


def wall_map(count: int, *, seed: int = 0) -> tuple[PlaneScene, LandmarkMap]:
    """A wall with keyframes along it, in order; each has its camera."""
    scene, views = make_plane_scene(seed), poses(count, seed=99)
    points = scene.landmark_map.points
    visible = [np.flatnonzero(CAMERA.contains(CAMERA.project(p.inverse().apply(points)))) for p in views]
    keyframes = Keyframes(
        names=tuple(f"{k:02}.png" for k in range(count)),
        rotations=np.stack([p.rotation for p in views]),
        translations=np.stack([p.translation for p in views]),
        point_offsets=np.cumsum([0, *map(len, visible)]),
        point_indices=np.concatenate(visible).astype(np.int32),
        cameras=(CAMERA,) * count,
    )
    whole = replace(scene.landmark_map.scenes[0], keyframes=range(count))
    return scene, replace(scene.landmark_map, keyframes=keyframes, scenes=(whole,))


def write_wall(folder: Path, scene: PlaneScene, landmark_map: LandmarkMap) -> Path:
    """The images of its keyframes, by their names."""
    folder.mkdir(parents=True)
    keyframes = landmark_map.keyframes
    for k, name in enumerate(keyframes.names):
        cv2.imwrite(str(folder / name), scene.image(keyframes.pose(k)))
    return folder


def make_random_views(visible: Array, *, seed: int = 0, scenes: Array | None = None) -> CovisibleImages:
    """Views at random places that see the points of an (N, P) bool table."""
    rng = np.random.default_rng(seed)
    count, points = visible.shape
    indices = np.concatenate([np.flatnonzero(row) for row in visible])
    posed = PosedImages(
        tuple(Path(f"{k}.png") for k in range(count)),
        rng.normal(size=(count, 3)),
        np.stack([np.eye(3)] * count),
        np.zeros(count, np.int64) if scenes is None else scenes,
    )
    seen = rng.normal(size=(points, 3)) * 5
    uv = rng.uniform(0, 1, (len(indices), 2)).astype(np.float32)
    return CovisibleImages(posed, Visibility(seen, np.cumsum([0, *visible.sum(axis=1)]), indices, uv))


def make_utm_images(*east_m: float) -> PosedImages:
    """Images along a line, whose orientation is not known."""
    positions = np.array([5e5, 5.4e6, 0.0]) + np.outer(east_m, [1, 0, 0])
    paths = tuple(Path(f"{k}.jpg") for k in range(len(east_m)))
    return PosedImages(paths, positions, None, np.zeros(len(east_m), np.int64))
