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

"""Aerial tiles of a map, ready to be compared with a view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import PosePrior
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.core.retrieval.tile_encoder import AERIAL, CODES, KEYPOINTS, TileEncoder, restore_keypoints

_SAME_SIZE = 0.01
# tiles of a size are searched in a view of their own where the next finer one is finer by more than this
_ANOTHER_SIZE = 1.3
# of a prior
_SIGMAS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class GroundKeypoints:
    """Keypoints of the map around a place.

    Attributes:
        points: (M, 3) metres in the scene.
        descriptors: (M, d) float32, as the codec projects them.
        ground_size_m: of a pixel of their tiles.
    """

    points: Array
    descriptors: Array
    ground_size_m: float


class AerialPlaces:
    """The aerial tiles of one map."""

    def __init__(self, landmark_map: LandmarkMap) -> None:
        """The tiles of a map.

        Raises:
            MapError: it has none, or they are damaged, or of another version.
        """
        index = require_tile_index(landmark_map)
        self.map, self._index, self.places = landmark_map, index, landmark_map.places[AERIAL]
        self.encoder = TileEncoder.from_arrays(index.encoder_arrays)
        codes, keypoints = (self.places.payloads[name] for name in (CODES, KEYPOINTS))
        if (
            codes.values.shape != (len(keypoints.values), self.encoder.codec.dimension)
            or keypoints.values.shape[1:] != (2,)
            or not np.array_equal(codes.offsets, keypoints.offsets)
            or not (self.places.extents[:, 0] > 0).all()
        ):
            raise MapError(
                f"the aerial tiles of {landmark_map.name} are damaged; build them with `vloc map aerial build`"
            )

    @property
    def finest_m(self) -> float:
        """Ground size of a pixel of the finest tiles."""
        return float(self.places.extents[:, 0].min()) / self.encoder.tile_px

    @property
    def ground_sizes_m(self) -> Array:
        """(L,) ground sizes of a pixel of the tiles, the finest first; of those that are nearly alike, the finest."""
        sizes = np.unique(self.places.extents[:, 0]) / self.encoder.tile_px
        kept = [sizes[0]]
        for size in sizes:
            if size > _ANOTHER_SIZE * kept[-1]:
                kept.append(size)
        return np.array(kept)

    def ground_size(self, place: int) -> float:
        """Of a pixel of a tile."""
        return float(self.places.extents[place, 0]) / self.encoder.tile_px

    def compare(self, described: Array) -> Array:
        """(P,) cosine of every tile's global descriptor and that of a view, (D,)."""
        found = np.full(len(self.places), -1.0)
        np.maximum.at(found, self._index.items, self._index.descriptors @ described)
        return found

    def most_similar(self, similarities: Array, *, count: int) -> Array:
        """(K,) the tiles of the highest of (P,) similarities, best first.

        Of all tiles: what inverted lists save of ten thousand is less than making them costs.
        """
        count = min(count, len(similarities))
        least = np.partition(similarities, len(similarities) - count)[len(similarities) - count]
        found = np.flatnonzero(similarities >= least)
        return np.asarray(found[np.argsort(-similarities[found], kind="stable")][:count])

    def near(self, prior: PosePrior) -> Array:
        """(P,) bool: tiles within three standard deviations of where a camera is expected, and those next to it.

        Raises:
            InputError: the map has no such scene.
        """
        scene = self.map.scene(prior.frame_id)
        away = self.places.translations[:, :2] - scene.scene_from(prior.map_from_rig).translation[:2]
        # a side further than that: what a tilted camera sees is beside it
        spread = prior.covariance[:2, :2] + (self.places.extents[:, 0, None, None] / _SIGMAS) ** 2 * np.eye(2)
        distance = np.einsum("pi,pij,pj->p", away, np.linalg.inv(spread), away)
        return np.asarray((distance <= _SIGMAS**2) & (self.places.scenes == self.map.frame_ids.index(scene.frame_id)))

    def plan(self) -> Array:
        """(M, 3) keypoints of the coarsest tiles, metres in their scenes: what the map looks like from above."""
        coarsest = self.places.extents[:, 0] > (1 - _SAME_SIZE) * self.places.extents[:, 0].max()
        return np.concatenate([self._points(int(k), self.ground_size(int(k))) for k in np.flatnonzero(coarsest)])

    def around(self, scene: int, centre: Array, *, radius_m: float, ground_size_m: float) -> GroundKeypoints:
        """The keypoints of the tiles of one ground size around (2,) metres in a scene."""
        side_m, places = ground_size_m * self.encoder.tile_px, self.places
        mine = (places.scenes == scene) & (np.abs(places.extents[:, 0] / side_m - 1.0) < _SAME_SIZE)
        reach = radius_m + side_m / 4
        mine &= (np.abs(places.translations[:, :2] - centre) < reach).all(axis=1)
        chosen = np.flatnonzero(mine)
        points = [self._points(int(place), ground_size_m) for place in chosen]
        codes = [places.payloads[CODES].of(int(place)) for place in chosen]
        codec = self.encoder.codec
        if not points:
            return GroundKeypoints(np.zeros((0, 3)), np.zeros((0, codec.dimension), np.float32), ground_size_m)
        return GroundKeypoints(np.concatenate(points), codec.decode(np.concatenate(codes)), ground_size_m)

    def _points(self, place: int, ground_size_m: float) -> Array:
        xy = ground_size_m * restore_keypoints(self.places.payloads[KEYPOINTS].of(place))
        return self.places.pose(place).apply(np.column_stack([xy[:, 0], -xy[:, 1], np.zeros(len(xy))]))


def find_tile_index(landmark_map: LandmarkMap) -> RetrievalIndex | None:
    """The retrieval index of a map's aerial tiles; None where it has none.

    Maps whose tiles have different vocabularies lose their indices when they are put into one.
    """
    places = landmark_map.places.get(AERIAL)
    if places is None or not len(places) or not {CODES, KEYPOINTS} <= places.payloads.keys():
        return None
    return next((index for index in landmark_map.retrieval.values() if index.modality == AERIAL), None)


def require_tile_index(landmark_map: LandmarkMap) -> RetrievalIndex:
    """The retrieval index of a map's aerial tiles.

    Raises:
        MapError: it has none.
    """
    index = find_tile_index(landmark_map)
    if index is None:
        raise MapError(
            f"the map {landmark_map.name} has no aerial tiles with keypoints and descriptors; make them with "
            "`vloc map aerial build`"
        )
    return index
