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

"""Several maps as one: each stays a scene with a frame of its own, and all are searched at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics
from vloc_ros.core.features.extractor_config import ExtractorConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.places import Places, merge_places
from vloc_ros.core.map.scene import number_consecutively
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.indexing.global_descriptors import merge_model_indices
from vloc_ros.mapping.indexing.vlad_index import build_vlad_index
from vloc_ros.mapping.landmarks.definition import landmark_key
from vloc_ros.mapping.maps.codec_conversion import convert_codes, restore_descriptors

_MAX_SAMPLES = 100_000


def merge_maps(maps: Sequence[LandmarkMap], *, name: str, config: MappingConfig) -> LandmarkMap:
    """One map with the scenes of all, in one descriptor space.

    Every map was compressed by a codec of its own. Their descriptors are decoded, one codec is fitted to all, and the
    keyframes' VLAD descriptors are computed anew over one vocabulary, from the points that each observes. A retrieval
    index of a model stays where one encoder has encoded all maps, that of aerial tiles where all are placed alike.

    Args:
        maps: at least two, in metres; their frames name the scenes.
        name: for people.
        config: size of descriptors and vocabulary.

    Raises:
        InputError: the maps cannot be merged.
    """
    check_mergeable(maps)
    codec = DescriptorCodec.fit(_sample_descriptors(maps), max(m.codec.dimension for m in maps))
    landmark_ids, landmarks = _join_landmarks(maps)
    whole = LandmarkMap(
        name=name,
        scenes=number_consecutively(scene for m in maps for scene in m.scenes),
        points=np.concatenate([m.points for m in maps]),
        landmark_ids=landmark_ids,
        landmarks=landmarks,
        codes=np.concatenate([convert_codes(m, np.arange(len(m.points)), codec) for m in maps]),
        codec=codec,
        keyframes=_join_keyframes(maps),
        extractor=join_extractors(maps),
        descriptor_statistics=join_statistics(maps),
        places=_join_places(maps),
        provenance={"merged_from": {map_title(m): dict(m.provenance) for m in maps}, **_join_tile_notes(maps)},
        keypoint_model=maps[0].keypoint_model,
    )
    return merge_model_indices(build_vlad_index(whole, config), maps)


def check_mergeable(maps: Sequence[LandmarkMap]) -> None:
    """Raise InputError where maps cannot be put into one, MapError where one has no landmark points."""
    if len(maps) < 2:
        raise InputError(f"{len(maps)} map cannot be merged, expected at least 2")
    for one in maps:
        one.require_landmarks()
    if unscaled := [m.name for m in maps if not m.metric]:
        raise InputError(f"the map {unscaled[0]} has no metric scale; give it one with `vloc map align`")
    frames = [frame for m in maps for frame in m.frame_ids]
    if repeated := sorted({frame for frame in frames if frames.count(frame) > 1}):
        raise InputError(f"two scenes have the frame {repeated[0]!r}; give the maps different frames with --frames")
    first, descriptors = maps[0], {len(m.codec.mean) for m in maps}
    if len(descriptors) > 1 or not all(first.extractor.covers(m.extractor) for m in maps):
        names = ", ".join(sorted({m.extractor.describe() for m in maps}))
        raise InputError(f"the maps have keypoints of {names}; build them with the same extractor")


def _sample_descriptors(maps: Sequence[LandmarkMap]) -> Array:
    """(N, D) descriptors of all points, or of every so many of large maps: axes need no more."""
    step = max(1, sum(len(m.points) for m in maps) // _MAX_SAMPLES)
    return np.concatenate([restore_descriptors(m, np.arange(0, len(m.points), step)) for m in maps])


def _join_keyframes(maps: Sequence[LandmarkMap]) -> Keyframes:
    """Named by scene and image, since two maps may well have a 0001.png."""
    first_points = _firsts(len(m.points) for m in maps)
    first_seen = _firsts(len(m.keyframes.point_indices) for m in maps)
    offsets = [m.keyframes.point_offsets[:-1] + first for m, first in zip(maps, first_seen, strict=True)]
    indices = [m.keyframes.point_indices + np.int32(first) for m, first in zip(maps, first_points, strict=True)]
    joined = np.concatenate(indices)
    return Keyframes(
        names=tuple(name for m in maps for name in prefix_scene_names(m)),
        rotations=np.concatenate([m.keyframes.rotations for m in maps]),
        translations=np.concatenate([m.keyframes.translations for m in maps]),
        point_offsets=np.concatenate([*offsets, [len(joined)]]).astype(np.int64),
        point_indices=joined.astype(np.int32),
        cameras=_join_cameras(maps),
    )


def _join_cameras(maps: Sequence[LandmarkMap]) -> tuple[Camera, ...]:
    """Of all keyframes, or of none where one map does not know them."""
    known = all(m.keyframes.cameras for m in maps)
    return tuple(camera for m in maps for camera in m.keyframes.cameras) if known else ()


def prefix_scene_names(landmark_map: LandmarkMap) -> list[str]:
    """The keyframes' names below that of their scene."""
    names = landmark_map.keyframes.names
    if len(landmark_map.scenes) > 1:  # merged before
        return list(names)
    return [f"{landmark_map.scene().frame_id}/{name}" for name in names]


def _join_landmarks(maps: Sequence[LandmarkMap]) -> tuple[Array, LandmarkTable]:
    """Numbered on from map to map."""
    firsts = _firsts(len(m.landmarks) for m in maps)
    ids = np.concatenate([m.landmark_ids + np.int32(first) for m, first in zip(maps, firsts, strict=True)])
    return ids, join_landmark_tables([m.landmarks for m in maps])


def join_landmark_tables(tables: Sequence[LandmarkTable]) -> LandmarkTable:
    """Numbered on from table to table; a landmark that two have, copies of each other, is named anew in the later."""
    coarse = _firsts(table.coarse_count for table in tables)
    parents = np.concatenate([table.parents + np.int32(first) for table, first in zip(tables, coarse, strict=True)])
    keys = np.concatenate([table.keys for table in tables])
    again = np.ones(len(keys), bool)
    again[np.unique(keys, return_index=True)[1]] = False
    for number in np.flatnonzero(again):
        keys[number] = landmark_key(int(number), keys[number : number + 1])
    return LandmarkTable(keys, parents)


def _firsts(counts: Iterable[int]) -> list[int]:
    """Where each part begins when they are put one after the other."""
    return [0, *accumulate(counts)][:-1]


def join_extractors(maps: Sequence[LandmarkMap]) -> ExtractorConfig:
    """The extractor of queries, which must find what any of the maps needs."""
    return reduce(lambda first, second: first.merge(second), (m.extractor for m in maps))


def join_statistics(maps: Sequence[LandmarkMap]) -> DescriptorStatistics:
    """The statistics of descriptors of several maps of one extractor: means by the number of points."""
    statistics = [m.descriptor_statistics for m in maps]
    if len(set(statistics)) == 1:
        return statistics[0]
    weights = [len(m.points) for m in maps]
    same_point, unrelated = (
        float(np.average(values, weights=weights))
        for values in zip(*((s.same_point, s.unrelated) for s in statistics), strict=True)
    )
    return DescriptorStatistics(same_point, unrelated, "; ".join(dict.fromkeys(s.source for s in statistics)))


def _join_places(maps: Sequence[LandmarkMap]) -> dict[str, Places]:
    """Of every modality the places of all maps that have some."""
    firsts = _firsts(len(m.scenes) for m in maps)
    joined = {}
    for modality in dict.fromkeys(modality for m in maps for modality in m.places):
        having = [(m.places[modality], first) for m, first in zip(maps, firsts, strict=True) if modality in m.places]
        joined[modality] = merge_places([places for places, _ in having], [first for _, first in having])
    return joined


def _join_tile_notes(maps: Sequence[LandmarkMap]) -> dict[str, Any]:
    """What the only map with aerial tiles says of them, for people."""
    notes = [m.provenance["aerial"] for m in maps if "aerial" in m.provenance]
    return {"aerial": notes[0]} if len(notes) == 1 else {}


def map_title(landmark_map: LandmarkMap) -> str:
    """Name and frames of a map, for people."""
    return f"{landmark_map.name} ({', '.join(landmark_map.frame_ids)})"
