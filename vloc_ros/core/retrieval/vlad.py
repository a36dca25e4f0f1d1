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

"""A visual vocabulary and VLAD, the global descriptor of an image over it.

VLAD: Jégou et al. 2010; intra-normalisation: Arandjelovic and Zisserman 2013.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import faiss
import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex

# name of the retrieval index that every built map has
VLAD = "vlad"
_ITERATIONS = 20
# of more descriptors, evenly drawn ones
MAX_SAMPLES = 50_000


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Visual words.

    Attributes:
        words: (C, d) float32 cluster centres in the space of `DescriptorCodec.project`.
    """

    words: Array

    @staticmethod
    def fit(descriptors: Array, clusters: int, seed: int = 0) -> Vocabulary:
        """Learn the words by k-means from (N, d) float32 descriptors, at most N words; of many, from a part of them."""
        descriptors = descriptors[:: max(1, len(descriptors) // MAX_SAMPLES)]
        clusters = min(clusters, len(descriptors))
        kmeans = faiss.Kmeans(
            descriptors.shape[1], clusters, niter=_ITERATIONS, seed=seed, min_points_per_centroid=1, verbose=False
        )
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # with more, sums are rounded in another order each time, and words differ
        try:
            kmeans.train(np.ascontiguousarray(descriptors, dtype=np.float32))
        finally:
            faiss.omp_set_num_threads(threads)
        return Vocabulary(np.asarray(kmeans.centroids, dtype=np.float32))

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array]) -> Vocabulary:
        """The inverse of `arrays`."""
        if "words" not in arrays:
            raise MapError(f"a VLAD index holds {sorted(arrays)}, expected words; build the map again")
        return Vocabulary(np.asarray(arrays["words"], dtype=np.float32))

    @property
    def arrays(self) -> dict[str, Array]:
        """What a retrieval index must store to encode queries."""
        return {"words": self.words}

    @property
    def hash(self) -> str:
        """Names this encoder."""
        return hashlib.sha256(b"vlad" + np.ascontiguousarray(self.words).tobytes()).hexdigest()[:16]

    def index(self, rows: Array) -> RetrievalIndex:
        """The retrieval index of (K, C * d) descriptors of all keyframes."""
        return RetrievalIndex(VLAD, self.hash, rows, np.arange(len(rows)), encoder_arrays=self.arrays)

    def encode(self, descriptors: Array) -> Array:
        """(N, d) projected descriptors of one image to its (C * d,) float32 L2-normalised VLAD."""
        residual_sums = np.zeros_like(self.words)
        if len(descriptors):
            distances = (self.words**2).sum(axis=1) - 2.0 * descriptors @ self.words.T
            nearest = distances.argmin(axis=1)
            np.add.at(residual_sums, nearest, descriptors - self.words[nearest])
        norms = np.linalg.norm(residual_sums, axis=1, keepdims=True)
        vlad = (residual_sums / np.maximum(norms, 1e-12)).reshape(-1)
        return np.asarray(vlad / max(float(np.linalg.norm(vlad)), 1e-12), dtype=np.float32)


def sample_descriptors(parts: Iterable[Array], count: int) -> Array:
    """What `Vocabulary.fit` draws of (N, d) descriptors that come in parts, such as images: all need not be held.

    Args:
        parts: (N_i, d) float32 each, one at least.
        count: N, of all parts.
    """
    step, start, drawn = max(1, count // MAX_SAMPLES), 0, list[Array]()
    for part in parts:
        drawn.append(part[-start % step :: step].copy())  # a view would hold the part
        start += len(part)
    return np.concatenate(drawn)
