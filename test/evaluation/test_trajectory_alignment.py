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

"""Results of a map whose frame is its own have an error only after an alignment, which the scores then state."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from plane_scene import SceneFolder
from test_scores import COVARIANCE, accepted, refused

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.evaluation.scored_run import ScoredRun, ScoringOptions, score_run
from vloc_ros.evaluation.scores import compute_errors
from vloc_ros.evaluation.table import format_scores
from vloc_ros.evaluation.trajectory_alignment import align_records, compare_with_truth
from vloc_ros.storage.results import ResultRecord

TRUTH_FROM_MAP = Similarity(
    2.5, Pose.from_rotation_vector([0.3, -0.2, 1.1], np.zeros(3)).rotation, np.array([4.0, 5, 6])
)
BOTH = ScoringOptions(align=True, correct_scale=True)


def truth(count: int = 8) -> list[Pose]:
    rng = np.random.default_rng(3)
    return [Pose.from_rotation_vector(rng.normal(0, 0.5, 3), rng.normal(0, 2, 3)) for _ in range(count)]


def in_map_frame(poses: list[Pose], std: float = 0.0) -> list[ResultRecord]:
    """Results that find the poses, up to noise, in a frame and a scale of their own."""
    rng, map_from_truth = np.random.default_rng(0), TRUTH_FROM_MAP.inverse()
    found = [
        map_from_truth.apply_to_pose(Pose(pose.rotation, pose.translation + rng.normal(0, std, 3))) for pose in poses
    ]
    return [replace(accepted(pose), stamp_ns=i) for i, pose in enumerate(found)]


def map_of(folder: SceneFolder, *, metric: bool = True, arbitrary: bool = True) -> LandmarkMap:
    landmark_map = folder.scene.landmark_map
    scene = replace(landmark_map.scene(), frame_is_arbitrary=arbitrary)
    return replace(landmark_map, metric=metric, scenes=(scene,))


def scored(records: list[ResultRecord], landmark_map: LandmarkMap, options: ScoringOptions) -> ScoredRun:
    return score_run(records, truth(len(records)), landmark_map=landmark_map, map_bytes=1, options=options)


@pytest.mark.parametrize(
    ("kind", "options", "remedy"),
    [
        ({"metric": False}, ScoringOptions(), "use --align --correct-scale"),
        ({"metric": False}, ScoringOptions(align=True), "use --align --correct-scale"),
        ({}, ScoringOptions(), "use --align"),
    ],
)
def test_what_is_not_comparable_has_no_number(
    scene_folder: SceneFolder, kind: dict[str, Any], options: ScoringOptions, remedy: str
) -> None:
    scores = scored(in_map_frame(truth()), map_of(scene_folder, **kind), options).scores
    assert scores["not_comparable"].endswith(remedy)
    assert {scores["median_translation_m"], scores["false_accepts"], scores["ape"], scores["covariance"]} == {None}
    assert {row["translation_m"] for row in scores["images"]} == {None}
    assert f"not comparable: {scores['not_comparable']}" in format_scores(scores)
    assert "median" not in format_scores(scores)


def test_an_alignment_recovers_the_similarity_and_is_stated(scene_folder: SceneFolder) -> None:
    scores = scored(in_map_frame(truth()), map_of(scene_folder, metric=False), BOTH).scores
    assert scores["ape"]["translation_m"]["max"] < 1e-9
    assert scores["recall"]["2cm_2deg"] == 1.0
    alignment = scores["alignment"]
    assert (alignment["method"], alignment["poses"]) == ("Sim3", 8)
    assert alignment["scale"] == pytest.approx(2.5)
    assert alignment["translation"] == pytest.approx([4.0, 5.0, 6.0])
    assert "Sim3 (Umeyama) over 8 accepted poses, scale 2.5" in format_scores(scores)
    json.dumps(scores, allow_nan=False)


def test_without_scale_lengths_stay_as_they_are(scene_folder: SceneFolder) -> None:
    scores = scored(in_map_frame(truth()), map_of(scene_folder), ScoringOptions(align=True)).scores
    assert (scores["alignment"]["method"], scores["alignment"]["scale"]) == ("SE3", 1.0)
    assert scores["ape"]["translation_m"]["rmse"] > 0.5


def test_a_map_in_the_frame_of_the_truth_is_compared_as_it_is(scene_folder: SceneFolder) -> None:
    found = [replace(accepted(pose), stamp_ns=i) for i, pose in enumerate(truth())]
    scores = scored(found, map_of(scene_folder, arbitrary=False), ScoringOptions()).scores
    assert (scores["not_comparable"], scores["alignment"]) == (None, None)
    assert scores["ape"]["translation_m"]["max"] == 0.0


def test_a_similarity_carries_the_covariance_so_that_nees_stays() -> None:
    poses = truth()
    found = in_map_frame(poses, std=0.01)
    true_in_map = [TRUTH_FROM_MAP.inverse().apply_to_pose(pose) for pose in poses]
    root = np.random.default_rng(1).normal(size=(6, 6)) * 0.01
    covariance = root @ root.T + COVARIANCE
    found = [replace(r, result=replace(r.result, covariance=covariance)) for r in found]
    before = compute_errors(found, true_in_map)
    after = compute_errors(align_records(found, TRUTH_FROM_MAP), poses)
    np.testing.assert_allclose(after.pose_nees, before.pose_nees, rtol=1e-6)
    np.testing.assert_allclose(after.position_std_m, 2.5 * before.position_std_m)


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_accepted_poses_give_no_alignment_and_no_number(scene_folder: SceneFolder, count: int) -> None:
    records = [*in_map_frame(truth())[:count], *[refused()] * (8 - count)]
    compared = compare_with_truth(records, truth(), landmark_map=map_of(scene_folder), align=True, correct_scale=True)
    assert compared.not_comparable.startswith(f"the accepted poses give no alignment: found {count} point pairs")
    scores = scored(records, map_of(scene_folder), BOTH).scores
    assert scores["ape"] is None
    assert "nan" not in format_scores(scores)


def test_true_poses_of_unknown_scale_have_errors_in_the_metres_of_the_map(scene_folder: SceneFolder) -> None:
    """Noise of 1 cm in the map is 1 cm, not the 2.5 that it is in the unit of the true poses."""
    landmark_map, unknown = map_of(scene_folder, arbitrary=False), replace(BOTH, truth_metric=False)
    exact = in_map_frame(truth(40))
    rng = np.random.default_rng(1)
    noisy = [
        replace(one, result=replace(one.result, map_from_rig=Pose(pose.rotation, pose.translation + offset)))
        for one, offset in zip(exact, rng.normal(0, 0.01, (40, 3)), strict=True)
        if (pose := one.result.map_from_rig) is not None
    ]
    run = scored(noisy, landmark_map, unknown)
    assert run.scores["ape"]["translation_m"]["rmse"] == pytest.approx(0.01 * 3**0.5, rel=0.2)
    assert run.scores["alignment"]["scale"] == pytest.approx(TRUTH_FROM_MAP.scale, rel=1e-2)
    np.testing.assert_allclose(run.scores["alignment"]["translation"], TRUTH_FROM_MAP.translation, atol=0.05)
    by_truth = scored(noisy, landmark_map, BOTH)
    ratio = by_truth.scores["ape"]["translation_m"]["rmse"] / run.scores["ape"]["translation_m"]["rmse"]
    assert ratio == pytest.approx(run.scores["alignment"]["scale"], rel=1e-9)
    shown = run.comparable.truth_in_map(truth(40))
    assert shown is not None
    found = [one.result.map_from_rig for one in exact]
    assert max(pose.distance_to(own)[0] for pose, own in zip(shown, found, strict=True) if own is not None) < 0.02


@pytest.mark.parametrize(
    ("metric", "options", "reason"),
    [
        (True, ScoringOptions(truth_metric=False), "the scale of the true poses is unknown; use --align --correct-"),
        (True, ScoringOptions(align=True, truth_metric=False), "the scale of the true poses is unknown"),
        (False, replace(BOTH, truth_metric=False), "neither the map nor the true poses are in metres"),
    ],
)
def test_true_poses_of_unknown_scale_have_no_errors_without_one(
    scene_folder: SceneFolder, metric: bool, options: ScoringOptions, reason: str
) -> None:
    run = scored(in_map_frame(truth()), map_of(scene_folder, metric=metric, arbitrary=False), options)
    assert run.scores["not_comparable"].startswith(reason)
    assert (run.scores["ape"], run.scores["median_translation_m"]) == (None, None)
