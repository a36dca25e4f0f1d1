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

"""Linear discriminant analysis of descriptors with continuous labels: the overlap of their images."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

# batches per matrix product: one product each would rewrite the large matrices as often
_AT_ONCE = 32
# directions with hardly any scatter are noise
_LEAST_SHRINKAGE = 1e-4


class Discriminant:
    """Directions in which places differ and images of one place do not, accumulated batch by batch.

    Mikolajczyk and Matas (2007) project local descriptors in this way. Here two images belong to one place by the
    degree of their overlap: the within-place scatter is the mean outer product of the differences of pairs, weighted
    by overlap. With few views it is ill-conditioned, so it is shrunk towards a multiple of the identity, by the
    intensity of Ledoit and Wolf (2004). At full shrinkage the result is that of principal components.
    """

    def __init__(self, length: int) -> None:
        """For descriptors of this length; memory grows with its square, not with the number of batches."""
        self._within, self._all = np.zeros((length, length)), np.zeros((length, length))
        self._sum, self._count, self._shared, self._fourth = np.zeros(length), 0, 0.0, 0.0
        self._waiting: list[tuple[Array, Array]] = []

    def add(self, descriptors: Array, share: Array) -> None:
        """Accumulate a batch of (B, N) float32 descriptors and their (B, B) overlap, 0 to 1."""
        # the sum over pairs of s (a - b)(a - b)' is descriptors' @ this
        self._waiting.append((descriptors, 2 * (np.diag(share.sum(axis=1)) - share) @ descriptors))
        self._sum += descriptors.sum(axis=0)
        self._count += len(descriptors)
        self._shared += float(share.sum() - np.trace(share))
        squares = np.square(descriptors).sum(axis=1)
        self._fourth += float((share * (squares[:, None] + squares - 2 * descriptors @ descriptors.T) ** 2).sum())
        if len(self._waiting) >= _AT_ONCE:
            self._flush()

    def projection(self, dimension: int, *, views: int) -> tuple[Array, Array]:
        """(dimension, N) axes, most discriminative first, and (N,) the mean of the descriptors.

        Centred descriptors that are projected on the axes have a mean squared length of 1.

        Args:
            dimension: number of axes.
            views: number of different views in the batches, the sample size of the shrinkage.

        Raises:
            InputError: no two different images overlap.
        """
        self._flush()
        if self._shared <= 0 or np.trace(self._within) <= 0:
            raise InputError("no two different images overlap; use more images")
        length, mean = len(self._sum), self._sum / self._count
        lower = cholesky(self._shrunk_within(views), lower=True)
        half = solve_triangular(lower, self._all - self._count * np.outer(mean, mean), lower=True)
        found = solve_triangular(lower, half.T, lower=True)
        spreads, axes = eigh(found, subset_by_index=(length - dimension, length - 1))
        axes *= np.sqrt(self._count / spreads.sum())
        return solve_triangular(lower, axes[:, ::-1], lower=True, trans="T").T, mean

    def _shrunk_within(self, views: int) -> Array:
        """(N, N) within-place scatter, of full rank."""
        within, length = self._within / self._shared, len(self._sum)
        mean, square = np.trace(within) / length, float(np.square(within).sum())
        variance = (self._fourth / self._shared - square) / views
        shrinkage = float(np.clip(variance / max(square - length * mean**2, 1e-300), _LEAST_SHRINKAGE, 1.0))
        return np.asarray((1 - shrinkage) * within + shrinkage * mean * np.eye(length))

    def _flush(self) -> None:
        if not self._waiting:
            return
        descriptors, weighted = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
        self._within += descriptors.T @ weighted
        self._all += descriptors.T @ descriptors
        self._waiting.clear()
