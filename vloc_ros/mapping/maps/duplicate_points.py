"""The same thing in the world, mapped twice: points that are near in space and look alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from vloc_ros.core.geometry.pose import Array

# of the distance that a point is seen from: ten pixels of a usual camera, and what depth is uncertain by
NEAR_RAD = 0.02
# distance of descriptors, in codes' space; what the localizer takes for the same where it knows where to look
ALIKE = 0.5
# points whose neighbours are compared at once, which takes some 100 MB
_AT_ONCE = 1 << 13
_NEIGHBOURS = 8


@dataclass(frozen=True, slots=True, eq=False)
class DescribedPoints:
    """Points and what they look like.

    Attributes:
        points: (N, 3) metres.
        descriptors_of: (M, d) float32 in the codes' space of one map, of (M,) points; all at once may be gigabytes.
    """

    points: Array
    descriptors_of: Callable[[Array], Array]

    def __len__(self) -> int:
        return len(self.points)


def find_duplicate_points(some: DescribedPoints, others: DescribedPoints, reach: Array) -> Array:
    """(N,) int64 which of the others is the same as each of some, the most alike of those in reach; -1 for none.

    Args:
        some: N described points.
        others: described points of the same frame and descriptor space.
        reach: (N,) metres within which a twin lies.
    """
    if not len(some) or not len(others):
        return np.full(len(some), -1, np.int64)
    tree = cKDTree(others.points)
    blocks = (np.arange(start, min(start + _AT_ONCE, len(some))) for start in range(0, len(some), _AT_ONCE))
    return np.concatenate([_twins_of(some, block, others, tree, reach[block]) for block in blocks])


def _twins_of(some: DescribedPoints, asked: Array, others: DescribedPoints, tree: cKDTree, reach: Array) -> Array:
    """(A,) `twins` of (A,) of some points, with the tree of the others."""
    count = min(_NEIGHBOURS, len(others))
    apart, near = (a.reshape(len(asked), count) for a in tree.query(some.points[asked], k=count))
    theirs = others.descriptors_of(near.reshape(-1)).reshape(*near.shape, -1)
    unlike = np.linalg.norm(some.descriptors_of(asked)[:, None] - theirs, axis=2)
    unlike[apart > reach[:, None]] = np.inf
    best = unlike.argmin(axis=1)
    rows = np.arange(len(asked))
    return np.where(unlike[rows, best] <= ALIKE, near[rows, best], -1).astype(np.int64)
