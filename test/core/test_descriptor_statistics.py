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

"""Distances of an extractor's descriptors, and the limits that follow from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.core.errors import MapError
from vloc_ros.core.features.descriptor_distances import measure_descriptor_statistics
from vloc_ros.core.features.descriptor_statistics import (
    DescriptorLimit,
    DescriptorStatistics,
)
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.pose import Array


@pytest.mark.parametrize(
    ("use", "limit"), [(DescriptorLimit.STRICT, 0.5), (DescriptorLimit.EVIDENCE, 0.6), (DescriptorLimit.LABEL, 0.65)]
)
def test_the_limits_of_rootsift(use: DescriptorLimit, limit: float) -> None:
    recorded = RootSiftConfig.recorded_statistics
    assert recorded is not None
    assert recorded.limit(use) == pytest.approx(limit, rel=0.01)


@given(st.floats(0, 10), st.floats(0.1, 10), st.floats(0.01, 100))
def test_limits_lie_between_the_distances_and_scale_with_them(same: float, gap: float, scale: float) -> None:
    statistics = DescriptorStatistics(same, same + gap, "")
    scaled = DescriptorStatistics(scale * same, scale * (same + gap), "")
    limits = [statistics.limit(use) for use in DescriptorLimit]
    assert same < limits[0] < limits[1] < limits[2] < same + gap
    assert [scaled.limit(use) for use in DescriptorLimit] == pytest.approx([scale * limit for limit in limits])


@pytest.mark.parametrize(
    ("same", "unrelated"), [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (np.nan, 0.5), (0.1, np.nan), (0.1, np.inf)]
)
def test_descriptors_that_do_not_distinguish_points_are_refused(same: float, unrelated: float) -> None:
    with pytest.raises(MapError, match="descriptors of one point lie"):
        DescriptorStatistics(same, unrelated, "")


def _observations(away: float, images: int = 5) -> tuple[list[Array], list[Array], Array]:
    """Orthogonal descriptors of length 1, which lie √2 apart, observed at a known distance from them."""
    rng, descriptors = np.random.default_rng(0), np.eye(64)
    points = [rng.permutation(64)[:40] for _ in range(images)]
    off = [rng.normal(size=(40, 64)) for _ in points]
    observed = [descriptors[p] + away * o / np.linalg.norm(o, axis=1, keepdims=True)
                for p, o in zip(points, off, strict=True)]  # fmt: skip
    return observed, points, descriptors


@pytest.mark.parametrize("away", [0.0, 0.1, 0.5])
def test_measured_distances(away: float) -> None:
    statistics = measure_descriptor_statistics(*_observations(away))
    assert statistics.same_point == pytest.approx(away)
    assert statistics.unrelated == pytest.approx(np.sqrt(2 + away**2), rel=0.02)
    assert "200 observations" in statistics.source
    assert statistics == measure_descriptor_statistics(*_observations(away))


def test_a_few_wrong_observations_hardly_matter() -> None:
    observed, points, descriptors = _observations(0.1)
    observed[0] = np.roll(observed[0], 1, axis=0)
    statistics = measure_descriptor_statistics(observed, points, descriptors)
    assert statistics.same_point == pytest.approx(0.1)


def test_too_few_observations_and_descriptors_that_say_nothing_are_refused() -> None:
    with pytest.raises(MapError, match="80 observations are too few"):
        measure_descriptor_statistics(*_observations(0.1, images=2))
    observed, points, descriptors = _observations(0.1)
    with pytest.raises(MapError, match="descriptors of one point lie"):
        measure_descriptor_statistics([-one for one in observed], points, descriptors)
