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

"""Evidence for a pose above aerial tiles."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.localization.tile_evidence import TileEvidence, measure_tile_evidence

_SIZE = (400, 300)
_RNG = np.random.default_rng(0)
_VIEW = _RNG.uniform(0, _SIZE, (600, 2))


def _measure(inliers: int, matches: int, *, chance: float = 1e-3) -> TileEvidence:
    return measure_tile_evidence(
        inlier_xy=_VIEW[:inliers],
        residuals_px=np.full(inliers, 2.0),
        matches=matches,
        view_xy=_VIEW,
        expected_xy=_VIEW[:500],
        size=_SIZE,
        chance=chance,
    )


def test_matches_at_random_are_not_significant() -> None:
    """Of as many random matches the most that any similarity of two of them has as inliers."""
    matches, limit_px, found = 150, 6.0, []
    chance = np.pi * limit_px**2 / (_SIZE[0] * _SIZE[1])
    for trial in range(5):
        rng = np.random.default_rng(trial)
        here, there = (np.ravel(rng.uniform(0, _SIZE, (matches, 2)) @ [[1], [1j]]) for _ in range(2))
        pairs = rng.integers(0, matches, (3000, 2))
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        turns = (there[pairs[:, 0]] - there[pairs[:, 1]]) / (here[pairs[:, 0]] - here[pairs[:, 1]])
        pairs, turns = pairs[np.abs(np.abs(turns) - 1) < 0.2], turns[np.abs(np.abs(turns) - 1) < 0.2]
        shifts = there[pairs[:, 0]] - turns * here[pairs[:, 0]]
        found.append(int((np.abs(turns[:, None] * here + shifts[:, None] - there) < limit_px).sum(axis=1).max()))
    assert max(found) >= 3, "more than the two that make it"
    assert _measure(max(found), matches, chance=chance).significance < 3.0
    assert _measure(40, matches, chance=chance).significance > 4.5


def test_as_many_inliers_are_worth_less_in_a_smaller_view_and_of_more_matches() -> None:
    plain = _measure(20, 60).significance
    assert _measure(20, 60, chance=1e-2).significance < plain
    assert _measure(20, 200).significance < plain < _measure(30, 60).significance
    assert _measure(0, 60).significance == 0.0
    assert _measure(20, 19).significance == _measure(20, 20).significance


def test_shares_are_of_what_the_map_has_in_view() -> None:
    evidence = _measure(100, 250)
    assert evidence.inliers == pytest.approx(np.log(101))
    assert evidence.inlier_ratio == pytest.approx(0.4)
    assert evidence.support == pytest.approx(0.2)
    assert evidence.coverage == 1.0
    assert evidence.fit == pytest.approx(-np.log(2.0))
    assert _measure(3, 250).coverage <= 3 / 16
