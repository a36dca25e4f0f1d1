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

"""Scores of a matcher on held-out pairs: relative poses by PoseLib, and the matches themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np

from training.iterative_matching.batches import LabelledPair
from training.iterative_matching.views import PosedGeometry, View
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.geometry.two_view import estimate_relative_pose
from vloc_ros.evaluation.relative_pose_scores import pose_auc, relative_pose_error_deg

MAX_ERROR_PX = 1.0
# rows of the first view and of the second that match
MatchViews = Callable[[View, View], tuple[Array, Array]]


@dataclass(frozen=True, slots=True)
class MatchScores:
    """Scores of pairs; NaN without samples.

    Attributes:
        auc5: area under recall over pose error up to 5°, 0 to 100, of pairs with a pose.
        auc10: up to 10°.
        auc20: up to 20°.
        precision: share of the matches that are true, of those that are known to be true or false.
        recall: share of the true matches that are found.
        strangers: matches between images of different places, mean.
    """

    auc5: float
    auc10: float
    auc20: float
    precision: float
    recall: float
    strangers: float

    def as_dict(self) -> dict[str, float]:
        """Rounded, for people and manifests."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def score_matches(match: MatchViews, pairs: Iterable[LabelledPair]) -> MatchScores:
    """Score a matcher."""
    errors, counts, strangers = [], np.zeros(4), []
    for pair in pairs:
        rows, columns = match(pair.first, pair.second)
        if not pair.same:
            strangers.append(len(rows))
            continue
        counts += _count_true(pair, rows, columns)
        if isinstance(pair.first.geometry, PosedGeometry):
            errors.append(_pose_error_deg(pair, rows, columns))
    found = np.array(errors)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = float(counts[0] / counts[1]), float(counts[2] / counts[3])
    mean_strangers = float(np.mean(strangers)) if strangers else float("nan")
    return MatchScores(*(pose_auc(found, limit) for limit in (5, 10, 20)), precision, recall, mean_strangers)


def _count_true(pair: LabelledPair, rows: Array, columns: Array) -> Array:
    """True matches, matches that are known to be true or false, true matches again, and all there are."""
    true = pair.labels.first[rows] == columns
    # wrong is what has another match or none; of what nobody knows neither
    known = true | (pair.labels.first[rows] >= -1)
    return np.array([true.sum(), known.sum(), true.sum(), pair.labels.matches], np.float64)


def _pose_error_deg(pair: LabelledPair, rows: Array, columns: Array) -> float:
    first, second = pair.first.geometry, pair.second.geometry
    assert isinstance(first, PosedGeometry)
    assert isinstance(second, PosedGeometry)
    truth = second.scene_from_camera.inverse() @ first.scene_from_camera
    found = estimate_relative_pose(
        pair.first.xy[rows], pair.second.xy[columns], (first.camera, second.camera), max_error_px=MAX_ERROR_PX
    )
    return relative_pose_error_deg(found.second_from_first, truth)
