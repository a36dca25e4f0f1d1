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

"""Which images are compared."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.mapping.sfm.pairs import pairs_by_pose, pairs_by_similarity

_OPPOSITE = Pose.from_rotation_vector([0.0, np.pi, 0.0], np.zeros(3)).rotation


def _row(count: int) -> list[Pose]:
    return [Pose(np.eye(3), np.array([0.5 * k, 0.0, 0.0])) for k in range(count)]


def test_pairs_are_sorted_and_name_each_pair_once() -> None:
    pairs = pairs_by_pose(_row(30), per_image=6, max_angle_rad=1.0)
    assert pairs == sorted(set(pairs))
    assert all(i < j for i, j in pairs)


def test_the_next_images_of_the_sequence_are_compared_even_when_they_look_elsewhere() -> None:
    poses = [Pose(np.eye(3) if k % 2 else _OPPOSITE, np.array([0.5 * k, 0.0, 0.0])) for k in range(20)]
    pairs = set(pairs_by_pose(poses, per_image=2, max_angle_rad=1.0))
    assert {(k, k + 1) for k in range(19)} <= pairs


def test_a_place_seen_again_is_paired_and_the_opposite_direction_is_not() -> None:
    there = _row(20)
    same_way = pairs_by_pose(there + there, per_image=6, max_angle_rad=1.0)
    assert (3, 23) in same_way
    back = [Pose(_OPPOSITE, pose.translation) for pose in there]
    # even with room for every other image
    assert (3, 23) not in pairs_by_pose(there + back, per_image=39, max_angle_rad=1.0)


def test_the_number_of_pairs_grows_with_the_images_and_not_with_their_square() -> None:
    assert len(pairs_by_pose(_row(200), per_image=6, max_angle_rad=1.0)) <= 200 * (6 + 5)


def test_images_at_one_place_have_pairs() -> None:
    assert len(pairs_by_pose([Pose.identity()] * 4, per_image=2, max_angle_rad=1.0)) == 6


def test_likeness_of_few_images_takes_all_pairs() -> None:
    assert len(pairs_by_similarity(np.eye(6, dtype=np.float32), per_image=2, exhaustive_max=6)) == 15


def test_likeness_of_many_finds_what_looks_alike() -> None:
    places = np.eye(40, dtype=np.float32)
    places[35] = places[2]
    pairs = pairs_by_similarity(places, per_image=1, exhaustive_max=10)
    assert (2, 35) in pairs
    assert pairs == sorted(set(pairs))
    assert len(pairs) < 40 * 39 / 4


def test_no_image_is_paired_with_itself_where_there_are_few() -> None:
    pairs = pairs_by_similarity(np.eye(4, dtype=np.float32), per_image=10, exhaustive_max=0)
    assert pairs == [(i, j) for i in range(4) for j in range(i + 1, 4)]


def test_the_next_sets_of_a_rig_are_compared_camera_by_camera() -> None:
    """Of two cameras that look apart, and a third one beside the first."""
    rig = [np.eye(3), _OPPOSITE, Pose.from_rotation_vector([0.0, 0.5, 0.0], np.zeros(3)).rotation]
    poses = [Pose(rotation, pose.translation) for pose in _row(20) for rotation in rig]
    sets = np.repeat(np.arange(20), 3)
    pairs = pairs_by_pose(poses, per_image=0, max_angle_rad=1.0, sets=sets)
    assert [pair for pair in pairs if pair[0] == 0] == [(0, 2), *((0, 3 * k + c) for k in range(1, 6) for c in (0, 2))]
    assert [pair for pair in pairs if pair[0] == 1] == [(1, 3 * k + 1) for k in range(1, 6)]
    assert pairs[-1] == (57, 59)
