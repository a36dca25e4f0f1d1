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

"""Global descriptors of a map's keyframes or places by one encoder, of one modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import first_occurrences
from vloc_ros.core.retrieval.descriptor_search import DescriptorSearch

# rows of this modality describe keyframes; those of any other describe the map's places of that name
IMAGE = "image"


@dataclass(frozen=True, eq=False)
class RetrievalIndex:
    """Rows of global descriptors, each of one item: a keyframe, or a place such as a LiDAR submap or an aerial tile.

    An item may have several rows, or none.

    Attributes:
        name: of the index in its map.
        encoder: hash of the encoder that made the rows; a query must be encoded by the same one.
        modality: what the rows were made from, `image`, or the name of the map's places.
        descriptors: (R, D) float32, L2-normalised.
        items: (R,) int64 keyframe, or place of the modality, that each row describes.
        encoder_arrays: what the encoder itself needs, by name, such as the visual vocabulary of VLAD.
    """

    name: str
    encoder: str
    descriptors: Array
    items: Array
    modality: str = IMAGE
    encoder_arrays: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.descriptors)
        if self.descriptors.ndim != 2 or self.items.shape != (rows,):
            raise MapError(
                f"the retrieval index {self.name} has descriptors of shape {self.descriptors.shape} for "
                f"{self.items.shape} items, expected one row each; run `vloc map encode`, or build the map again"
            )
        if rows and self.items.min() < 0:
            raise MapError(f"the retrieval index {self.name} names negative items; build the map again")

    @cached_property
    def search(self) -> DescriptorSearch:
        """The search among the rows, made once."""
        return DescriptorSearch(self.descriptors)

    @cached_property
    def _most_rows(self) -> int:
        """Rows of the item that has most."""
        return int(np.bincount(self.items).max(initial=0)) if len(self.items) else 0

    def nearest_items(self, queries: Array, count: int) -> Array:
        """(N,) int64 items with a row most similar to any of (V, D) query descriptors, best first, each once.

        At most `count`; fewer where the index has fewer, see `DescriptorSearch.best`.
        """
        rows = self.search.best(queries, count * max(self._most_rows, 1))
        items = self.items[rows]
        return np.asarray(items[first_occurrences(items)][:count])

    def append(self, descriptors: Array, items: Array) -> RetrievalIndex:
        """The index with further rows of the same encoder."""
        return replace(
            self,
            descriptors=np.concatenate([self.descriptors, descriptors.astype(np.float32)]),
            items=np.concatenate([self.items, items]).astype(np.int64),
        )

    def renumber(self, numbers: Array) -> RetrievalIndex:
        """The index after its items were renumbered or removed: item i becomes `numbers[i]`, -1 removes its rows."""
        items = np.asarray(numbers)[self.items]
        kept = items >= 0
        return replace(self, descriptors=self.descriptors[kept], items=items[kept].astype(np.int64))

    def cut(self, kept: range) -> RetrievalIndex:
        """The rows of a range of items, which are counted from its start."""
        mine = (self.items >= kept.start) & (self.items < kept.stop)
        return replace(self, descriptors=self.descriptors[mine], items=self.items[mine] - kept.start)

    def is_compatible(self, other: RetrievalIndex) -> bool:
        """Whether one query descriptor serves both: encoder, modality and dimension are the same."""
        return (self.encoder, self.modality, self.descriptors.shape[1]) == (
            other.encoder,
            other.modality,
            other.descriptors.shape[1],
        )


def merge_retrieval_indices(indices: Sequence[RetrievalIndex], first_items: Sequence[int]) -> RetrievalIndex:
    """Compatible indices of several maps as one.

    Args:
        indices: of one encoder, at least one.
        first_items: what the first item of each is numbered in the merged map.
    """
    assert all(index.is_compatible(indices[0]) for index in indices)
    items = [index.items + first for index, first in zip(indices, first_items, strict=True)]
    descriptors = np.concatenate([index.descriptors for index in indices])
    return replace(indices[0], descriptors=descriptors, items=np.concatenate(items).astype(np.int64))
