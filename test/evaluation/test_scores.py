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

"""Scores against values worked out by hand."""

import json

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.evaluation.scores import check_pairing, compute_errors, latency_ms, score_negatives, score_results
from vloc_ros.storage.results import ResultRecord

COVARIANCE = np.diag([0.01**2] * 3 + [np.deg2rad(0.1) ** 2] * 3)


def accepted(pose: Pose, covariance=COVARIANCE, times_ms=None) -> ResultRecord:
    result = LocalizationResult(Status.OK, pose, covariance, candidate="whole_map", times_ms=times_ms or {})
    return ResultRecord("image.jpg", 0, result)


def refused(status: Status = Status.TOO_FEW_MATCHES) -> ResultRecord:
    return ResultRecord("image.jpg", 0, LocalizationResult.refused(status, "why"))


def off_by(metres: float, degrees: float) -> Pose:
    return Pose.from_rotation_vector([0.0, 0.0, np.deg2rad(degrees)], [0.0, metres, 0.0])


def scored(records):
    return score_results(records, [Pose.identity()] * len(records), map_bytes=7)


def test_true_poses_of_other_images_are_refused_and_wrong_results_are_not():
    """Rows of another order, in part or in whole; of errors by accident only the scores tell."""
    truth = [Pose.from_rotation_vector([0, 0, 0.1 * k], [0.3 * k, 0, 0]) for k in range(10)]
    right = [accepted(pose) for pose in truth]
    check_pairing(right, truth)
    for other in (truth[::-1], truth[3:] + truth[:3]):
        with pytest.raises(InputError, match="10 of 10 accepted poses are those of another image"):
            check_pairing(right, other)
    wrong = [accepted(pose @ off_by(0.13, 3.0)) for pose in truth]
    check_pairing(wrong, truth)
    check_pairing([refused()] * 10, truth[::-1])
    behind = [accepted(pose) for pose in [*truth[1:], truth[-1] @ off_by(0.3, 0.0)]]  # by a clock that is off
    check_pairing(behind, truth)
    check_pairing(right[:3], truth[2::-1])


def test_medians_and_recall_count_refused_queries_as_infinitely_wrong():
    scores = scored([accepted(off_by(0.01, 1.0)), accepted(off_by(0.04, 3.0)), refused()])
    assert scores["queries"] == 3
    assert scores["accepted"] == 2
    assert scores["median_translation_m"] == pytest.approx(0.04)
    assert scores["median_rotation_deg"] == pytest.approx(3.0)
    assert scores["recall"] == {
        "2cm_2deg": pytest.approx(1 / 3),
        "5cm_5deg": pytest.approx(2 / 3),
        "25cm_2deg": pytest.approx(1 / 3),
        "50cm_5deg": pytest.approx(2 / 3),
        "5m_10deg": pytest.approx(2 / 3),
    }
    assert scores["map_bytes"] == 7
    assert scores["false_accepts"] == 0


def test_median_is_null_when_half_are_refused():
    scores = scored([accepted(off_by(0.01, 1.0)), refused()])
    assert scores["median_translation_m"] is None
    assert scores["median_rotation_deg"] is None
    assert '"median_translation_m": null' in json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize(
    ("metres", "degrees", "within"), [(0.02, 0.0, True), (0.0201, 0.0, False), (0.0, 1.9999, True), (0.0, 2.01, False)]
)
def test_recall_limits_are_inclusive_and_need_both(metres, degrees, within):
    assert scored([accepted(off_by(metres, degrees))])["recall"]["2cm_2deg"] == float(within)


@pytest.mark.parametrize(("metres", "degrees", "false"), [(0.5, 4.9, 0), (0.51, 0.0, 1), (0.0, 5.1, 1), (9.0, 90.0, 1)])
def test_an_accept_outside_50_cm_or_5_degrees_is_false(metres, degrees, false):
    assert scored([accepted(off_by(metres, degrees)), refused()])["false_accepts"] == false


def test_refusals_and_candidates_are_counted_by_name():
    scores = scored([refused(), refused(Status.NO_FEATURES), refused(), accepted(Pose.identity())])
    assert scores["refusals"] == {"too_few_matches": 2, "no_features": 1}
    assert scores["accepted_by_candidate"] == {"whole_map": 1}


def test_every_accept_of_a_negative_is_false():
    scores = score_negatives([accepted(Pose.identity()), refused(), refused()], map_bytes=1)
    assert scores["false_accepts"] == scores["accepted"] == 1
    assert scores["queries"] == 3
    assert scores["median_translation_m"] is None
    assert set(scores["recall"].values()) == {None}
    assert set(scores) == set(scored([refused()]))


def test_nothing_to_score_and_a_wrong_count_are_refused():
    with pytest.raises(InputError, match="2 true poses for 1 images"):
        score_results([refused()], [Pose.identity()] * 2, map_bytes=0)
    with pytest.raises(InputError, match="no results"):
        score_results([], [], map_bytes=0)
    with pytest.raises(InputError, match="no results"):
        score_negatives([], map_bytes=0)


def test_without_accepts_there_is_no_covariance_to_score():
    scores = scored([refused()])
    assert scores["covariance"] is None
    json.dumps(scores, allow_nan=False)


def test_correct_covariances_are_consistent_and_doubled_errors_are_not():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6)) * 0.01
    covariance = root @ root.T + COVARIANCE
    truth = [Pose.from_rotation_vector(rng.normal(size=3), rng.normal(size=3) * 5) for _ in range(2000)]

    def results_with(factor: float):
        errors = rng.multivariate_normal(np.zeros(6), covariance, size=len(truth)) * factor
        return [accepted(_moved(pose, error), covariance) for pose, error in zip(truth, errors, strict=True)]

    consistent = score_results(results_with(1.0), truth, map_bytes=0)["covariance"]
    assert consistent["nees_per_dof"] == pytest.approx(1.0, abs=0.05)
    assert consistent["position_nees_per_dof"] == pytest.approx(1.0, abs=0.05)
    assert consistent["inside_95"] == pytest.approx(0.95, abs=0.015)
    assert consistent["position_inside_95"] == pytest.approx(0.95, abs=0.015)
    overconfident = score_results(results_with(2.0), truth, map_bytes=0)["covariance"]
    assert overconfident["nees_per_dof"] == pytest.approx(4.0, rel=0.05)
    assert overconfident["inside_95"] < 0.75


def _moved(pose: Pose, error: np.ndarray) -> Pose:
    turn = Pose.from_rotation_vector(error[3:], np.zeros(3))
    return Pose(turn.rotation @ pose.rotation, pose.translation + error[:3])


def test_a_singular_covariance_is_never_consistent():
    errors = compute_errors([accepted(off_by(0.01, 0.0), np.zeros((6, 6)))], [Pose.identity()])
    assert errors.pose_nees[0] == np.inf
    scores = scored([accepted(off_by(0.01, 0.0), np.zeros((6, 6)))])
    assert scores["covariance"]["nees_per_dof"] is None
    assert scores["covariance"]["inside_95"] == 0.0
    json.dumps(scores, allow_nan=False)


def test_latency_sums_stages_and_leaves_out_queries_that_did_not_reach_one():
    latency = latency_ms([{"features": 10.0, "pose": 4.0}, {"features": 20.0}])
    assert latency["pose"] == {"p50": 4.0, "p95": 4.0, "p99": 4.0}
    assert latency["features"]["p50"] == 15.0
    assert latency["after_features"]["p50"] == 2.0
    assert latency["total"]["p50"] == pytest.approx(17.0)
    assert latency["total"]["p99"] == pytest.approx(19.94)
