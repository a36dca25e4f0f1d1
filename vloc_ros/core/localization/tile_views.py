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

"""Level views of a query from above, in several sizes, and what resembles them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.ground_view import AerialQuery, GroundViewError, LevelView, make_level
from vloc_ros.core.localization.tile_places import AerialPlaces

# views with fewer show nothing that a place is known by
LEAST_KEYPOINTS = 40
# of views whose altitude is unknown
_SCALES = (1.0, 0.6, 0.36)


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
        level, camera, in_image = self.level.camera, self.query.view.camera, self.to_image(xy)
        inside = (xy >= 0) & (xy < [level.width, level.height])
        inside &= (in_image >= 0) & (in_image < [camera.width, camera.height])
        return np.asarray(inside.all(axis=1))

    @property
    def radius_px(self) -> float:
        """Half of the view's diagonal."""
        return float(np.hypot(self.level.camera.width, self.level.camera.height)) / 2


def observe(query: AerialQuery, places: AerialPlaces, extractor: Extractor) -> Iterator[TileView]:
    """The level view in several sizes, the finest first.

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
            level = make_level(query, finest_m=size_m, scale=scale)
        except GroundViewError:
            if not number:
                raise
            return  # of coarser pixels it has too few
        if level.camera.width == width:
            continue  # the image itself is no finer than either
        width, encoder = level.camera.width, places.encoder
        features = extractor.extract(level.image)
        projected = encoder.codec.project(features.descriptors)
        pixels = features.xy[:, 0] - 1j * features.xy[:, 1].astype(float)
        similarity = places.compare(encoder.vocabulary.encode(projected))
        yield TileView(query, number, level, features, pixels, projected, similarity)


def describe_view(query: AerialQuery, places: AerialPlaces, extractor: Extractor) -> Array:
    """(V, D) float32 global descriptors of the level view in several sizes, as the map's tiles are described; V > 0.

    Raises:
        GroundViewError: the view shows too little ground.
        InputError: it shows too few keypoints.
    """
    views = list(observe(query, places, extractor))
    rows = [places.encoder.vocabulary.encode(one.projected) for one in views if len(one.features) >= LEAST_KEYPOINTS]
    if not rows:
        raise InputError(explain_too_few(max((len(one.features) for one in views), default=0)))
    return np.stack(rows)


def explain_too_few(keypoints: int) -> str:
    """Why a view with so few keypoints has no place."""
    return f"the view shows {keypoints} keypoints, at least {LEAST_KEYPOINTS} are needed: water, or too dark?"
