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

"""How far apart the descriptors of one extractor lie: of one point, and of unrelated points.

Every limit on a descriptor distance is derived from these two numbers, so that no limit fits one extractor only. A
part of the parameters, which `vloc config` lists without waiting for NumPy; `descriptor_distances` measures them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from vloc_ros.core.errors import MapError


class DescriptorLimit(Enum):
    """Where between the two distances a limit lies: 0 at that of one point, 1 at that of unrelated points.

    One factor cannot serve all uses, since the price of a wrong match differs.
    """

    # a match that nothing checks afterwards: in the window of a prior, a point mapped twice, an image added to a map
    STRICT = 0.52
    # a match that counts as evidence with hundreds of others: visibility from a pose, overlap of two maps, whose codecs
    # differ
    EVIDENCE = 0.671
    # the label of a keypoint of an image whose pose is ground truth, within three pixels of the point
    LABEL = 0.746


@dataclass(frozen=True, slots=True)
class DescriptorStatistics:
    """Distances in the space of the map's descriptors, see `DescriptorCodec.project`.

    Attributes:
        same_point: median distance of an observation from the descriptor of its own point.
        unrelated: median distance of an observation from the descriptor of another point.
        source: where the numbers come from, for people.
    """

    same_point: float
    unrelated: float
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.same_point < self.unrelated < math.inf:
            raise MapError(
                f"descriptors of one point lie {self.same_point:g} apart and unrelated ones {self.unrelated:g}, "
                "expected the former to be less; use an extractor whose descriptors distinguish points"
            )

    def limit(self, use: DescriptorLimit) -> float:
        """Largest distance for a use."""
        return self.same_point + use.value * (self.unrelated - self.same_point)
