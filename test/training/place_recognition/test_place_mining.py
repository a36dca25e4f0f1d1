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

"""The mining of batches: positives of one place, negatives nearby."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from place_world import make_random_views, make_utm_images

from training.data.covisible_images import CovisibleImages
from training.data.overlap import DISTANCE, compute_overlap
from training.place_recognition.config import MiningConfig, PlaceFitConfig
from training.place_recognition.mining import Miner
from vloc_ros.core.geometry.pose import Array


def corridor() -> Array:
    """Views 0 to 9 in a row, each of which sees ten points and shares five of them with the next one."""
    visible = np.zeros((10, 60), bool)
    for k in range(10):
        visible[k, 5 * k : 5 * k + 10] = True
    return visible


def mine(views: CovisibleImages, **options: Any) -> Miner:
    mining = MiningConfig(**options)
    return Miner(views.posed, compute_overlap(views, kind=mining.overlap, min_shared=mining.min_shared), mining)


def test_images_without_points_are_mined_by_their_distance() -> None:
    miner = mine(CovisibleImages.without_points(make_utm_images(0, 5, 9, 80, 40, 30)), overlap=DISTANCE)
    assert miner.positives(0).tolist() == [2, 1]
    assert miner.near_by_pose(0).tolist() == [5, 4, 3]
    assert miner.anchors.tolist() == [0, 1, 2, 4, 5]


def test_hard_negatives_are_near_by_pose_or_by_covisibility() -> None:
    views = make_random_views(corridor())
    views.posed.positions[:] = np.outer(np.arange(10.0), [1, 0, 0])
    views.posed.positions[9] = [0.1, 0, 0]  # next to view 0, sees something else
    miner = mine(views, min_shared=4)
    assert miner.positives(4).tolist() == [3, 5]
    assert miner.near_by_pose(0)[0] == 9
    assert miner.near_by_covisibility(4).tolist() == [2, 6]
    assert set(np.flatnonzero(miner.negatives(4))) == {0, 1, 2, 6, 7, 8, 9}


def test_views_that_look_the_other_way_are_farther() -> None:
    views = make_random_views(np.eye(3, dtype=bool))
    views.posed.positions[:] = [[0, 0, 0], [1, 0, 0], [-1, 0, 0]]
    views.posed.rotations[1] = np.diag([-1.0, 1.0, -1.0])
    miner = mine(views)
    assert miner.near_by_pose(0).tolist() == [2, 1]


@pytest.mark.parametrize("kind", ["hard", "random"])
def test_a_group_is_an_anchor_its_positives_and_its_negatives(kind: str) -> None:
    views = make_random_views(corridor())
    miner = mine(views, negative_selection=kind, min_shared=4, positives=2, negatives=3)
    for _, _, batch in miner.list_batches(0, PlaceFitConfig(groups=2)):
        for first in range(0, len(batch), 6):
            anchor, group = batch[first], batch[first + 1 : first + 6]
            assert set(group[:2]) <= set(miner.positives(anchor))
            assert miner.negatives(anchor)[list(group[2:])].all()


def test_batches_follow_from_seed_and_epoch() -> None:
    views = make_random_views(corridor())
    miner = mine(views, min_shared=4)
    epochs = [
        [key.views for key in miner.list_batches(epoch, PlaceFitConfig(groups=3, seed=seed))]
        for epoch, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert len(epochs[0]) == miner.count_batches(3) == 4
    assert epochs[0] == epochs[1]
    assert epochs[0] != epochs[2] != epochs[3] != epochs[0]
    anchors = [batch[first] for batch in epochs[0] for first in range(0, len(batch), 6)]
    assert sorted(anchors) == list(range(10))


def test_an_image_that_shares_nothing_is_no_anchor() -> None:
    visible = corridor()
    visible[5] = False
    views = make_random_views(visible)
    assert 5 not in mine(views, min_shared=4).anchors
