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
        found: what was given; of a dotted name the part after the last dot decides, where it is right.
        names: what may be given.
        similarity: ratio of `difflib`, at least.
    """
    candidates = list(names)
    last = found.rpartition(".")[2]
    of_other_groups = [name for name in candidates if name.rpartition(".")[2] == last]
    near = difflib.get_close_matches(found, of_other_groups, n=1, cutoff=0.0)
    near = near or difflib.get_close_matches(found, candidates, n=1, cutoff=similarity)
    return near[0] if near else None
