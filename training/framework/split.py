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

"""The split of a trajectory into training and held-out images."""

from __future__ import annotations

import math

import numpy as np

from training.framework.configuration import FitConfig
from vloc_ros.core.geometry.pose import Array


def select_held_out(count: int, fit: FitConfig) -> Array:
    """(count,) bool: held-out images, in segments evenly along the trajectory.

    Single images would be no test: their neighbours show the same.
    """
    held, wanted = np.zeros(count, bool), round(count * fit.held_out)
    if not wanted:
        return held
    segments = min(wanted, max(fit.held_out_segments, math.ceil(wanted / fit.held_out_length)))
    lengths = np.diff(np.linspace(0, wanted, segments + 1).round().astype(int))
    for segment, length in enumerate(lengths):
        middle = (segment + 0.5) * count / segments
        first = min(max(round(middle - length / 2), 0), count - length)
        held[first : first + length] = True
    return held
