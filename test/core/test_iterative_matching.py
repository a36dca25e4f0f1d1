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

"""The loop over the stages of a matcher: pruning, stopping, moved positions and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from descriptor_network import DescriptorNetwork

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.features.extractor_config import KeypointModelConfig, RootSiftConfig
from vloc_ros.core.features.iterative_matching import IterativeMatcher
from vloc_ros.core.features.matching_network import MatchableSet, check_extractor, normalise_positions
from vloc_ros.core.features.nearest_neighbours import match_mutual

DIMENSION = 16


def keypoints(count: int, *, seed: int = 0) -> MatchableSet:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(count, DIMENSION)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return MatchableSet(rng.uniform(-1, 1, (count, 2)).astype(np.float32), descriptors)


def shuffled(given: MatchableSet, order) -> MatchableSet:
    return MatchableSet(given.positions[order], given.descriptors[order])


def test_every_keypoint_finds_its_copy_whatever_the_order() -> None:
    first, order = keypoints(200), np.random.default_rng(1).permutation(200)
    found = IterativeMatcher(DescriptorNetwork(DIMENSION)).match(first, shuffled(first, order))
    assert np.array_equal(found.first, np.arange(200))
    assert np.array_equal(order[found.second], np.arange(200))
    assert (found.is_final, found.groups) == (True, 3)


def test_it_stops_when_the_matches_are_final() -> None:
    first = keypoints(50)
    network = DescriptorNetwork(DIMENSION, confident_from=1)
    assert IterativeMatcher(network).match(first, first).groups == 2
    assert IterativeMatcher(network, adaptive=False).match(first, first).groups == 3


def test_keypoints_without_a_match_are_removed_and_the_others_keep_their_rows() -> None:
    first = keypoints(400)
    kept = np.flatnonzero(first.descriptors[:, 0] >= 0)
    network = DescriptorNetwork(DIMENSION, unmatchable_below=0.0)
    found = IterativeMatcher(network).match(first, first)
    assert network.seen[0] == (400, 400)
    assert network.seen[1] == (len(kept), len(kept))
    assert np.array_equal(found.first, kept)
    assert np.array_equal(found.second, kept)


def test_pruning_leaves_enough_for_a_pose() -> None:
    network = DescriptorNetwork(DIMENSION, unmatchable_below=0.0)
    IterativeMatcher(network).match(keypoints(200), keypoints(90))
    assert network.seen[1] == (128, 90)


def test_positions_of_the_second_set_move_and_what_is_invisible_goes() -> None:
    first = keypoints(30)
    network = DescriptorNetwork(DIMENSION)
    run = IterativeMatcher(network).start(first, first)
    run.advance()
    positions = np.full((30, 2), np.nan, np.float32)
    positions[10:] = 0.5
    run.move_second(positions, np.arange(30) >= 10)
    found = run.advance()
    assert np.array_equal(found.first, np.arange(10, 30))
    assert np.array_equal(network.encoded[-1], positions[10:])
    run.move_second(positions, np.zeros(30, bool))  # a pose that shows nothing moves nothing
    assert len(run.advance()) == 20


@pytest.mark.parametrize("counts", [(0, 5), (5, 0), (0, 0)])
def test_nothing_matches_nothing(counts) -> None:
    found = IterativeMatcher(DescriptorNetwork(DIMENSION)).match(*map(keypoints, counts))
    assert (len(found), found.is_final) == (0, True)


def test_one_keypoint_matches_itself_and_of_5000_the_strongest_count() -> None:
    one = keypoints(1)
    assert len(IterativeMatcher(DescriptorNetwork(DIMENSION)).match(one, one)) == 1
    network = DescriptorNetwork(DIMENSION)
    IterativeMatcher(network, max_keypoints=64).match(keypoints(5000), keypoints(5000))
    assert network.seen[0] == (64, 64)


def test_descriptors_of_another_length_and_nan_are_refused() -> None:
    with pytest.raises(ModelError, match=r"have 16 values.* takes 128"):
        IterativeMatcher(DescriptorNetwork(128)).match(keypoints(4), keypoints(4))
    with pytest.raises(InputError, match="NaN"):
        MatchableSet(np.zeros((2, 2), np.float32), np.full((2, 4), np.nan, np.float32))
    with pytest.raises(InputError, match="expected"):
        MatchableSet(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))


def test_descriptors_of_another_extractor_are_refused() -> None:
    check_extractor(DescriptorNetwork(), RootSiftConfig())
    with pytest.raises(ModelError, match="xfeat"):
        check_extractor(DescriptorNetwork(), KeypointModelConfig(name="xfeat", model="xfeat", model_hash="a" * 64))


def test_positions_are_in_halves_of_the_longer_side() -> None:
    xy = np.array([[0, 0], [320, 240], [640, 480]], np.float32)
    assert normalise_positions(xy, 640, 480) == pytest.approx(np.array([[-1, -0.75], [0, 0], [1, 0.75]]))


def test_mutual_neighbours_pass_the_ratio_test_where_the_next_is_far() -> None:
    first = np.eye(4, dtype=np.float32)
    second = np.concatenate([first[::-1], first[:1] + 0.01])
    rows, columns = match_mutual(first, second, ratio=0.9)
    assert rows.tolist() == [0, 1, 2, 3]
    assert columns.tolist() == [3, 2, 1, 0]
    close = np.concatenate([first, first + 0.001]).astype(np.float32)
    assert len(match_mutual(first + 0.0005, close, ratio=0.9)[0]) == 0
    assert len(match_mutual(first[:0], close)[0]) == len(match_mutual(first, close[:1])[0]) == 0
