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

"""Properties of the recogniser's network that hold for any weights."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch

from training.landmark_recognizer.config import ModelConfig
from training.landmark_recognizer.loss import RecognitionLoss
from training.landmark_recognizer.model import RecognitionNetwork, list_children
from training.networks.rotary import apply_rotary

PARENTS = [0, 2, 1, 2, 2, 0]
CONFIG = ModelConfig(width=32, layers=2, heads=4)


@pytest.fixture
def model() -> RecognitionNetwork:
    torch.manual_seed(0)
    return RecognitionNetwork(CONFIG, PARENTS, dimension=8).double().eval()


def keypoints(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rays, descriptors = (torch.randn(count, n, generator=generator, dtype=torch.float64) for n in (2, 8))
    return rays, descriptors


def test_rotated_products_depend_on_differences_of_angles_alone() -> None:
    queries, keys = torch.randn(2, 5, 8, dtype=torch.float64)
    angles, shift = torch.randn(5, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)

    def products(some: torch.Tensor) -> torch.Tensor:
        return apply_rotary(queries, some.cos(), some.sin()) @ apply_rotary(keys, some.cos(), some.sin()).T

    assert torch.allclose(products(angles), products(angles + shift))
    assert not torch.allclose(products(angles), products(2 * angles))


def test_outputs_are_invariant_to_a_shift_of_all_rays(model: RecognitionNetwork) -> None:
    rays, descriptors = keypoints(20)
    still = model(rays, descriptors)
    moved = model(rays + torch.tensor([0.3, -0.2]), descriptors)
    assert all(torch.allclose(a, b) for a, b in zip(still, moved, strict=True))
    assert not torch.allclose(model(1.5 * rays, descriptors)[0], still[0])


def test_padding_changes_nothing(model: RecognitionNetwork) -> None:
    (short, short_descriptors), (long, long_descriptors) = keypoints(6), keypoints(11, seed=1)
    rays, descriptors = torch.stack([long, long.flip(0)]), torch.stack([long_descriptors, long_descriptors.flip(0)])
    rays[0, :6], descriptors[0, :6] = short, short_descriptors
    mask = torch.ones(2, 11, dtype=torch.bool)
    mask[0, 6:] = False
    padded = model.encode(rays, descriptors, mask)
    assert torch.allclose(padded[0, :6], model.encode(short[None], short_descriptors[None])[0])
    assert torch.allclose(padded[1], model.encode(rays[1:], descriptors[1:])[0])


def test_the_order_of_keypoints_does_not_matter(model: RecognitionNetwork) -> None:
    rays, descriptors = keypoints(20)
    order = torch.randperm(20)
    _, landmarks, probabilities, _ = model(rays, descriptors)
    _, same_landmarks, shuffled, _ = model(rays[order], descriptors[order])
    assert torch.equal(landmarks, same_landmarks)
    assert torch.allclose(probabilities[order], shuffled)


def test_probabilities_of_a_keypoint_sum_to_one(model: RecognitionNetwork) -> None:
    background, landmarks, probabilities, coarse = model(*keypoints(9))
    assert sorted(landmarks[landmarks >= 0].tolist()) == list(range(6))
    assert torch.allclose(background + probabilities.sum(dim=(1, 2)), torch.ones(9), atol=1e-5)
    assert float(probabilities[:, landmarks < 0].detach().max()) == 0
    assert float((coarse.sum() + background.sum()).detach()) == pytest.approx(9, rel=1e-6)


def test_the_coarse_landmarks_with_most_evidence_are_refined() -> None:
    model = RecognitionNetwork(ModelConfig(width=32, layers=1, candidates=2), PARENTS, dimension=8).double()
    _, landmarks, probabilities, coarse = model(*keypoints(9))
    most = coarse.topk(2).indices
    assert torch.equal(landmarks, list_children(PARENTS)[most])
    assert torch.allclose(probabilities.sum(dim=(0, 2)), coarse[most], atol=1e-5)


def test_loss_and_output_index_the_same_landmarks(model: RecognitionNetwork) -> None:
    loss = RecognitionLoss(torch.tensor(PARENTS), background_weight=0.1)
    assert loss.coarse_of[[0, 1, -1]].tolist() == [0, 2, 3]
    for landmark, parent in enumerate(PARENTS):
        assert int(model.fine_of[parent, loss.child_index_of[landmark]]) == landmark
