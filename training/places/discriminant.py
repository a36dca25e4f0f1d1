"""Linear discriminant analysis of descriptors whose images share more or less of what they show."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular

from vloc_ros.core.errors import InputError
from vloc_ros.core.pose import Array

# a product of matrices for so many batches together: one for each would write the matrices as often
_AT_ONCE = 32


class Discriminant:
    """Directions in which places differ and images of one place do not, from batches that are shown one by one.

    Mikolajczyk and Matas (2007) project local descriptors so. Here two images are of one place by as much as they
    share, so what spreads within places is the mean of squared differences of pairs, weighted by that.
    """

    def __init__(self, length: int) -> None:
        """Of descriptors of this length; takes memory by its square, whatever the number of batches."""
        self._within, self._all = np.zeros((length, length)), np.zeros((length, length))
        self._sum, self._count, self._shared = np.zeros(length), 0, 0.0
        self._waiting: list[tuple[Array, Array]] = []

    def add(self, descriptors: Array, share: Array) -> None:
        """(B, N) float32, and (B, B) what every two of them share, 0 to 1."""
        # sum over pairs of s (a - b)(a - b)' is twice the descriptors' product with this
        self._waiting.append((descriptors, 2 * (np.diag(share.sum(axis=1)) - share) @ descriptors))
        self._sum += descriptors.sum(axis=0)
        self._count += len(descriptors)
        self._shared += float(share.sum() - np.trace(share))
        if len(self._waiting) >= _AT_ONCE:
            self._flush()

    def projection(self, dimension: int, *, spread_kept: float) -> tuple[Array, Array]:
        """(dimension, N) axes, those that tell places apart best first, and (N,) the mean of the descriptors.

        Projected to them, what lies about the mean has a mean squared length of 1.

        Args:
            dimension: of what they are projected to.
            spread_kept: of the mean spread within places so much is added in every direction.

        Raises:
            InputError: no two images shared anything.
        """
        self._flush()
        if self._shared <= 0:
            raise InputError("no two of the images share anything; use a map of more")
        length, mean = len(self._sum), self._sum / self._count
        within = self._within / self._shared
        within += spread_kept * np.trace(within) / length * np.eye(length)
        lower = cholesky(within, lower=True)
        half = solve_triangular(lower, self._all - self._count * np.outer(mean, mean), lower=True)
        found = solve_triangular(lower, half.T, lower=True)
        spreads, axes = eigh(found, subset_by_index=(length - dimension, length - 1))
        axes *= np.sqrt(self._count / spreads.sum())
        return solve_triangular(lower, axes[:, ::-1], lower=True, trans="T").T, mean

    def _flush(self) -> None:
        if not self._waiting:
            return
        descriptors, weighted = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
        self._within += descriptors.T @ weighted
        self._all += descriptors.T @ descriptors
        self._waiting.clear()
