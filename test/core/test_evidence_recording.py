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

"""Recording of evidence: all candidates are tried, nothing is decided, and hypotheses are labelled by the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import SyntheticScene, looking

from training.acceptance.evidence_table import FOREIGN, OWN, EvidenceTable, RecordedQuery
from training.acceptance.recording import RecordingLocalizer, evidence_array
from vloc_ros.assembly import build_map_extractor
from vloc_ros.core.errors import VlocError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization import candidates
from vloc_ros.core.localization.evidence import EVIDENCE

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


@pytest.fixture
def localizer(scene: SyntheticScene) -> RecordingLocalizer:
    return RecordingLocalizer(scene.landmark_map, build_map_extractor(scene.landmark_map))


def test_every_candidate_is_tried_and_its_refinement_recorded(
    scene: SyntheticScene, localizer: RecordingLocalizer
) -> None:
    recorded = localizer.record(scene.features(VIEWPOINT, noise_px=0.5), scene.query())
    assert {one.result.candidate for one in recorded} == {"whole_map", "landmarks/voted"}
    assert len(recorded) >= 4
    assert evidence_array(recorded).shape == (len(recorded), len(EVIDENCE))


def test_samples_of_keypoints_are_not_recorded(
    scene: SyntheticScene, localizer: RecordingLocalizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = scene.features(VIEWPOINT, noise_px=0.5)
    whole = evidence_array(localizer.record(features, scene.query()))
    monkeypatch.setattr(candidates, "_SAMPLE", 100)
    assert np.array_equal(evidence_array(localizer.record(features, scene.query())), whole)


def test_labels_are_right_wrong_or_between(scene: SyntheticScene, localizer: RecordingLocalizer) -> None:
    frame_id = scene.landmark_map.frame_ids[0]
    one = localizer.record(scene.features(VIEWPOINT), scene.query())[0]
    between, wrong = (Pose(VIEWPOINT.rotation, VIEWPOINT.translation + np.array([off, 0.0, 0.0])) for off in (0.4, 0.6))
    assert [one.label(frame_id, truth) for truth in (VIEWPOINT, between, wrong, None)] == [1, -1, 0, 0]
    assert one.label("elsewhere", VIEWPOINT) == 0


def test_a_table_counts_queries_without_hypotheses_and_survives_a_file(tmp_path: Path) -> None:
    evidence = np.ones((2, len(EVIDENCE)), np.float32)
    found = RecordedQuery(evidence, [1, 0], OWN, condition=1, world=7, map=3, prior=0)
    none = RecordedQuery(evidence[:0], [], FOREIGN, condition=0, world=8, map=3, prior=1)
    EvidenceTable.of_queries([found, none]).save(tmp_path / "table.npz")
    table = EvidenceTable.load(tmp_path / "table.npz")
    assert (list(table.query), list(table.label)) == ([0, 0], [1, 0])
    assert list(table.queries_of(FOREIGN)) == [1]
    assert list(table.column("world")) == [7, 7]
    rest = EvidenceTable.of_queries([none, found]).without(FOREIGN)
    assert (list(rest.query), list(rest.label), rest.queries.tolist()) == ([0, 0], [1, 0], [[OWN, 1, 7, 3, 0]])


def test_evidence_of_another_version_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "old.npz", evidence=np.ones((1, 3)))
    with pytest.raises(VlocError, match="another version"):
        EvidenceTable.load(tmp_path / "old.npz")
