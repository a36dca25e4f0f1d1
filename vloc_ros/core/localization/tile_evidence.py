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

"""Evidence for a pose above aerial tiles. What it weighs is fitted, see `acceptance`; for each more is better."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import lgamma, log, log1p

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.evidence import CLEAR_MARGIN

_CELLS = 4
_LEAST_EXPECTED = 3
_LEAST = 1e-2


@dataclass(frozen=True, slots=True)
class TileEvidence:
    """Evidence for one hypothesis; greater is better for every attribute.

    Attributes:
        inliers: natural logarithm of 1 + the matches that agree with the pose.
        inlier_ratio: inliers over matches.
        support: inliers over the keypoints that the map has in view, or over the view's where these are fewer.
        coverage: share of the parts of the view of which the map has keypoints that have an inlier.
        fit: negative natural logarithm of the inliers' median distance on the ground, in pixels of the tile.
        significance: natural logarithm of 1 + that of how improbable so many inliers are of as many matches that lie at
            random: a view of few pixels has some by chance (a contrario, Moisan and Stival 2004).
        margin: by how much its support exceeds that of the best competing pose, `CLEAR_MARGIN` at most and where there
            is none.
    """

    inliers: float
    inlier_ratio: float
    support: float
    coverage: float
    fit: float
    significance: float
    margin: float = CLEAR_MARGIN

    def values(self) -> Array:
        """(E,) float64, in the order of `TILE_EVIDENCE`."""
        return np.array([getattr(self, name) for name in TILE_EVIDENCE])


TILE_EVIDENCE = tuple(item.name for item in fields(TileEvidence))


def measure_tile_evidence(
    *,
    inlier_xy: Array,
    residuals_px: Array,
    matches: int,
    view_xy: Array,
    expected_xy: Array,
    size: tuple[int, int],
    chance: float,
) -> TileEvidence:
    """How a view and the map agree at a pose.

    Args:
        inlier_xy: (I, 2) pixels of the matches that agree.
        residuals_px: (I,) how far each is off on the ground, in pixels of the tile.
        matches: number of all matches.
        view_xy: (N, 2) pixels of the view's keypoints.
        expected_xy: (M, 2) pixels of the view where the map has keypoints.
        size: width and height of the view.
        chance: probability of a match that lies at random in the view to be an inlier.
    """
    inliers = len(inlier_xy)
    expected, found, shown = (_count(xy, size) for xy in (expected_xy, inlier_xy, view_xy))
    mapped = expected >= _LEAST_EXPECTED
    fewer = min(int(shown[mapped].sum()), len(expected_xy))
    median = float(np.median(residuals_px)) if inliers else 1.0 / _LEAST
    return TileEvidence(
        inliers=float(np.log1p(inliers)),
        inlier_ratio=inliers / max(matches, 1),
        support=min(1.0, inliers / max(fewer, 1)),
        coverage=float((found[mapped] > 0).mean()) if mapped.any() else 0.0,
        fit=-float(np.log(max(median, _LEAST))),
        significance=_significance(inliers, matches, chance),
    )


def _significance(inliers: int, matches: int, chance: float) -> float:
    """Of the number of false alarms: two matches make a similarity, the others agree with it by chance."""
    matches = max(matches, inliers)  # those at the edge of the view may be of ground beyond
    if inliers <= 2:
        return 0.0

    def log_binomial(n: int, k: int) -> float:
        return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)

    alarms = log(matches) + log_binomial(matches, inliers) + log_binomial(inliers, 2) + (inliers - 2) * log(chance)
    return log1p(max(0.0, -alarms))


def _count(xy: Array, size: tuple[int, int]) -> Array:
    """(16,) number of pixels in every part of the view."""
    column, row = (np.clip(_CELLS * xy[:, k] / size[k], 0, _CELLS - 1).astype(int) for k in range(2))
    return np.bincount(_CELLS * row + column, minlength=_CELLS**2)
