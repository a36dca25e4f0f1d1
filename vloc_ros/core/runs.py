"""Rows of different lengths that lie one after the other in one array."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.pose import Array


def runs(starts: Array, counts: Array) -> Array:
    """(sum of counts,) int64 indices: of each of (N,) runs its start, and so many in all from there on."""
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(np.repeat(starts, counts) + within)
