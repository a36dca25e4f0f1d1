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

"""Range views: a point cloud as an image with the field of view of a camera, for networks that take images.

A pixel is a direction, azimuth across and elevation down, and shows the nearest point in it. Its channels are nearness
(1 at the sensor, 0 at the range and where there is no point), height above the lowest surroundings, and intensity.
Ranges are on a logarithmic scale, and intensities relative to the scan's own, since every sensor has another scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

CHANNELS = 3
# the lowest surface is where this share of the points lies below, as Scan Context has it
_LOWEST_SHARE, _TALLEST_M = 0.02, 10.0
# intensity of retro-reflectors says little
_BRIGHTEST_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class RangeView:
    """The pixels of a view.

    Attributes:
        height: rows.
        width: columns.
        field_of_view_rad: azimuth from the left edge to the right one.
        lowest_rad: elevation of the lower edge.
        highest_rad: elevation of the upper edge.
        range_m: points further away are left out.

    Raises:
        InputError: a value is out of its range.
    """

    height: int
    width: int
    field_of_view_rad: float
    lowest_rad: float
    highest_rad: float
    range_m: float

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1 or not 0 < self.field_of_view_rad <= 2 * math.pi or not self.range_m > 0:
            raise InputError(f"{self} has no pixels, no field of view or no range, expected more than 0")
        if not -math.pi / 2 <= self.lowest_rad < self.highest_rad <= math.pi / 2:
            raise InputError(
                f"a range view reaches from {self.lowest_rad:g} to {self.highest_rad:g} rad, expected upwards"
            )

    def render(self, points: Array, intensity: Array | None = None, *, heading_rad: float = 0.0) -> Array:
        """(3, height, width) float32 view of a cloud; all 0 where no point is in it.

        Args:
            points: (N, 3) metres from the sensor: x forward, y left, z up.
            intensity: (N,) of any scale; None where the sensor has none: then that channel is 0.
            heading_rad: azimuth of the middle of the view, from x to y.
        """
        view = np.zeros((CHANNELS, self.height, self.width), np.float32)
        distance = np.linalg.norm(points, axis=1)
        azimuth = np.arctan2(points[:, 1], points[:, 0]) - heading_rad
        azimuth -= 2 * math.pi * np.round(azimuth / (2 * math.pi))
        elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
        column = np.floor((0.5 - azimuth / self.field_of_view_rad) * self.width).astype(np.int64)
        row = np.floor((self.highest_rad - elevation) / (self.highest_rad - self.lowest_rad) * self.height)
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        seen = np.flatnonzero(inside & (distance > 0) & (distance < self.range_m))
        if not len(seen):
            return view
        # of each pixel the nearest point: the last one that is written
        seen = seen[np.argsort(-distance[seen], kind="stable")]
        pixels = row[seen].astype(np.int64), column[seen]
        lowest = np.quantile(points[:, 2], _LOWEST_SHARE)
        view[0][pixels] = 1.0 - np.log1p(distance[seen]) / math.log1p(self.range_m)
        view[1][pixels] = np.clip((points[seen, 2] - lowest) / _TALLEST_M, 0.0, 1.0)
        if intensity is not None and (brightest := float(np.quantile(intensity, _BRIGHTEST_SHARE))) > 0:
            view[2][pixels] = np.clip(intensity[seen] / brightest, 0.0, 1.0)
        return view

    def render_around(self, points: Array, intensity: Array | None = None, *, headings: int) -> Array:
        """(headings, 3, height, width) views at equal steps of heading, from the x axis on; see `render`."""
        steps = np.arange(headings) * 2 * math.pi / headings
        return np.stack([self.render(points, intensity, heading_rad=float(step)) for step in steps])

    def to_manifest(self) -> dict[str, Any]:
        """All values as JSON types."""
        return asdict(self)

    @staticmethod
    def from_manifest(mapping: Mapping[str, Any]) -> RangeView:
        """The inverse of `to_manifest`, without defaults.

        Raises:
            InputError: an entry is missing, unknown or no number in its range.
        """
        names = RangeView.__slots__
        if not isinstance(mapping, Mapping) or sorted(mapping) != sorted(names):
            raise InputError(f"a range view has {mapping}, expected {', '.join(names)}; train the model again")
        if any(type(value) not in (int, float) for value in mapping.values()):
            raise InputError(f"a range view has {dict(mapping)}, expected numbers; train the model again")
        return RangeView(int(mapping["height"]), int(mapping["width"]), *(float(mapping[name]) for name in names[2:]))
