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

"""Resolution: the images of a query in the pixels that the map was built from.

Keypoints of a network do not match those of the same thing at another size, and all limits in pixels are of images of
the size that keypoints are found in. A camera with more pixels than the map's, in each radian and in all, shows the
same in more pixels, which take time. A longer lens with no more pixels does not: farther away it shows the map in the
map's own pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, sqrt

import numpy as np

from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query

# images of nearly the map's resolution are not resampled
_HIGHER = 1.25


class MapResolution:
    """The size in which the images of queries are compared with a map."""

    def __init__(self, landmark_map: LandmarkMap, extractor: Extractor) -> None:
        """`extractor` is the map's."""
        self._extractor = extractor
        cameras = set(landmark_map.keyframes.cameras)
        self._focal_px = max((self._limit(camera) * camera.intrinsics[0] for camera in cameras), default=inf)
        self._size_px = max((self._limit(camera) * _size_px(camera) for camera in cameras), default=inf)

    def reduce(self, query: Query) -> Query:
        """A query with images of the map's resolution where theirs is higher, of no more than the extractor takes."""
        if not self.is_exceeded_by(query):
            return query
        return replace(query, views=tuple(view.reduce(self._scale(view.camera)) for view in query.views))

    def is_exceeded_by(self, query: Query) -> bool:
        """Whether some view of a query has to be reduced."""
        return any(self._scale(view.camera) < 1.0 for view in query.views)

    def _limit(self, camera: Camera) -> float:
        return self._extractor.working_scale(camera.width, camera.height)

    def _scale(self, camera: Camera) -> float:
        limit = self._limit(camera)
        higher = limit * min(camera.intrinsics[0] / self._focal_px, _size_px(camera) / self._size_px)
        return limit / higher if higher > _HIGHER else limit


def _size_px(camera: Camera) -> float:
    """Side of a square of as many pixels as an image has."""
    return sqrt(camera.width * camera.height)


def convert_pixels(features: Sequence[Features], query: Query, other: Query) -> tuple[Features, ...]:
    """Features of every view of a query, in pixels of the same views in another size."""
    if other is query:
        return tuple(features)
    ratios = _pixel_ratios(query, other)
    return tuple(replace(found, xy=found.xy * ratio) for found, ratio in zip(features, ratios, strict=True))


def restore_pixels(result: LocalizationResult, query: Query, working: Query) -> LocalizationResult:
    """The result of a query in another size, in the query's own pixels."""
    if not len(result.inlier_xy):
        return result
    return replace(result, inlier_xy=result.inlier_xy * _pixel_ratios(working, query)[result.inlier_views])


def _pixel_ratios(query: Query, other: Query) -> Array:
    """(V, 2) float32 width and height of every view of another query over those of the same view."""
    own, others = (
        np.array([(view.camera.width, view.camera.height) for view in one.views], np.float32) for one in (query, other)
    )
    return np.asarray(others / own)
