"""The same thing in the world, mapped twice: points that are near in space and look alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from vloc_ros.core.pose import Array

# of the distance that a point is seen from: ten pixels of a usual camera, and what depth is uncertain by
NEAR_RAD = 0.02
# distance of descriptors, in codes' space; what the localizer takes for the same where it knows where to look
ALIKE = 0.5
_AT_ONCE = 1 << 16
_NEIGHBOURS = 8


@dataclass(frozen=True, slots=True, eq=False)
class DescribedPoints:
    """Points and what they look like.

    Attributes:
        points: (N, 3) metres.
        descriptors: (N, d) float32 in the codes' space of one map.
    """

    points: Array
    descriptors: Array

    def __len__(self) -> int:
        return len(self.points)


def twins(some: DescribedPoints, others: DescribedPoints, reach: Array) -> Array:
    """(N,) int64 which of the others is the same as each of some, the most alike of those in reach; -1 for none.

    Args:
        some: N described points.
        others: described points of the same frame and descriptor space.
        reach: (N,) metres within which a twin lies.
    """
    if not len(some) or not len(others):
        return np.full(len(some), -1, np.int64)
    count = min(_NEIGHBOURS, len(others))
    apart, near = (a.reshape(len(some), count) for a in cKDTree(others.points).query(some.points, k=count))
    unlike = np.empty(near.shape, np.float32)
    for start in range(0, len(near), _AT_ONCE):  # all at once would take gigabytes of a large map
        part = slice(start, start + _AT_ONCE)
        unlike[part] = np.linalg.norm(some.descriptors[part, None] - others.descriptors[near[part]], axis=2)
    unlike[apart > reach[:, None]] = np.inf
    best = unlike.argmin(axis=1)
    rows = np.arange(len(some))
    return np.where(unlike[rows, best] <= ALIKE, near[rows, best], -1).astype(np.int64)
