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

"""The map: 3D points with compact descriptors, grouped into landmarks, and the keyframes that observe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.descriptor_statistics import DescriptorLimit, DescriptorStatistics
from vloc_ros.core.features.extractor_config import ExtractorConfig
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.places import Places
from vloc_ros.core.map.scene import Scene, number_consecutively
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkTable:
    """The landmarks of a map in two levels: coarse ones as large as an image's view, divided into fine ones.

    Append-only: a map that grows keeps its landmarks, their numbers and their keys, and appends new ones.

    Attributes:
        keys: (L,) int64 identity of each landmark, which stays when the map is transformed, merged or extended.
        parents: (L,) int32 coarse landmark that each is a part of, 0 to C - 1.
    """

    keys: Array
    parents: Array

    def __post_init__(self) -> None:
        if self.keys.ndim != 1 or self.keys.shape != self.parents.shape:
            raise MapError(
                f"a map's landmarks have {self.keys.shape} keys, {self.parents.shape} parents; build it again"
            )
        if len(np.unique(self.keys)) != len(self.keys):
            raise MapError("two of a map's landmarks have the same key; build it again")
        if len(self.parents) and self.parents.min() < 0:
            raise MapError("a map's landmarks have negative parents; build it again")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def coarse_count(self) -> int:
        """Number of coarse landmarks."""
        return int(self.parents.max(initial=-1)) + 1

    @staticmethod
    def numbered(count: int) -> LandmarkTable:
        """Landmarks of one coarse one, with their numbers as keys, for points that were never clustered."""
        return LandmarkTable(np.arange(count, dtype=np.int64), np.zeros(count, np.int32))


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """A map of one scene or of several. What is derived from it is `MapIndex`.

    A map of places alone has no points, landmarks or keyframes.

    Attributes:
        name: for people.
        scenes: in the order of their points and keyframes, all of which they hold.
        points: (P, 3) float32 metres from the origin of their scene.
        landmark_ids: (P,) int32 landmark that each point belongs to, 0 to L - 1.
        landmarks: the L landmarks; a compressed map keeps those that have no points left.
        codes: (P, d) uint8 compact descriptors, one per point.
        codec: turns descriptors into codes' space and back.
        keyframes: where the images were taken, and the points that each observes.
        extractor: of the keypoints; queries use the same.
        descriptor_statistics: of that extractor; every limit on a descriptor distance follows from them.
        retrieval: retrieval indices by name, of any modality.
        places: places by modality, beside the keyframes.
        metric: True when lengths are metres; False when the scale is unknown.
        provenance: how it was built; readable, JSON only.
        keypoint_model: the model of the extractor; None where that is no network.
    """

    name: str
    scenes: tuple[Scene, ...]
    points: Array
    landmark_ids: Array
    landmarks: LandmarkTable
    codes: Array
    codec: DescriptorCodec
    keyframes: Keyframes
    extractor: ExtractorConfig
    descriptor_statistics: DescriptorStatistics
    retrieval: Mapping[str, RetrievalIndex] = field(default_factory=dict)
    places: Mapping[str, Places] = field(default_factory=dict)
    metric: bool = True
    provenance: Mapping[str, Any] = field(default_factory=dict)
    keypoint_model: KeypointModel | None = None

    def __post_init__(self) -> None:
        p = len(self.points)
        if p == 0 and not self.places:
            raise MapError("a map has no points; its images share too little, take them closer together")
        if len(self.keyframes) == 0 and (p or not self.places):
            raise MapError("a map has no keyframes; build it again")
        if self.points.shape != (p, 3) or self.landmark_ids.shape != (p,) or self.codes.shape[:1] != (p,):
            raise MapError(
                f"a map's arrays do not fit together: points {self.points.shape}, landmark ids "
                f"{self.landmark_ids.shape}, codes {self.codes.shape}; build it again"
            )
        if p and (self.landmark_ids.min() < 0 or self.landmark_ids.max() >= len(self.landmarks)):
            raise MapError(f"a map's points name landmarks beyond its {len(self.landmarks)}; build it again")
        if not np.isfinite(self.points).all():
            raise MapError("a map holds points that are not finite; build it again")
        indices = self.keyframes.point_indices
        if len(indices) and (indices.min() < 0 or indices.max() >= p):
            raise MapError("a map's keyframes name points that it does not hold; build it again")
        self._check_keypoint_model()
        self._check_scenes()
        self._check_items()

    def _check_keypoint_model(self) -> None:
        """The map carries the model that its extractor names, and no other."""
        expected, found = self.extractor.model_hash, self.keypoint_model
        if expected and found is None:
            raise MapError(
                f"the map's keypoint model is missing, expected {self.extractor.describe()}; copy the map again or "
                "build it again"
            )
        if found is not None and found.hash != expected:
            raise MapError(
                f"the map carries the keypoint model {found.describe()}, its extractor is "
                f"{self.extractor.describe()}; copy the map again or build it again"
            )

    def _check_scenes(self) -> None:
        frame_ids = self.frame_ids
        if len(set(frame_ids)) != len(frame_ids):
            raise MapError(f"a map's scenes have the frames {', '.join(frame_ids)}, expected every frame once")
        may_be_empty = bool(self.places)
        for ranges, count in (
            ([scene.points for scene in self.scenes], len(self.points)),
            ([scene.keyframes for scene in self.scenes], len(self.keyframes)),
        ):
            ends = [0, *(r.stop for r in ranges)]
            followed = (r == range(start, r.stop) or (not len(r) and r.stop == start)
                        for r, start in zip(ranges, ends, strict=False))  # fmt: skip
            if not all(followed) or not all(len(r) or may_be_empty for r in ranges):
                raise MapError("a map's scenes do not follow each other; build it again")
            if ends[-1] != count:
                raise MapError(f"a map's scenes hold {ends[-1]} of {count} points or keyframes; build it again")
        offsets, indices = self.keyframes.point_offsets, self.keyframes.point_indices
        for scene in self.scenes:
            seen = indices[offsets[scene.keyframes.start] : offsets[scene.keyframes.stop]]
            if len(seen) and (seen.min() < scene.points.start or seen.max() >= scene.points.stop):
                raise MapError(f"keyframes of the scene {scene.frame_id} observe points of another; build it again")

    def _check_items(self) -> None:
        """Places lie in scenes of the map, and retrieval indices describe keyframes or places that it holds."""
        names = [*self.places, *self.retrieval]
        names += [name for places in self.places.values() for name in places.payloads]
        names += [name for index in self.retrieval.values() for name in index.encoder_arrays]
        for name in names:
            if not (name.isidentifier() and name.isascii()):  # it becomes a part of a file's name
                raise MapError(f"{name!r} names data of a map, expected letters, digits and underscores")
        for modality, places in self.places.items():
            if len(places) and (places.scenes.min() < 0 or places.scenes.max() >= len(self.scenes)):
                raise MapError(f"{modality} places lie in scenes beyond the map's {len(self.scenes)}; build it again")
        for name, index in self.retrieval.items():
            if index.name != name:
                raise MapError(f"the retrieval index {index.name} is listed as {name}; build the map again")
            if index.modality != IMAGE and index.modality not in self.places:
                raise MapError(
                    f"the retrieval index {name} describes {index.modality}, which the map lacks; build it again"
                )
            count = self.item_count(index.modality)
            if len(index.items) and index.items.max() >= count:
                raise MapError(f"the retrieval index {name} describes items beyond the map's {count}; build it again")

    @property
    def frame_ids(self) -> tuple[str, ...]:
        """The frame of every scene."""
        return tuple(scene.frame_id for scene in self.scenes)

    def item_count(self, modality: str) -> int:
        """How many items a retrieval index of a modality may describe: keyframes, or places of that name."""
        if modality == IMAGE:
            return len(self.keyframes)
        return len(self.places[modality]) if modality in self.places else 0

    def scene(self, frame_id: str = "") -> Scene:
        """The scene of a frame; an empty one takes the only scene.

        Raises:
            InputError: the map has no such scene, or several.
        """
        if not frame_id and len(self.scenes) == 1:
            return self.scenes[0]
        for scene in self.scenes:
            if scene.frame_id == frame_id:
                return scene
        found = f"the frame is {frame_id!r}" if frame_id else f"the map has {len(self.scenes)} scenes"
        raise InputError(f"{found}, expected one scene named by its frame: {', '.join(self.frame_ids)}")

    def scene_of(self, points: Array) -> Scene:
        """The scene of (N,) points of one scene, N >= 1."""
        return self.scenes[int(self.scene_of_point[points[0]])]

    def require_landmarks(self) -> None:
        """Raise MapError where the map holds places alone."""
        if not len(self.points):
            modalities = ", ".join(self.places)
            raise MapError(
                f"the map {self.name} holds places of {modalities} and no landmark points, expected points; build a "
                "map from images"
            )

    def with_retrieval(self, *indices: RetrievalIndex) -> LandmarkMap:
        """The map with further retrieval indices, each in place of one of its name."""
        return replace(self, retrieval={**self.retrieval, **{index.name: index for index in indices}})

    def without_retrieval(self, *names: str) -> LandmarkMap:
        """The map without the retrieval indices of these names."""
        kept = {name: index for name, index in self.retrieval.items() if name not in names}
        return replace(self, retrieval=kept)

    def part(self, frame_id: str = "") -> LandmarkMap:
        """A map of one scene alone; an empty frame takes the only one.

        Raises:
            InputError: the map has no such scene, or several.
        """
        scene = self.scene(frame_id)
        if len(self.scenes) == 1:
            return self
        points = slice(scene.points.start, scene.points.stop)
        keyframes = slice(scene.keyframes.start, scene.keyframes.stop)
        mine, ids = np.unique(self.landmark_ids[points], return_inverse=True)
        parents = np.unique(self.landmarks.parents[mine], return_inverse=True)[1].astype(np.int32)
        return replace(
            self,
            scenes=number_consecutively([scene]),
            points=self.points[points],
            landmark_ids=ids.astype(np.int32),
            landmarks=LandmarkTable(self.landmarks.keys[mine], parents),
            codes=self.codes[points],
            keyframes=self.keyframes.part(keyframes, first_point=scene.points.start),
            retrieval={name: self._part_of(index, scene) for name, index in self.retrieval.items()},
            places={modality: places.in_scene(self.scenes.index(scene)) for modality, places in self.places.items()},
        )

    def _part_of(self, index: RetrievalIndex, scene: Scene) -> RetrievalIndex:
        if index.modality == IMAGE:
            return index.cut(scene.keyframes)
        mine = self.places[index.modality].scenes == self.scenes.index(scene)
        return index.renumber(np.where(mine, np.cumsum(mine) - 1, -1))

    @cached_property
    def scene_of_point(self) -> Array:
        """(P,) int32 index of the scene of every point."""
        return np.repeat(np.arange(len(self.scenes), dtype=np.int32), [len(scene.points) for scene in self.scenes])

    def descriptors_of(self, points: Array) -> Array:
        """(N, d) float32 descriptors of (N,) points."""
        return self.codec.decode(self.codes[points])

    def descriptor_limit(self, use: DescriptorLimit) -> float:
        """Largest descriptor distance for a use."""
        return self.descriptor_statistics.limit(use)
