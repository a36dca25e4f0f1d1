"""Whole numbers in runs: rows of different lengths that lie one after the other in one array, and equal numbers."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.geometry.pose import Array


def expand_ranges(starts: Array, counts: Array) -> Array:
    """(sum of counts,) int64 indices: of each of (N,) runs its start, and so many in all from there on."""
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(np.repeat(starts, counts) + within)


def sorted_unique(values: Array) -> Array:
    """(M,) sorted whole numbers of (N,), each once, as `numpy.unique` finds them in many times as long."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return np.asarray(ordered[first])
