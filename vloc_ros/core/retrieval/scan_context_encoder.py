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

"""Scan Context as a global descriptor encoder of scans."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from vloc_ros.core.clouds.place_clouds import level
from vloc_ros.core.clouds.scan_context import ScanContext
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.query import Query

# the map's places that scans retrieve
LIDAR = "lidar"
# changes with what a row means
_VERSION = 1
# a query is encoded as seen from beside where it is, too, so that it resembles the place of another lane
_LANES = (0.0, -0.0625, 0.0625)


class ScanContextEncoder:
    """Scan Context as an encoder; see `CloudEncoder`."""

    modality = LIDAR

    def __init__(self, context: ScanContext) -> None:
        self.context = context

    @property
    def hash(self) -> str:
        """Names the descriptor and its parameters."""
        of = self.context
        text = f"scan_context/{_VERSION}/{of.range_m:g}/{of.rings}/{of.sectors}/{of.dimension}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def dimension(self) -> int:
        """D."""
        return self.context.dimension

    def encode(self, clouds: Iterable[Array]) -> Array:
        """(N, D) float32 rows of N clouds, each (M, 3) from its sensor, z up."""
        rows = [self.context.invariant(self.context.describe(points)) for points in clouds]
        return np.array(rows, np.float32).reshape(len(rows), self.dimension)

    def encode_query(self, query: Query) -> Array:
        """(V, D) rows of a query's cloud as seen from its sensor, and from beside it."""
        if query.cloud is None:
            return np.zeros((0, self.dimension), np.float32)
        points, _ = level(query.cloud)
        return self.encode([points - offset for offset in self.lanes()])

    def lanes(self) -> list[Array]:
        """(3,) float32 offsets, metres, of where a query is encoded as seen from."""
        return [np.array([0.0, share * self.context.range_m, 0.0], np.float32) for share in _LANES]
