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

"""A small synthetic map with exact truth: points of a room, each with a descriptor of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.observation import Observation, StageClock
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.query import Query, View
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary

CAMERA = Camera("PINHOLE", 640, 480, (525.0, 525.0, 320.0, 240.0))


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticScene:
    """A map and its exact 128-D descriptors."""

    landmark_map: LandmarkMap
    descriptors: Array

    def features(
        self, map_from_camera: Pose, *, noise_px: float = 0.0, seed: int = 0, camera: Camera = CAMERA
    ) -> Features:
        """What an ideal extractor finds from there."""
        rng = np.random.default_rng(seed)
        pixels = CAMERA.project(map_from_camera.inverse().apply(self.landmark_map.points))
        seen = np.flatnonzero(CAMERA.contains(pixels))
        xy = pixels[seen] + rng.normal(0.0, noise_px, (len(seen), 2)) if noise_px else pixels[seen]
        return Features(xy.astype(np.float32), self.descriptors[seen], np.ones(len(seen), np.float32))

    def query(self) -> Query:
        """A query whose image is not used."""
        return Query((View(np.zeros((CAMERA.height, CAMERA.width), np.uint8), CAMERA),))


def observe(landmark_map: LandmarkMap, features: Sequence[Features], query: Query) -> Observation:
    """The observation of a query of which these are the features."""
    return Observation(query, landmark_map, StageClock(), lambda: features)


def looking(yaw: float, position: tuple[float, float, float]) -> Pose:
    """map_from_camera of a level camera that looks along `yaw` (radians about z, 0 = x)."""
    forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    return Pose(np.column_stack([right, [0.0, 0.0, -1.0], forward]), np.array(position))


def make_scene() -> SyntheticScene:
    """1500 points on the walls of a 6 x 6 m room, observed by 24 keyframes."""
    rng = np.random.default_rng(7)
    along, height, wall = rng.uniform(-3, 3, 1500), rng.uniform(0, 2.5, 1500), rng.integers(0, 4, 1500)
    x = np.choose(wall, [along, along, np.full(1500, -3.0), np.full(1500, 3.0)])
    y = np.choose(wall, [np.full(1500, -3.0), np.full(1500, 3.0), along, along])
    points = np.column_stack([x, y, height]).astype(np.float32)
    descriptors = rng.normal(size=(1500, 128)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    codec = DescriptorCodec.fit(descriptors, 64)
    poses = [looking(yaw, (0.3 * np.cos(yaw), 0.3 * np.sin(yaw), 1.2)) for yaw in np.linspace(0, 2 * np.pi, 24)]
    visible = [np.flatnonzero(CAMERA.contains(CAMERA.project(p.inverse().apply(points)))) for p in poses]
    keyframes = Keyframes(
        names=tuple(f"{k:03}.png" for k in range(24)),
        rotations=np.stack([p.rotation for p in poses]),
        translations=np.stack([p.translation for p in poses]),
        point_offsets=np.cumsum([0, *map(len, visible)]),
        point_indices=np.concatenate(visible).astype(np.int32),
    )
    codes = codec.encode(descriptors)
    vocabulary = Vocabulary.fit(codec.decode(codes), 16)
    rows = np.stack([vocabulary.encode(codec.decode(codes[v])) for v in visible])
    landmark_map = LandmarkMap(
        name="room",
        scenes=(Scene("map", range(len(points)), range(len(poses))),),
        points=points,
        landmark_ids=wall.astype(np.int32),
        landmarks=LandmarkTable.numbered(4),
        codes=codes,
        codec=codec,
        keyframes=keyframes,
        extractor=RootSiftConfig(),
        descriptor_statistics=RootSiftConfig.recorded_statistics,
        retrieval={VLAD: vocabulary.index(rows)},
    )
    return SyntheticScene(landmark_map, descriptors)
