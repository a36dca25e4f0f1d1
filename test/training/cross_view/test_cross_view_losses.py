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

"""Losses of pairs by overlap."""

import math

import pytest
import torch

from training.cross_view.losses import cosine_distillation_loss, hardest_triplet_loss, overlap_contrastive_loss

ONE = torch.tensor(1.0)


def test_two_positives_share_the_target_by_their_overlap() -> None:
    rows = torch.eye(3)
    overlap = torch.tensor([[0.6, 0.2, 0.0], [0.2, 0.6, 0.0], [0.0, 0.0, 1.0]])
    found = overlap_contrastive_loss(rows, rows, overlap, scale=ONE, min_overlap=0.1)
    logs = torch.eye(3).log_softmax(dim=1)
    wanted = overlap / overlap.sum(dim=1, keepdim=True)
    assert found.item() == pytest.approx(-(wanted * logs).sum(dim=1).mean().item())


def test_pairs_that_overlap_little_are_neither() -> None:
    rows, little = torch.eye(2, requires_grad=True), torch.tensor([[1.0, 0.05], [0.05, 1.0]])
    loss = overlap_contrastive_loss(rows, rows, little, scale=ONE, min_overlap=0.2)
    loss.backward()
    assert loss.item() == pytest.approx(0.0)
    assert torch.isfinite(rows.grad).all()


def test_negatives_may_share_some_ground() -> None:
    rows, overlap = torch.eye(2), torch.tensor([[1.0, 0.3], [0.3, 1.0]])
    left_out, apart = (
        overlap_contrastive_loss(rows, rows, overlap, scale=ONE, min_overlap=0.5, max_negative=most)
        for most in (0.2, 0.3)
    )
    assert left_out.item() == pytest.approx(0.0)
    assert apart.item() == pytest.approx(math.log1p(math.exp(-1.0)))


def test_a_batch_without_positives_adds_nothing() -> None:
    assert overlap_contrastive_loss(torch.eye(2), torch.eye(2), torch.zeros(2, 2), scale=ONE, min_overlap=0.2) == 0


def test_the_hardest_negative_shares_no_ground() -> None:
    near, far = torch.tensor([0.8, 0.6]), torch.tensor([0.0, 1.0])
    queries = torch.stack([torch.tensor([1.0, 0.0]), near, far])
    overlap = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    loss = hardest_triplet_loss(queries, queries, overlap, margin=2.0)
    # of rows 0 and 1 the negative is row 2, of row 2 it is row 1
    apart = [math.sqrt(2), math.dist((0.8, 0.6), (0, 1)), math.dist((0.8, 0.6), (0, 1))]
    assert loss.item() == pytest.approx(sum(2.0 - d for d in apart) / 3, abs=1e-4)
    assert hardest_triplet_loss(queries, queries, torch.ones(3, 3), margin=2.0).item() == 0.0


def test_distillation_is_of_directions() -> None:
    rows = torch.eye(3)
    assert cosine_distillation_loss(5 * rows, rows).item() == pytest.approx(0.0, abs=1e-6)
    assert cosine_distillation_loss(rows, -rows).item() == pytest.approx(2.0)
