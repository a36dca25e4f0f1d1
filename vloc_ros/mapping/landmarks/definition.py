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

"""Landmarks: parts of the map that are observed together, so that the map itself defines its places.

PRAM (Xue et al. 2024) clusters points into a given number of landmarks. Here the map's own views decide: points are
bisected until a part fills no more than a given angle of the views that observe it. What is near is divided finely and
what is far coarsely, indoors and outdoors alike, and the larger parts on the way are the coarse landmarks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkTable
from vloc_ros.mapping.config import MappingConfig

_EXTENT_PERCENTILE = 90.0
_NEAREST_M = 1e-3


def define_landmarks(points: Array, keyframes: Keyframes, config: MappingConfig) -> tuple[Array, LandmarkTable]:
    """(P,) int32 landmark of each of (P, 3) points, and the landmarks; deterministic, all are used.

    Args:
        points: metres, of one scene.
        keyframes: that observe them.
        config: size of a landmark.
    """
    return divide_into_landmarks(points, viewing_distances(points, keyframes), config)


def divide_into_landmarks(points: Array, distances: Array, config: MappingConfig) -> tuple[Array, LandmarkTable]:
    """`define_landmarks` for (P,) known viewing distances, metres."""
    parts = list(_Division(points, distances, config).leaves())
    ids = np.empty(len(points), np.int32)
    for number, part in enumerate(parts):
        ids[part.points] = number
    keys = np.array([landmark_key(number, points[part.points]) for number, part in enumerate(parts)], np.int64)
    return ids, LandmarkTable(keys, np.array([part.parent for part in parts], np.int32))


def viewing_distances(points: Array, keyframes: Keyframes) -> Array:
    """(P,) mean distance of each point from the keyframes that observe it, metres; the median for unobserved ones."""
    total, count = np.zeros(len(points)), np.zeros(len(points), np.int64)
    for k in range(len(keyframes)):  # all observations at once would take gigabytes of a large map
        seen = keyframes.visible(k)
        np.add.at(total, seen, np.linalg.norm(points[seen] - keyframes.translations[k], axis=1))
        np.add.at(count, seen, 1)
    mean = total / np.maximum(count, 1)
    usual = float(np.median(mean[count > 0])) if count.any() else 1.0
    return np.maximum(np.where(count > 0, mean, usual), _NEAREST_M)


def landmark_key(number: int, points: Array) -> int:
    """The key of a landmark, from its number and the points that define it."""
    digest = hashlib.sha256(str(number).encode() + np.ascontiguousarray(points, dtype=np.float64).tobytes()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    points: Array
    parent: int


class _Division:
    """Divides points along their longest axis at the median until each part is small enough."""

    def __init__(self, points: Array, distances: Array, config: MappingConfig) -> None:
        self._points, self._distances, self._config = np.asarray(points, np.float64), distances, config
        self._coarse_count = 0

    def leaves(self) -> Iterator[_Part]:
        """The fine landmarks, neighbours one after the other."""
        yield from self._divided(np.arange(len(self._points)), parent=None)

    def _divided(self, mine: Array, parent: int | None) -> Iterator[_Part]:
        c = self._config
        extent, whole = self._extent(mine), len(mine) < 2 * c.landmark_min_points
        is_coarse = extent <= c.coarse_landmark_extent_rad and len(mine) <= c.coarse_landmark_max_points
        if parent is None and (is_coarse or whole):
            parent = self._coarse_count
            self._coarse_count += 1
        if parent is not None and (whole or (extent <= c.landmark_extent_rad and len(mine) <= c.landmark_max_points)):
            yield _Part(mine, parent)
            return
        for half in self._halves(mine):
            yield from self._divided(half, parent)

    def _extent(self, mine: Array) -> float:
        """The angle that points fill in an image, radians; outliers do not count."""
        points = self._points[mine]
        radius = np.percentile(np.linalg.norm(points - np.median(points, axis=0), axis=1), _EXTENT_PERCENTILE)
        return float(2 * radius / np.median(self._distances[mine]))

    def _halves(self, mine: Array) -> tuple[Array, Array]:
        points = self._points[mine]
        centred = points - np.median(points, axis=0)
        # far outliers would turn the axis
        far = np.linalg.norm(centred, axis=1)
        near = centred[far <= np.percentile(far, _EXTENT_PERCENTILE)]
        along = centred @ np.linalg.eigh(near.T @ near)[1][:, -1]
        along = along * (1.0 if along[np.abs(along).argmax()] >= 0 else -1.0)  # an axis has no sign of its own
        order = np.argsort(along, kind="stable")
        half = len(mine) // 2
        return np.sort(mine[order[:half]]), np.sort(mine[order[half:]])
