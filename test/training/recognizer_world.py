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

"""Small worlds to recognise landmarks in, and a network small enough to learn them in seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from plane_scene import CAMERA, PlaneScene, poses

from training.data.localized_images import TrainingImage
from training.landmark_recognizer.config import RecognizerConfig, build_config
from training.landmark_recognizer.keypoints import Example
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.landmark_map import LandmarkTable

TINY = ("model.width=16", "model.layers=1", "model.heads=2", "fit.drawn_keypoints=32", "fit.batch=2")


def tiny(*more: str) -> RecognizerConfig:
    """A configuration of a network with a few thousand weights."""
    return build_config("small", [*TINY, *more])


@dataclass(frozen=True)
class SyntheticExamples:
    """Examples without images: each landmark has a descriptor of its own.

    Attributes:
        table: four landmarks below two coarse ones.
        examples: ten keyframes in one version, 20 to 40 keypoints each.
    """

    table: LandmarkTable
    examples: list[list[Example]]


def make_synthetic_examples() -> SyntheticExamples:
    """Ten keyframes of four landmarks."""
    rng = np.random.default_rng(3)
    descriptors = rng.normal(size=(5, 8))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    examples = []
    for count in rng.integers(20, 40, 10):
        shown = rng.integers(-1, 4, count).astype(np.int32)
        rays = rng.uniform(-0.5, 0.5, (count, 2)).astype(np.float32)
        examples.append([Example(rays, descriptors[shown].astype(np.float16), shown)])
    return SyntheticExamples(LandmarkTable(np.array([7, -1, 5, 3]), np.array([0, 1, 0, 1], np.int32)), examples)


def wall_image(scene: PlaneScene, map_from_camera: Pose) -> TrainingImage:
    """The mapped wall, seen from there."""
    everything = np.arange(len(scene.landmark_map.points))
    return TrainingImage("wall", lambda: scene.image(map_from_camera), CAMERA, map_from_camera, everything)


def wall_images(scene: PlaneScene, count: int, *, seed: int) -> list[TrainingImage]:
    """Several of them, along the wall."""
    return [wall_image(scene, pose) for pose in poses(count, seed)]
