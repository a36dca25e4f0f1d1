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

"""Scores of directions, and the loss of several positives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from cross_modal_data import write_drive

from training.cross_modal import baselines
from training.cross_modal.baselines import compare_scan_contexts
from training.cross_modal.evaluate import encode_around
from training.cross_modal.loss import contrastive_loss
from training.cross_modal.records import RecordSet
from training.cross_modal.scores import PROTOCOLS, Protocol, Trial, make_trial, score
from training.cross_modal.sources import read_records
from training.cross_modal.validation import Validation
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array


def trial_of(right: list[list[int]]) -> Trial:
    matrix = np.array(right, bool)
    return Trial(np.ones_like(matrix), matrix)


def test_recall_and_chance_by_hand() -> None:
    trial = trial_of([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    found = score(np.array([[0.9, 0.1, 0.0, 0.0], [0.9, 0.8, 0.1, 0.0], [1.0, 0.0, 0.0, 0.0]]), trial)
    assert (found.first.hits, found.first.of) == (1, 2)
    assert found.chance_first == pytest.approx((1 / 4 + 2 / 4) / 2)


def test_similarities_that_are_not_finite_have_no_score() -> None:
    with pytest.raises(InputError, match="1 of 2 queries"):
        score(np.array([[np.nan, np.nan], [0.5, 0.1]]), trial_of([[1, 0], [1, 0]]))


class _Azimuths:
    """In place of a range model: directions of points instead of descriptors."""

    def encode_scan(self, points: Array, intensity: Array | None) -> Array:
        return np.arctan2(points[:, 1], points[:, 0])


def test_scans_all_around_are_those_of_a_turned_vehicle(tmp_path: Path) -> None:
    record = read_records(write_drive(tmp_path, "00", world=1, first_m=0.0, count=1))[0]
    before, after = (encode_around(_Azimuths(), record, yaw_rad=yaw) for yaw in (0.0, 0.3))
    np.testing.assert_allclose(np.exp(1j * (before - after)), np.exp(0.3j), atol=1e-4)


def test_data_every_five_metres_is_validated_whole(tmp_path: Path) -> None:
    drives = [write_drive(tmp_path, f"0{k}", world=1, first_m=float(k), count=4, spacing_m=4.99) for k in range(2)]
    found = Validation(RecordSet.join([[read_records(drive) for drive in drives]]))
    assert (len(found.queries), len(found.database)) == (4, 4)


def test_one_percent_of_a_large_database_is_several() -> None:
    right = np.zeros((1, 300), bool)
    right[0, 7] = True
    similarity = np.zeros((1, 300))
    similarity[0, [5, 6, 7]] = 1.0, 0.9, 0.8
    found = score(similarity, Trial(np.ones_like(right), right))
    assert (found.first.hits, found.percent.hits) == (0, 1)
    assert found.chance_percent == pytest.approx(0.01)
    # equal descriptors find nothing
    assert score(np.zeros((1, 300)), Trial(np.ones_like(right), right)).percent.hits == 0


def test_a_sequence_is_no_revisit_of_itself(tmp_path: Path) -> None:
    records = read_records(write_drive(tmp_path, "00", world=1, first_m=0.0, count=4))
    alone = RecordSet.join([[records]])
    with pytest.raises(InputError, match="revisit"):
        make_trial(alone, alone, PROTOCOLS["20 m"])
    found = make_trial(alone, alone, Protocol(30.0, revisit_s=2.5))
    assert found.right.sum() == 1
    assert found.right[3, 0]


def test_scan_context_finds_the_same_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RecordSet.join([[read_records(write_drive(tmp_path, "00", world=1, first_m=0.0, count=8))]])
    second = RecordSet.join([[read_records(write_drive(tmp_path, "01", world=1, first_m=1.0, count=8))]])
    allowed = np.ones((8, 8), bool)
    assert (compare_scan_contexts(second, first, allowed).argmax(axis=1) == np.arange(8)).mean() > 0.7
    # aligned are those that are allowed, though others have more similar rows
    monkeypatch.setattr(baselines, "_ALIGNED", 2)
    allowed[0, :5] = allowed[1, :7] = False
    found = compare_scan_contexts(second, first, allowed)
    assert (found[0, 5:] >= 0).sum() == 2
    assert found[1, 7] >= 0
    assert (found[0, :5] < 0).all()


def test_the_loss_leaves_out_what_is_neither_near_nor_far() -> None:
    descriptors = torch.nn.functional.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    positive = torch.eye(4, dtype=torch.bool)
    negative = ~positive
    whole = contrastive_loss(descriptors, descriptors, positive, negative, temperature=0.1)
    expected = torch.nn.functional.cross_entropy(descriptors @ descriptors.T / 0.1, torch.arange(4))
    assert float(whole) == pytest.approx(float(expected), rel=1e-5)
    negative[:2, 2:] = negative[2:, :2] = False
    apart = contrastive_loss(descriptors, descriptors, positive, negative, temperature=0.1)
    assert float(apart) < float(whole)
    none = contrastive_loss(descriptors, descriptors, torch.zeros_like(positive), negative, temperature=0.1)
    assert float(none) == 0.0
