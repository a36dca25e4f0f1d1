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

"""Integer arrays: ranges of different lengths in one array, and unique values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def expand_ranges(starts: Array, counts: Array) -> Array:
    """(sum of counts,) int64 indices: of each of (N,) ranges its start and the following, as many as its count."""
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(np.repeat(starts, counts) + within)


def sorted_unique(values: Array) -> Array:
    """(M,) sorted values of (N,), each once; many times faster than `numpy.unique`."""
    ordered = np.sort(values)
    return np.asarray(ordered[begins_run(ordered)])


def begins_run(ordered: Array) -> Array:
    """(N,) bool whether each of (N,) sorted values differs from the one before it."""
    first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return first


def first_occurrences(values: Array) -> Array:
    """(M,) ascending indices of the first occurrence of every value of (N,)."""
    return np.sort(np.unique(values, return_index=True)[1])
