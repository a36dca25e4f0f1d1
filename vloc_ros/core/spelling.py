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

"""The name that a mistyped one stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_name(found: str, names: Iterable[str], *, similarity: float = 0.75) -> str | None:
    """The name that was most likely meant; None where none is similar.

    Args:
        found: what was given; of a dotted name the part after the last dot decides, where it is right. Of several
            groups that have it, none of which is similar, it is the first.
        names: what may be given.
        similarity: ratio of `difflib`, at least; two neighbouring letters that changed places are near at any.
    """
    candidates = list(names)
    last = found.rpartition(".")[2]
    of_other_groups = [name for name in candidates if name.rpartition(".")[2] == last]
    near = difflib.get_close_matches(found, of_other_groups, n=1, cutoff=similarity) or of_other_groups[:1]
    near = near or [name for name in candidates if _swaps_neighbours(found, name)]
    near = near or difflib.get_close_matches(found, candidates, n=1, cutoff=similarity)
    return near[0] if near else None


def _swaps_neighbours(found: str, name: str) -> bool:
    """Whether two neighbouring letters have changed places, which makes short names unlike by their ratio."""
    if len(found) != len(name):
        return False
    at = [i for i, letters in enumerate(zip(found, name, strict=True)) if letters[0] != letters[1]]
    return len(at) == 2 and at[0] + 1 == at[1] and found[at[0] : at[1] + 1] == name[at[0] : at[1] + 1][::-1]
