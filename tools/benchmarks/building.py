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

"""Simulated buildings of rooms that are alike, and their maps with points from the ground truth.

Each room is rendered alone, since no view goes through its walls; the rooms stand side by side in one frame. Keypoints
get their positions from the renderer: what is measured is search in large maps, not triangulation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from tqdm import tqdm

from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.landmarks.definition import define_landmarks
from vloc_ros.simulation.render import render_depth, render_rectangle_indices
from vloc_ros.simulation.scenario import Lap, make_lap
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.world import is_product, make_variant, make_world

KEYFRAMES_PER_ROOM, QUERIES_PER_ROOM = 40, 25
DIFFERENT = 0.25
_MODELS, _IN_A_ROW = 8, 2
_PITCH_M = 8.0
_SAME_POINT_M, _SAME_DESCRIPTOR = 0.015, 0.6
_LEAST_VIEWS = 3
_DIMENSION, _WORDS = 64, 64
_MOST_SAMPLES = 50_000
EXTRACTOR = RootSiftConfig()
assert EXTRACTOR.recorded_statistics is not None
STATISTICS = EXTRACTOR.recorded_statistics


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """One room, in its own frame, and where that lies in the building."""

    map_lap: Lap
    query_lap: Lap
    building_from_room: Pose


@dataclass(frozen=True, slots=True, eq=False)
class MappedRoom:
    """Points and keyframes of one room.

    Attributes:
        points: (P, 3) metres in the building.
        descriptors: (P, 128) float32, the mean of the observed descriptors of each point.
        visible: points observed by each keyframe.
        features: features of each keyframe.
        point_of_keypoint: for each keyframe, the point of each keypoint, -1 for none.
    """

    points: Array
    descriptors: Array
    visible: tuple[Array, ...]
    features: tuple[Features, ...]
    point_of_keypoint: tuple[Array, ...]


def rooms(count: int, seed: int) -> Iterator[Room]:
    """Rooms of a few models, two of each in turn. Rooms of one model differ in their grain and in a few things."""
    side = int(np.ceil(np.sqrt(count)))
    for number in range(count):
        world = make_variant(_model(seed + number // _IN_A_ROW % _MODELS), number, different=DIFFERENT)
        offset = np.array([number % side, number // side, 0.0]) * _PITCH_M
        yield Room(
            make_lap(world, KEYFRAMES_PER_ROOM, 2 * number),
            make_lap(world, QUERIES_PER_ROOM, 2 * number + 1),
            Pose(np.eye(3), offset),
        )


def shown_difference(room: Room, others: Sequence[Room], map_from_camera: Pose) -> float:
    """The part of an image that shows bought things which the most similar room does not have.

    Args:
        room: where the image was taken.
        others: all rooms of the building.
        map_from_camera: the pose, in the building.
    """
    in_room = room.building_from_room.inverse() @ map_from_camera
    world = room.map_lap.world
    seen = render_rectangle_indices(world, room.map_lap.camera, in_room)
    pixels = np.bincount(seen[seen >= 0], minlength=len(world.rectangles)) / seen.size
    shares = [
        sum(share for share, a, b in zip(pixels, world.rectangles, other.rectangles, strict=True)
            if share and is_product(a) and a.texture.seed != b.texture.seed)
        for other in (o.map_lap.world for o in others)
        if other.style == world.style and other.name != world.name
    ]  # fmt: skip
    return float(min(shares, default=1.0))


@lru_cache(maxsize=_MODELS)
def _model(seed: int) -> World:
    return make_world("room", seed)


def map_room(room: Room, extractor: Extractor) -> MappedRoom:
    """The points of a room that enough keyframes observe, merged by position and descriptor."""
    lap = room.map_lap
    features = tuple(extractor.extract(lap.image(k)) for k in range(len(lap)))
    positions = [_keypoint_positions(lap, k, found) for k, found in enumerate(features)]
    keyframe = np.repeat(np.arange(len(lap)), [len(found) for found in features])
    xyz, described = np.concatenate(positions), np.concatenate([found.descriptors for found in features])
    track = _tracks(xyz, described, keyframe)
    kept = track >= 0
    count = int(track.max(initial=-1)) + 1
    weight = np.bincount(track[kept], minlength=count)[:, None]
    points, means = np.zeros((count, 3)), np.zeros((count, described.shape[1]), np.float32)
    np.add.at(points, track[kept], xyz[kept])
    np.add.at(means, track[kept], described[kept])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    of_keyframe = np.split(track, np.cumsum([len(found) for found in features])[:-1])
    return MappedRoom(
        room.building_from_room.apply(points / np.maximum(weight, 1)),
        means,
        tuple(np.unique(t[t >= 0]) for t in of_keyframe),
        features,
        tuple(of_keyframe),
    )


def _keypoint_positions(lap: Lap, k: int, found: Features) -> Array:
    """(N, 3) positions of a keyframe's keypoints in the room, metres; NaN where there is no surface."""
    pixels = np.minimum(found.xy.astype(int), [lap.camera.width - 1, lap.camera.height - 1])
    z = render_depth(lap.world, lap.camera, lap.map_from_camera[k])[pixels[:, 1], pixels[:, 0]]
    places = lap.map_from_camera[k].apply(lap.camera.unproject(found.xy) * z[:, None].astype(np.float64))
    return np.asarray(np.where(np.isfinite(z)[:, None], places, np.nan))


def _tracks(xyz: Array, descriptors: Array, keyframe: Array) -> Array:
    """(N,) point of each keypoint, -1 where too few keyframes observe it."""
    usable = np.flatnonzero(np.isfinite(xyz).all(axis=1))
    pairs = cKDTree(xyz[usable]).query_pairs(_SAME_POINT_M, output_type="ndarray")
    pairs = usable[pairs]
    alike = np.linalg.norm(descriptors[pairs[:, 0]] - descriptors[pairs[:, 1]], axis=1) < _SAME_DESCRIPTOR
    pairs = pairs[alike & (keyframe[pairs[:, 0]] != keyframe[pairs[:, 1]])]
    graph = coo_array((np.ones(len(pairs), bool), pairs.T), shape=(len(xyz), len(xyz)))
    _, component = connected_components(graph, directed=False)
    views = np.unique(np.column_stack([component, keyframe]), axis=0)
    enough = np.bincount(views[:, 0], minlength=component.max() + 1) >= _LEAST_VIEWS
    number = np.where(enough, np.cumsum(enough) - 1, -1)
    return np.asarray(number[component])


def copy_to_floor(parts: Sequence[tuple[Room, MappedRoom]], copy: int) -> list[tuple[Room, MappedRoom]]:
    """Exact copies of the rooms on another floor."""
    up = Pose(np.eye(3), np.array([0.0, 0.0, copy * _PITCH_M]))
    return [
        (replace(room, building_from_room=up @ room.building_from_room), replace(part, points=up.apply(part.points)))
        for room, part in parts
    ]


def build_building_map(parts: Sequence[tuple[Room, MappedRoom]], name: str) -> LandmarkMap:
    """All rooms in one map of one frame."""
    descriptors = np.concatenate([part.descriptors for _, part in parts])
    codec = DescriptorCodec.fit(descriptors[:: max(1, len(descriptors) // _MOST_SAMPLES)], _DIMENSION)
    codes, points = codec.encode(descriptors), np.concatenate([part.points for _, part in parts])
    keyframes = _keyframes(parts)
    landmark_ids, landmarks = define_landmarks(points, keyframes, MappingConfig())
    projected = [codec.project(f.descriptors) for _, part in parts for f in part.features]
    sample = np.concatenate(projected[:: max(1, len(projected) // 200)])
    vocabulary = Vocabulary.fit(sample, _WORDS)
    rows = np.stack([vocabulary.encode(p) for p in tqdm(projected, desc="VLAD", leave=False)])
    return LandmarkMap(
        name=name,
        scenes=(Scene("map", range(len(points)), range(len(keyframes))),),
        points=points.astype(np.float32),
        landmark_ids=landmark_ids,
        landmarks=landmarks,
        codes=codes,
        codec=codec,
        keyframes=keyframes,
        extractor=EXTRACTOR,
        descriptor_statistics=STATISTICS,
        retrieval={VLAD: vocabulary.index(rows)},
    )


def _keyframes(parts: Sequence[tuple[Room, MappedRoom]]) -> Keyframes:
    poses = [room.building_from_room @ pose for room, _ in parts for pose in room.map_lap.map_from_camera]
    firsts = np.concatenate([[0], np.cumsum([len(part.points) for _, part in parts])])
    visible = [v + first for (_, part), first in zip(parts, firsts, strict=False) for v in part.visible]
    return Keyframes(
        names=tuple(f"{room.map_lap.world.name}/{k}" for room, _ in parts for k in range(len(room.map_lap))),
        rotations=np.stack([pose.rotation for pose in poses]),
        translations=np.stack([pose.translation for pose in poses]),
        point_offsets=np.concatenate([[0], np.cumsum([len(v) for v in visible])]).astype(np.int64),
        point_indices=np.concatenate(visible).astype(np.int32),
        cameras=tuple(room.map_lap.camera for room, _ in parts for _ in room.map_lap.map_from_camera),
    )
