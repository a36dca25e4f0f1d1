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

"""Scan Context (Kim and Kim, IROS 2018): what a scan shows around the sensor, whichever way the sensor faces.

Heights above the sensor's lowest surroundings are binned by distance and direction, the highest of each bin counts.
A turn of the sensor about its z axis shifts the columns. The row for retrieval does not change with such a turn: it
holds the magnitudes of each ring's Fourier coefficients along the directions, of which the first is the ring key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.clouds.point_cloud import downsample
from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array

# the lowest surface is where this share of the points lies below
_LOWEST_SHARE = 0.02
_HARMONICS = 12
# name of its parameters in a retrieval index
CONTEXT = "scan_context"
# of a scan: rooms, halls, streets, squares
RANGES_M = (10.0, 20.0, 40.0, 80.0)
# so much of the surfaces is within the range. Points do not say so: most of them lie on the ground before the sensor
_MOST_SURFACES, _SURFACE_M = 0.8, 0.5


@dataclass(frozen=True, slots=True)
class ScanContext:
    """Scan Context of a range.

    Attributes:
        range_m: points further away are left out.
        rings: bins of distance.
        sectors: bins of direction.
    """

    range_m: float = 40.0
    rings: int = 20
    sectors: int = 60

    @property
    def dimension(self) -> int:
        """D, values of the row that a turn does not change."""
        return self.rings * min(_HARMONICS, self.sectors // 2 + 1)

    @property
    def voxel_m(self) -> float:
        """Size of the voxels of clouds of this range."""
        return self.range_m / 100.0

    @staticmethod
    def of_clouds(clouds: Sequence[Array]) -> ScanContext:
        """That of the smallest range which most surfaces of (N, 3) clouds are within."""
        surfaces = [downsample(points, _SURFACE_M) for points in clouds]
        far = np.median([np.quantile(np.linalg.norm(points, axis=1), _MOST_SURFACES) for points in surfaces])
        return ScanContext(next((range_m for range_m in RANGES_M if range_m >= far), RANGES_M[-1]))

    def to_arrays(self) -> dict[str, Array]:
        """As data of a retrieval index."""
        return {CONTEXT: np.array([self.range_m, self.rings, self.sectors], np.float64)}

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array]) -> ScanContext:
        """The inverse of `to_arrays`.

        Raises:
            MapError: they are of another encoder.
        """
        values = arrays.get(CONTEXT)
        if values is None or values.shape != (3,) or not (values > 0).all():
            raise MapError("a map's LiDAR places have no Scan Context; make them again with `vloc map lidar`")
        return ScanContext(float(values[0]), int(values[1]), int(values[2]))

    def describe(self, points: Array) -> Array:
        """(rings, sectors) float32 highest point of each bin in metres above the lowest surface, 0 where there is none.

        Args:
            points: (N, 3) metres, z up, from the sensor.
        """
        distance = np.hypot(points[:, 0], points[:, 1])
        near = distance < self.range_m
        context = np.zeros((self.rings, self.sectors), np.float32)
        if not near.any():
            return context
        heights = points[near, 2] - np.quantile(points[near, 2], _LOWEST_SHARE)
        ring = (distance[near] / self.range_m * self.rings).astype(int)
        turn = np.arctan2(points[near, 1], points[near, 0]) / (2 * np.pi) % 1.0
        sector = np.minimum((turn * self.sectors).astype(int), self.sectors - 1)
        np.maximum.at(context, (np.minimum(ring, self.rings - 1), sector), heights.astype(np.float32))
        return context

    def invariant(self, context: Array) -> Array:
        """(D,) float32 row of length 1 that a turn of the sensor does not change."""
        row = np.abs(np.fft.rfft(context, axis=1))[:, :_HARMONICS].astype(np.float32).ravel()
        return row / max(float(np.linalg.norm(row)), 1e-9)

    def align(self, query: Array, place: Array) -> tuple[float, float]:
        """Similarity 0 to 1 of two contexts, and place_from_query's turn about z in radians, by the best column shift.

        The mean over the columns of their cosine similarity, for all shifts at once by their Fourier transforms.
        """
        columns = [context / np.maximum(np.linalg.norm(context, axis=0), 1e-9) for context in (query, place)]
        there = [context.any(axis=0).astype(float) for context in (query, place)]
        products = np.fft.rfft(columns[1], axis=1) * np.conj(np.fft.rfft(columns[0], axis=1))
        both = np.fft.irfft(np.fft.rfft(there[1]) * np.conj(np.fft.rfft(there[0])), self.sectors)
        similarity = np.fft.irfft(products.sum(axis=0), self.sectors) / np.maximum(np.round(both), 1.0)
        # a shift at which hardly any columns are there in both says little
        similarity *= np.minimum(both / (self.sectors / 4), 1.0)
        shift = int(similarity.argmax())
        return float(similarity[shift]), shift * 2 * np.pi / self.sectors
