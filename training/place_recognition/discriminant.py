"""Linear discriminant analysis of descriptors whose images share more or less of what they show."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

# a product of matrices for so many batches together: one for each would write the matrices as often
_AT_ONCE = 32
# what is computed of hardly any spread in some direction is noise
_LEAST_SHRINKAGE = 1e-4


class Discriminant:
    """Directions in which places differ and images of one place do not, from batches that are shown one by one.

    Mikolajczyk and Matas (2007) project local descriptors so. Here two images are of one place by as much as they
    share, so what spreads within places is the mean of squared differences of pairs, weighted by that. Few views do not
    tell it: it is shrunk towards one that is alike in every direction, by as much as Ledoit and Wolf (2004) find from
    how much it varies; then what is left are principal components.
    """

    def __init__(self, length: int) -> None:
        """Of descriptors of this length; takes memory by its square, whatever the number of batches."""
        self._within, self._all = np.zeros((length, length)), np.zeros((length, length))
        self._sum, self._count, self._shared, self._fourth = np.zeros(length), 0, 0.0, 0.0
        self._waiting: list[tuple[Array, Array]] = []

    def add(self, descriptors: Array, share: Array) -> None:
        """(B, N) float32, and (B, B) what every two of them share, 0 to 1."""
        # sum over pairs of s (a - b)(a - b)' is twice the descriptors' product with this
        self._waiting.append((descriptors, 2 * (np.diag(share.sum(axis=1)) - share) @ descriptors))
        self._sum += descriptors.sum(axis=0)
        self._count += len(descriptors)
        self._shared += float(share.sum() - np.trace(share))
        squares = np.square(descriptors).sum(axis=1)
        self._fourth += float((share * (squares[:, None] + squares - 2 * descriptors @ descriptors.T) ** 2).sum())
        if len(self._waiting) >= _AT_ONCE:
            self._flush()

    def projection(self, dimension: int, *, views: int) -> tuple[Array, Array]:
        """(dimension, N) axes, those that tell places apart best first, and (N,) the mean of the descriptors.

        Projected to them, what lies about the mean has a mean squared length of 1.

        Args:
            dimension: of what they are projected to.
            views: different ones that the batches are of; each is in many pairs, and they tell no more than so many.

        Raises:
            InputError: no two images that differ shared anything.
        """
        self._flush()
        if self._shared <= 0 or np.trace(self._within) <= 0:
            raise InputError("no two different images share anything; use a map of more")
        length, mean = len(self._sum), self._sum / self._count
        lower = cholesky(self._shrunk_within(views), lower=True)
        half = solve_triangular(lower, self._all - self._count * np.outer(mean, mean), lower=True)
        found = solve_triangular(lower, half.T, lower=True)
        spreads, axes = eigh(found, subset_by_index=(length - dimension, length - 1))
        axes *= np.sqrt(self._count / spreads.sum())
        return solve_triangular(lower, axes[:, ::-1], lower=True, trans="T").T, mean

    def _shrunk_within(self, views: int) -> Array:
        """(N, N) spread within places, of full rank."""
        within, length = self._within / self._shared, len(self._sum)
        alike, square = np.trace(within) / length, float(np.square(within).sum())
        varies = (self._fourth / self._shared - square) / views
        shrinkage = float(np.clip(varies / max(square - length * alike**2, 1e-300), _LEAST_SHRINKAGE, 1.0))
        return np.asarray((1 - shrinkage) * within + shrinkage * alike * np.eye(length))

    def _flush(self) -> None:
        if not self._waiting:
            return
        descriptors, weighted = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
        self._within += descriptors.T @ weighted
        self._all += descriptors.T @ descriptors
        self._waiting.clear()
