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

"""Phase 2: a tree of places, classifiers on frozen descriptors, voting; and the leak of joint attention."""

import numpy as np
import pytest
import torch

from training.cross_view.config import HierarchyConfig
from training.cross_view.hierarchy import HierarchicalHead, PlaceTree, fit_head, vote
from training.cross_view.leak import JointAttention, Pairs, evaluate_ways
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

TILES, SITES, REGIONS = np.array(list("abcdef")), np.array(list("ssttuu")), np.array(list("xxxxyy"))


@pytest.fixture
def tree() -> PlaceTree:
    return PlaceTree.of(TILES, SITES, REGIONS)


def test_a_tree_knows_its_parents(tree: PlaceTree) -> None:
    sites, regions = tree.parents(tree.number(np.array(["d", "f"])))
    assert tree.sites[sites].tolist() == ["t", "u"]
    assert tree.regions[regions].tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("tiles", "sites", "regions"),
    [
        (np.array(list("abcdea")), SITES, REGIONS),  # a tile in two sites
        (TILES, SITES, np.array(list("xyxxyy"))),  # a site in two regions
        (TILES, SITES, np.array([""] * 6)),
    ],
)
def test_what_is_no_tree_is_refused(tiles: Array, sites: Array, regions: Array) -> None:
    with pytest.raises(InputError):
        PlaceTree.of(tiles, sites, regions)


def test_probabilities_of_all_tiles_sum_to_one(tree: PlaceTree) -> None:
    torch.manual_seed(0)
    found = HierarchicalHead(4, tree, width=8).predict(torch.randn(3, 4))
    assert found.exp().sum(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)


def test_a_head_learns_its_gallery(tree: PlaceTree) -> None:
    rows = np.eye(6, dtype=np.float32)
    head = fit_head(rows, np.arange(6), tree, HierarchyConfig(width=16, epochs=150))
    assert head.predict(torch.from_numpy(rows)).argmax(dim=1).tolist() == list(range(6))


def test_two_alike_neighbours_outvote_a_nearer_one() -> None:
    gallery = np.array([[1.0, 0.0], [0.8, 0.6], [0.8, 0.6], [-1.0, 0.0]])
    votes = vote(np.array([[1.0, 0.0]]), gallery, np.array([0, 1, 1, 0]), 2, 3)
    assert votes[0].tolist() == pytest.approx([2.0, 3.6])
    assert vote(np.array([[1.0, 0.0]]), gallery, np.array([0, 1, 1, 0]), 2, 1)[0].tolist() == [2.0, 0.0]


def test_partners_leak_into_descriptors_of_noise() -> None:
    """Views that have nothing in common are found by who was in the attention with them, and only then."""
    torch.manual_seed(0)
    count = 40
    noise = [torch.randn(count, 4, 8) for _ in range(2)]
    model = JointAttention(8)
    model.sides.data.zero_()
    # an attention that is the mean over everything in it, and no more: what a pair shares is that mean
    model.attention = _Mean()  # type: ignore[assignment]
    found = evaluate_ways(model, Pairs(*noise, torch.eye(count), np.eye(count, dtype=bool)))
    assert found["true partners known (leaked)"]["R@1"] == 1.0
    assert found["each alone"]["R@1"] < 0.2


class _Mean(torch.nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(dim=1, keepdim=True).expand_as(features)
