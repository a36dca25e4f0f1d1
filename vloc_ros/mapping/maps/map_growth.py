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

"""Points and keyframes appended to a scene; what it held keeps its order, its numbers and its landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.scene import Scene, number_consecutively
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex


@dataclass(frozen=True, slots=True, eq=False)
class MapAddition:
    """What is appended to a scene of P points and Q keyframes.

    Attributes:
        points: (N, 3) metres from the scene's origin.
        codes: (N, d) uint8, by the map's codec.
        landmark_ids: (N,) int32 landmark of each point, in `landmarks`.
        landmarks: the map's landmarks with new ones appended.
        keyframes: observe points counted from the scene's first: below P old points, from P on these.
        rows: by name of a retrieval index of keyframes, the index of the new keyframes, counted from 0; an index
            without an entry keeps its rows, and the new keyframes have none.
    """

    points: Array
    codes: Array
    landmark_ids: Array
    landmarks: LandmarkTable
    keyframes: Keyframes
    rows: Mapping[str, RetrievalIndex] = field(default_factory=dict)


def append_to_scene(landmark_map: LandmarkMap, frame_id: str, addition: MapAddition) -> LandmarkMap:
    """The map with an addition to one of its scenes; the points of later scenes move up behind it."""
    scene = landmark_map.scene(frame_id)
    point, keyframe, added = scene.points.stop, scene.keyframes.stop, len(addition.keyframes)
    numbers = np.arange(len(landmark_map.keyframes))
    numbers[keyframe:] += added
    return replace(
        landmark_map,
        scenes=number_consecutively(_grow(one, addition) if one is scene else one for one in landmark_map.scenes),
        points=_insert(landmark_map.points, point, addition.points.astype(np.float32)),
        landmark_ids=_insert(landmark_map.landmark_ids, point, addition.landmark_ids.astype(np.int32)),
        landmarks=addition.landmarks,
        codes=_insert(landmark_map.codes, point, addition.codes),
        keyframes=_insert_keyframes(landmark_map.keyframes, scene, addition),
        retrieval={
            name: _grow_index(index, numbers, addition.rows.get(name), keyframe) if index.modality == IMAGE else index
            for name, index in landmark_map.retrieval.items()
        },
    )


def _grow_index(index: RetrievalIndex, numbers: Array, rows: RetrievalIndex | None, first: int) -> RetrievalIndex:
    """An index whose keyframes are renumbered, with rows of the new keyframes, which are numbered from `first` on."""
    grown = index.renumber(numbers)
    if rows is None:
        return grown
    assert index.is_compatible(rows)
    return grown.append(rows.descriptors, rows.items + first)


def _grow(scene: Scene, addition: MapAddition) -> Scene:
    points = range(len(scene.points) + len(addition.points))
    return replace(scene, points=points, keyframes=range(len(scene.keyframes) + len(addition.keyframes)))


def _insert_keyframes(old: Keyframes, scene: Scene, addition: MapAddition) -> Keyframes:
    new, at = addition.keyframes, scene.keyframes.stop
    first_seen = old.point_offsets[at]
    later = old.point_indices[first_seen:] + np.int32(len(addition.points))
    return Keyframes(
        names=(*old.names[:at], *new.names, *old.names[at:]),
        rotations=_insert(old.rotations, at, new.rotations),
        translations=_insert(old.translations, at, new.translations),
        point_offsets=np.concatenate(
            [
                old.point_offsets[:at],
                new.point_offsets[:-1] + first_seen,
                old.point_offsets[at:] + new.point_offsets[-1],
            ]
        ),
        point_indices=np.concatenate(
            [old.point_indices[:first_seen], new.point_indices + np.int32(scene.points.start), later]
        ).astype(np.int32),
        # of all keyframes, or of none where they are not known
        cameras=(*old.cameras[:at], *new.cameras, *old.cameras[at:]) if old.cameras and new.cameras else (),
    )


def _insert(array: Array, at: int, more: Array) -> Array:
    return np.concatenate([array[:at], more, array[at:]])
