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

"""Level views of a query from above, in several sizes and headings, and what resembles them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.ground_view import AerialQuery, GroundViewError, LevelView, make_level
from vloc_ros.core.localization.tile_places import AerialPlaces

# of views whose altitude is unknown
_SCALES = (1.0, 0.6, 0.36)
# in which a view is described by keypoints that recognise nothing turned by more than half of what lies between two
_HEADINGS = 8
# keypoints so near to the edge of a turned image are of the edge
_EDGE_PX = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class TileView:
    """A level view and its keypoints.

    Attributes:
        query: what it is of.
        number: of its size, the finest first.
        level: the view.
        features: its keypoints.
        pixels: (N,) where they lie, x + iy with y up.
        projected: (N, d) their descriptors, as the map's codec projects them.
        similarity: (P,) of every tile's global descriptor, a cosine.
    """

    query: AerialQuery
    number: int
    level: LevelView
    features: Features
    pixels: Array
    projected: Array
    similarity: Array

    def to_image(self, xy: Array) -> Array:
        """(M, 2) pixels of the image from (M, 2) pixels of the level view."""
        rays = self.level.camera.unproject(np.asarray(xy, float)) @ self.level.level_from_camera.rotation
        return self.query.view.camera.project(rays)

    def shows(self, xy: Array) -> Array:
        """(M,) whether (M, 2) pixels of the level view lie in it, and in the image."""
        size = [self.level.camera.width, self.level.camera.height]
        return np.asarray(((xy >= 0) & (xy < size)).all(axis=1)) & _is_in_image(self.query, self.to_image(xy), 0.0)


def observe(query: AerialQuery, places: AerialPlaces, extractor: Extractor) -> Iterator[list[TileView]]:
    """The level view in several sizes, the finest first, of each in every heading that the keypoints need.

    Tiles show no more than what is as fine as they are. Of known altitude the sizes are those of the map: a mosaic may
    be bent by more pixels of the finest than matches may be off, and by fewer of a coarser one.

    Raises:
        GroundViewError: the view shows too little ground.
    """
    sizes, width = [(places.finest_m, scale) for scale in _SCALES], 0
    if query.altitude_m is not None:
        sizes = [(float(size_m), 1.0) for size_m in places.ground_sizes_m]
    for number, (size_m, scale) in enumerate(sizes):
        try:
            levels = [make_level(query, finest_m=size_m, scale=scale, turn_rad=turn) for turn in _turns(query, places)]
        except GroundViewError:
            if not number:
                raise
            return  # of coarser pixels it has too few
        if levels[0].camera.width != width:  # else the image itself is no finer than either
            width = levels[0].camera.width
            yield [_describe(query, number, level, places, extractor) for level in levels]


def _turns(query: AerialQuery, places: AerialPlaces) -> list[float]:
    """By how much the view is turned: to the map where its heading is known, all around where it matters."""
    if places.extractor.rotation_invariant:
        return [0.0]
    if query.yaw_rad is not None:
        return [np.pi / 2 - query.yaw_rad]
    return [2 * np.pi * k / _HEADINGS for k in range(_HEADINGS)]


def _describe(
    query: AerialQuery, number: int, level: LevelView, places: AerialPlaces, extractor: Extractor
) -> TileView:
    features, encoder = extractor.extract(level.image), places.encoder
    if level.turn_rad:
        features = _leave_edge(query, level, features)
    projected = encoder.codec.project(features.descriptors)
    pixels = features.xy[:, 0] - 1j * features.xy[:, 1].astype(float)
    similarity = places.compare(encoder.vocabulary.encode(projected))
    return TileView(query, number, level, features, pixels, projected, similarity)


def _leave_edge(query: AerialQuery, level: LevelView, features: Features) -> Features:
    """Without the keypoints at the edge of the image, or beyond."""
    rays = level.camera.unproject(features.xy.astype(float)) @ level.level_from_camera.rotation
    edge_px = _EDGE_PX * float(query.view.camera.intrinsics[0] / level.camera.intrinsics[0])
    kept = _is_in_image(query, query.view.camera.project(rays), edge_px)
    return Features(features.xy[kept], features.descriptors[kept], features.scores[kept])


def _is_in_image(query: AerialQuery, xy: Array, edge_px: float) -> Array:
    camera = query.view.camera
    return np.asarray(((xy >= edge_px) & (xy < np.array([camera.width, camera.height]) - edge_px)).all(axis=1))
