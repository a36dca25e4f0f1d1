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

"""Which images of a recording have stamps in the order in which they were recorded.

A clock that jumps, or a driver that stamps an image wrongly, gives an image a time at which it was not taken: the poses
of that time are not its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


def find_stamps_in_order(stamps_ns: Sequence[int]) -> list[int]:
    """Indices of the longest part of a sequence whose stamps increase; the others are out of order, or repeated.

    By patience sorting (Fredman, On computing the length of longest increasing subsequences, 1975), in O(n log n). One
    stamp far in the future is left out by it, not all that come after.
    """
    # of the parts of each length that end earliest: the last stamp, and its index
    ends, last_indices = list[int](), list[int]()
    before = list[int]()
    for index, stamp_ns in enumerate(stamps_ns):
        length = bisect_left(ends, stamp_ns)
        before.append(last_indices[length - 1] if length else -1)
        if ends[length : length + 1] == [stamp_ns]:  # of equal ones the first
            continue
        ends[length : length + 1] = [stamp_ns]
        last_indices[length : length + 1] = [index]
    found = list[int]()
    index = last_indices[-1] if last_indices else -1
    while index >= 0:
        found.append(index)
        index = before[index]
    return found[::-1]
