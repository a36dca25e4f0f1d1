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

"""Stamps in the order of recording."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.datasets.stamp_order import find_stamps_in_order


@pytest.mark.parametrize(
    ("stamps_ns", "expected"),
    [
        ([], []),
        ([5], [0]),
        ([1, 2, 3], [0, 1, 2]),
        ([1, 2, 1000, 3, 4], [0, 1, 3, 4]),
        ([1000, 1, 2, 3], [1, 2, 3]),
        ([10, 11, 1, 12, 13], [0, 1, 3, 4]),
        ([1, 2, 2, 3], [0, 1, 3]),
        ([1, 2, 500, 501, 502, 3, 4, 5, 6], [0, 1, 5, 6, 7, 8]),
    ],
)
def test_one_wrong_stamp_leaves_the_others(stamps_ns: list[int], expected: list[int]) -> None:
    assert find_stamps_in_order(stamps_ns) == expected


@given(st.lists(st.integers(0, 12), max_size=9))
def test_no_longer_part_increases(stamps_ns: list[int]) -> None:
    """Compared with the quadratic recurrence."""
    longest = list[int]()
    for end, stamp_ns in enumerate(stamps_ns):
        longest.append(1 + max((longest[k] for k in range(end) if stamps_ns[k] < stamp_ns), default=0))
    found = find_stamps_in_order(stamps_ns)
    assert len(found) == max(longest, default=0)
    assert all(stamps_ns[a] < stamps_ns[b] and a < b for a, b in pairwise(found))
