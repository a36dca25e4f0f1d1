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

"""Everything that is known of a run's results: scores, absolute and relative pose errors, and a row for every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.evaluation.query_rows import make_query_rows
from vloc_ros.evaluation.scores import (
    check_pairing,
    compute_errors,
    score_negatives,
    score_results,
    score_without_errors,
)
from vloc_ros.evaluation.trajectory_alignment import ComparableResults, compare_with_truth
from vloc_ros.evaluation.trajectory_errors import absolute_pose_error, relative_pose_error
from vloc_ros.storage.results import ResultRecord

_NO_ERRORS = {"not_comparable": None, "alignment": None, "ape": None, "rpe": None}


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How results are compared with the ground truth.

    Attributes:
        align: fit place and turn of the results in the frame of the ground truth.
        correct_scale: fit their scale too.
        rpe_delta_m: length of the path over which motions are compared; None compares from pose to pose.
        truth_metric: whether the lengths of the ground truth are metres; errors are in metres in any case.
    """

    align: bool = False
    correct_scale: bool = False
    rpe_delta_m: float | None = None
    truth_metric: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRun:
    """The scores of a run.

    Attributes:
        scores: values for JSON.
        comparable: the results in the frame of the ground truth; of negatives as they were found.
    """

    scores: dict[str, Any]
    comparable: ComparableResults


def score_run(
    records: Sequence[ResultRecord],
    truth: Sequence[Pose] | None,
    *,
    landmark_map: LandmarkMap,
    map_bytes: int,
    options: ScoringOptions,
    frame_id: str = "",
) -> ScoredRun:
    """Score the results of a run.

    Args:
        records: the results.
        truth: true map_from_rig of each; None for negatives.
        landmark_map: of the localizer.
        map_bytes: its size on disk.
        options: how they are compared.
        frame_id: frame of the scene of the ground truth; empty where the map has only one.

    Raises:
        InputError: there are no results, not as many true poses, or these are those of other images.
    """
    if truth is None:
        scores = score_negatives(records, map_bytes=map_bytes) | _NO_ERRORS | {"images": make_query_rows(records)}
        return ScoredRun(scores, ComparableResults(records))
    comparable = compare_with_truth(
        records,
        truth,
        landmark_map=landmark_map,
        align=options.align,
        correct_scale=options.correct_scale,
        truth_metric=options.truth_metric,
        frame_id=frame_id,
    )
    if comparable.not_comparable:
        scores = score_without_errors(records, map_bytes=map_bytes) | _NO_ERRORS
        scores |= {"not_comparable": comparable.not_comparable, "images": make_query_rows(records, truth=truth)}
        return ScoredRun(scores, comparable)
    return _score_comparable(records, comparable.truth_in_metres(truth), comparable, map_bytes, options, frame_id)


def _score_comparable(
    records: Sequence[ResultRecord],
    truth: Sequence[Pose],
    comparable: ComparableResults,
    map_bytes: int,
    options: ScoringOptions,
    frame_id: str,
) -> ScoredRun:
    """The scores, the alignment, the pose errors, and the rows, whose poses are as they were found."""
    moved = comparable.records
    check_pairing(moved, truth)
    errors = compute_errors(moved, truth, frame_id=frame_id)
    scores = {
        **score_results(moved, truth, map_bytes=map_bytes, frame_id=frame_id),
        **_NO_ERRORS,
        "alignment": comparable.alignment and comparable.alignment.as_values(),
        "ape": absolute_pose_error(errors),
        "rpe": relative_pose_error(moved, truth, frame_id=frame_id, delta_m=options.rpe_delta_m),
        "images": make_query_rows(records, truth=truth, errors=errors),
    }
    return ScoredRun(scores, comparable)
