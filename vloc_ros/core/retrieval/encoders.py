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

"""Global descriptor encoders: what a query looks like as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.query import Query


class QueryEncoder(Protocol):
    """Describes what a query's sensors recorded, so that queries and items of one place have similar descriptors."""

    @property
    def hash(self) -> str:
        """Names the encoder in the retrieval indices that it makes."""
        ...

    @property
    def modality(self) -> str:
        """Of the items that it retrieves: `image` for keyframes, or the name of a map's places."""
        ...

    @property
    def dimension(self) -> int:
        """D, values of a descriptor."""
        ...

    def encode_query(self, query: Query) -> Array:
        """(V, D) float32 L2-normalised descriptors of a query, V >= 0: none where it lacks the sensor."""
        ...


class GlobalDescriptorEncoder(QueryEncoder, Protocol):
    """An encoder of images."""

    @property
    def batch_size(self) -> int:
        """How many images it is best given at a time, where there are many."""
        ...

    def encode(self, images: Sequence[Array]) -> Array:
        """(N, D) float32 L2-normalised descriptors of N >= 1 images, (H, W) uint8 grey or (H, W, 3) uint8 BGR."""
        ...


class RangeEncoder(QueryEncoder, Protocol):
    """An encoder of scans in a descriptor space that an encoder of images shares: its hash names the space."""

    def encode_scan(self, points: Array, intensity: Array | None = None) -> Array:
        """(V, D) float32 L2-normalised descriptors of a scan, one for each heading at which it has points, V >= 0.

        Args:
            points: (N, 3) metres from the sensor, z up.
            intensity: (N,), or None where the sensor has none.

        Raises:
            ModelError: a descriptor is not finite.
        """
        ...


class CloudEncoder(QueryEncoder, Protocol):
    """An encoder of scans, whose items are the map's LiDAR places."""

    def encode(self, clouds: Iterable[Array]) -> Array:
        """(N, D) float32 L2-normalised descriptors of N clouds, each (M, 3) metres from its sensor, z up."""
        ...
