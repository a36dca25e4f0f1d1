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

"""Measuring how far apart the descriptors of a map lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics
from vloc_ros.core.geometry.pose import Array

_MIN_OBSERVATIONS = 100
_SEED = 0


def measure_descriptor_statistics(
    observed: Sequence[Array], points: Sequence[Array], descriptors: Array
) -> DescriptorStatistics:
    """The statistics of a map while it is built.

    Args:
        observed: of every image (N, d) projected descriptors of the keypoints that observe a point.
        points: of every image (N,) which point each observes.
        descriptors: (P, d) descriptors of the points, decoded.

    Raises:
        MapError: there are too few observations, or the descriptors do not distinguish points.
    """
    seen, own = np.concatenate(observed), np.concatenate(points)
    if len(own) < _MIN_OBSERVATIONS:
        raise MapError(
            f"{len(own)} observations are too few to measure descriptor statistics, expected at least "
            f"{_MIN_OBSERVATIONS}; take images that share more"
        )
    shuffled = np.random.default_rng(_SEED).permutation(own)
    apart = shuffled != own
    same_point = float(np.median(np.linalg.norm(seen - descriptors[own], axis=1)))
    unrelated = float(np.median(np.linalg.norm(seen[apart] - descriptors[shuffled[apart]], axis=1)))
    return DescriptorStatistics(same_point, unrelated, f"measured on {len(own)} observations of this map")
