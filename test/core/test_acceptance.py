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

"""The acceptance model: scores, thresholds, confidence and reasons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.core.errors import ConfigError, MapError
from vloc_ros.core.localization.acceptance import (
    ADDITIVE,
    CAMERA_KIND,
    CLOUD_KIND,
    DRIVE_KIND,
    EVIDENCE_OF,
    KEYPOINT_KIND,
    TILE_KIND,
    AcceptanceModel,
    EvidenceTerm,
    log_odds_of_both,
)
from vloc_ros.core.localization.camera_cloud_evidence import CameraEvidence
from vloc_ros.core.localization.camera_drive_evidence import CameraDriveEvidence
from vloc_ros.core.localization.cloud_evidence import CloudEvidence
from vloc_ros.core.localization.evidence import EVIDENCE, KeypointEvidence
from vloc_ros.core.localization.tile_evidence import TileEvidence
from vloc_ros.storage.acceptance_tables import FOLDER, read_acceptance_model

SHIPPED = sorted(path.stem for path in FOLDER.glob("*.json"))
TERM = EvidenceTerm(np.array([0.0, 1.0]), np.array([-2.0, 0.0]))
NO_COMPETITOR = 30.0
MARGIN = EvidenceTerm(np.array([-0.1, 0.0, 0.1]), np.array([-3.0, 0.0, NO_COMPETITOR]))
MODEL = AcceptanceModel(
    "test", 4.0, dict.fromkeys(ADDITIVE, TERM), MARGIN, 0, np.array([1e-3, 1e-2]), np.array([3.0, 2.0]), negatives=3000
)
ALL = KeypointEvidence(**dict.fromkeys(EVIDENCE, 1.0))
VALUES = st.floats(-3.0, 8.0)


def test_all_evidence_scores_the_bias_and_each_piece_that_lacks_costs_its_own() -> None:
    assert MODEL.score(ALL) == pytest.approx(4.0)
    assert MODEL.score(replace(ALL, coverage=0.25)) == pytest.approx(4.0 - 1.5)
    assert MODEL.score(replace(ALL, coverage=-7.0)) == pytest.approx(2.0)


def test_no_evidence_outweighs_a_competing_pose() -> None:
    assert MODEL.score(replace(ALL, margin=0.0)) < 0
    assert MODEL.score(replace(ALL, margin=-0.1)) < -3
    sure = replace(MODEL, bias=100.0)
    assert sure.score(replace(ALL, margin=0.05)) == pytest.approx(NO_COMPETITOR / 2)


def test_too_few_inliers_are_wrong_whatever_else_speaks_for_them() -> None:
    strict = replace(MODEL, least_inliers=12)
    few, enough = (replace(ALL, inliers=float(np.log1p(count))) for count in (11, 12))
    assert strict.score(few) < -20 < strict.score(enough)
    assert strict.explain(few) == "11 inliers, at least 12 are needed"


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_both_of_two_conditions_are_as_likely_as_the_product(first: float, second: float) -> None:
    chance = 1 / (1 + np.exp(-first)) / (1 + np.exp(-second))
    assert 1 / (1 + np.exp(-log_odds_of_both(first, second))) == pytest.approx(chance)


_EVIDENCE_TYPES = {
    KEYPOINT_KIND: KeypointEvidence,
    CLOUD_KIND: CloudEvidence,
    TILE_KIND: TileEvidence,
    CAMERA_KIND: CameraEvidence,
    DRIVE_KIND: CameraDriveEvidence,
}


@pytest.mark.parametrize("table", SHIPPED)
@given(values=st.lists(VALUES, min_size=len(EVIDENCE), max_size=len(EVIDENCE)), more=st.floats(0.0, 5.0))
def test_more_evidence_never_counts_against_a_hypothesis(table: str, values: list[float], more: float) -> None:
    model = read_acceptance_model(table)
    make = _EVIDENCE_TYPES[model.kind]
    evidence = dict(zip(EVIDENCE_OF[model.kind], values, strict=False))
    for name in evidence:
        better = make(**{**evidence, name: evidence[name] + more})
        assert model.score(better) >= model.score(make(**evidence))


def test_a_table_of_another_kind_of_evidence_is_refused() -> None:
    mapping = read_acceptance_model("cloud").to_mapping()
    assert AcceptanceModel.from_mapping(mapping).kind == CLOUD_KIND
    with pytest.raises(MapError, match="expected inliers, inlier_ratio"):
        AcceptanceModel.from_mapping({**mapping, "kind": KEYPOINT_KIND})
    with pytest.raises(ConfigError, match=r"clouds\.false_accept_rate is 1e-09"):
        read_acceptance_model("cloud").threshold(1e-9)


def test_rootsift_and_xfeat_have_tables() -> None:
    assert {"rootsift", "xfeat"} <= set(SHIPPED)


def test_the_threshold_is_that_of_the_largest_supported_rate() -> None:
    assert MODEL.threshold(1e-3) == 3.0
    assert MODEL.threshold(5e-3) == 3.0
    assert MODEL.threshold(1e-2) == 2.0
    assert MODEL.threshold(0.0) == 3.0


def test_a_rate_that_the_negatives_do_not_support_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"3000 negatives of test support 0\.001 at least"):
        MODEL.threshold(1e-4)


def test_confidence_follows_the_share_of_negatives() -> None:
    assert MODEL.confidence(0.0, 0.5) == pytest.approx(0.5)
    assert MODEL.confidence(0.0, 0.9) == pytest.approx(0.1)
    assert MODEL.confidence(np.log(9.0), 0.9) == pytest.approx(0.5)
    assert 0.0 < MODEL.confidence(-1e6, 0.5) < 1e-6
    assert MODEL.confidence(1e6, 0.5) < 1.0


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_score_is_known_from_its_confidence(share: float) -> None:
    assert MODEL.score_of(MODEL.confidence(3.25, share), share) == pytest.approx(3.25)


def test_a_reason_names_the_evidence_that_weighs_most_against() -> None:
    assert "region" in MODEL.explain(replace(ALL, coverage=0.1, inliers=0.5))
    assert "inliers" in MODEL.explain(replace(ALL, coverage=0.5, inliers=0.1))


def test_a_table_that_does_not_ascend_or_lacks_a_term_is_refused() -> None:
    with pytest.raises(MapError, match="ascend"):
        EvidenceTerm(np.array([0.0, 1.0]), np.array([0.0, -1.0]))
    with pytest.raises(MapError, match="expected inliers"):
        AcceptanceModel("test", 0.0, {"inliers": TERM}, MARGIN, 0, np.ones(1), np.ones(1), 10)


@pytest.mark.parametrize(
    ("rates", "thresholds"), [([], []), ([0.1], [1.0, 2.0]), ([0.1, 0.01], [1.0, 2.0]), ([np.nan], [1.0])]
)
def test_thresholds_that_are_none_are_refused(rates: list[float], thresholds: list[float]) -> None:
    with pytest.raises(MapError, match="no thresholds"):
        AcceptanceModel("test", 0.0, MODEL.terms, MARGIN, 0, np.array(rates), np.array(thresholds), 10)


def test_a_table_survives_writing_and_reading() -> None:
    again = AcceptanceModel.from_mapping(MODEL.to_mapping())
    evidence = replace(ALL, coverage=0.3, margin=0.1)
    assert (again.score(evidence), again.threshold(1e-2)) == (MODEL.score(evidence), MODEL.threshold(1e-2))


def test_an_extractor_without_a_table_is_refused() -> None:
    with pytest.raises(MapError, match=r"training\.acceptance"):
        read_acceptance_model("orb")
