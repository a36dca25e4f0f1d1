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

"""Losses by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
import torch.nn.functional as F

from training.place_recognition.config import MiningConfig
from training.place_recognition.loss import (
    contrastive_loss,
    distillation_loss,
    listwise_loss,
    pairwise_distances,
    patch_distillation_loss,
    select_pairs,
)


def on_circle(*degrees: float) -> torch.Tensor:
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_distances() -> None:
    found = pairwise_distances(on_circle(0, 60, 180))
    assert torch.allclose(found, torch.tensor([[0, 1, 2], [1, 0, 3**0.5], [2, 3**0.5, 0]]), atol=1e-3)


def test_the_contrastive_loss_by_hand() -> None:
    descriptors = on_circle(0, 60, 180)
    share = torch.tensor([[1, 0.25, 0], [0.25, 1, 0.5], [0, 0.5, 1]])
    pairs = torch.zeros(3, 3, dtype=torch.bool)
    pairs[0, 1] = pairs[0, 2] = pairs[1, 2] = True
    near = 0.5 * 0.25 * 1 + 0.5 * 0.75 * 0.5**2
    far = 0.5 * 0.5 * 3
    found = contrastive_loss(descriptors, share, pairs, margin=1.5)
    assert float(found) == pytest.approx((near + 0 + far) / 3, rel=1e-5)
    assert float(contrastive_loss(descriptors, share, pairs & False, margin=1.5)) == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_the_minimum_of_the_contrastive_loss_is_where_distance_follows_overlap(share: float) -> None:
    apart = torch.linspace(0.01, 0.6, 60)
    pairs = torch.ones(2, 2, dtype=torch.bool)
    values = [
        float(
            contrastive_loss(
                on_circle(0, 2 * np.degrees(np.arcsin(distance / 2))),
                torch.tensor([[1, share], [share, 1]]),
                pairs & ~torch.eye(2, dtype=torch.bool),
                margin=0.5,
            )
        )
        for distance in apart.tolist()
    ]
    assert float(apart[int(np.argmin(values))]) == pytest.approx((1 - share) * 0.5, abs=0.011)


def test_the_listwise_loss_by_hand() -> None:
    descriptors, sigma = on_circle(0, 60, 180), 0.7
    share = torch.tensor([[1, 0.3, 0.1], [0.3, 1, 0], [0.1, 0, 1]])
    kernel = np.exp(-(np.array([[0, 1, 4], [1, 0, 3], [4, 3, 0]]) / (2 * sigma**2)))
    np.fill_diagonal(kernel, 0)
    found = kernel / kernel.sum(axis=1, keepdims=True)
    first = 0.75 * np.log(0.75 / found[0, 1]) + 0.25 * np.log(0.25 / found[0, 2])
    expected = (first - np.log(found[1, 0]) - np.log(found[2, 0])) / 3
    assert float(listwise_loss(descriptors, share, sigma=sigma)) == pytest.approx(expected, rel=1e-5)
    assert float(listwise_loss(descriptors, torch.eye(3), sigma=sigma)) == 0


def test_equal_descriptors_have_a_gradient() -> None:
    descriptors = torch.nn.functional.normalize(torch.ones(3, 4), dim=1).requires_grad_()
    contrastive_loss(descriptors, torch.zeros(3, 3), torch.ones(3, 3, dtype=torch.bool), margin=0.5).backward()
    assert descriptors.grad is not None
    assert descriptors.grad.isfinite().all()


def test_positives_and_the_nearest_negatives_are_selected() -> None:
    descriptors = on_circle(0, 10, 20, 40, 90)
    shared = torch.tensor([[9, 9, 0, 0, 0], [9, 9, 3, 0, 0], [0, 3, 9, 0, 0], [0, 0, 0, 9, 9], [0, 0, 0, 9, 9]])
    config, drawing = MiningConfig(hardest=1), torch.Generator().manual_seed(0)
    found = select_pairs(descriptors, shared >= 8, shared == 0, config, drawing)
    expected = {(0, 1), (1, 0), (3, 4), (4, 3), (0, 2), (1, 3), (2, 0), (2, 0), (3, 2), (4, 2)}
    assert {tuple(pair) for pair in found.nonzero().tolist()} == expected
    assert not found.diagonal().any()
    assert not found[1, 2]  # shares something, too little to be a positive
    cropped = shared.clone()
    cropped[0, 1] = cropped[1, 0] = 0  # crops without shared points of images that have some
    assert not select_pairs(descriptors, cropped >= 8, shared == 0, config, drawing)[0, 1]
    config = MiningConfig(negative_selection="random", hardest=2)
    some = select_pairs(descriptors, shared >= 8, shared == 0, config, drawing)
    assert ((some & (shared == 0)).sum(dim=1) <= 2).all()


def test_distillation_by_hand() -> None:
    student, teacher, sigma = on_circle(0, 60, 180), on_circle(0, 90, 120), 0.7
    total = 0.0
    for i in range(3):
        p, q = (
            np.array([np.exp(-float((e[i] - e[j]).square().sum()) / (2 * sigma**2)) for j in range(3) if j != i])
            for e in (teacher, student)
        )
        p, q = p / p.sum(), q / q.sum()
        total += float((p * np.log(p / q)).sum())
    assert float(distillation_loss(student, teacher, sigma=sigma)) == pytest.approx(total / 3, rel=1e-4)
    assert float(distillation_loss(teacher, teacher, sigma=sigma)) == pytest.approx(0, abs=1e-6)


def test_patch_distillation_by_hand() -> None:
    """Of shares of an image p and by the student q: the sum of p log(p / q)."""
    teacher, student = torch.tensor([[0.0, 2.0, -3.0]]), torch.tensor([[1.0, 2.0, -1.0]], requires_grad=True)
    p, q = (np.array([1 / (1 + math.exp(-x)) for x in logits]) for logits in ((0, 2, -3), (1, 2, -1)))
    p, q = p / p.sum(), q / q.sum()
    found = patch_distillation_loss(student, teacher)
    assert found.item() == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-5)
    found.backward()
    assert student.grad is not None
    assert student.grad[0, 2] > 0 > student.grad[0, 1]
    assert float(patch_distillation_loss(teacher, teacher)) == pytest.approx(0, abs=1e-7)


def test_the_sum_of_patch_weights_is_not_distilled() -> None:
    seldom = torch.full((2, 9), -6.0)
    assert float(patch_distillation_loss(torch.zeros(2, 9), seldom)) == pytest.approx(0, abs=1e-6)


def test_distillation_is_invariant_to_rotation() -> None:
    found = distillation_loss(on_circle(0, 60, 180), on_circle(30, 90, 210), sigma=0.5)
    assert float(found) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_as_precise_in_mixed_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    close = F.normalize(torch.ones(8) + 0.02 * torch.randn(6, 8), dim=1)
    exact = pairwise_distances(close)
    with torch.autocast("cpu", dtype):
        assert torch.equal(pairwise_distances(close), exact)
        assert distillation_loss(close, close.flip(0), sigma=0.2).dtype == torch.float32
