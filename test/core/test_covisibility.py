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

"""Reference keyframes, and the landmarks that each observes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from synthetic import SyntheticScene

from vloc_ros.core.map.covisibility import LandmarkCovisibility, select_reference_keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable


def _divided(scene: SyntheticScene) -> LandmarkMap:
    """The room with four fine landmarks on each wall, by position along it, and each wall a coarse one."""
    points, wall = scene.landmark_map.points, scene.landmark_map.landmark_ids
    along = np.where(wall < 2, points[:, 0], points[:, 1])
    ids = wall * 4 + np.clip(((along + 3) / 1.5).astype(int), 0, 3)
    table = LandmarkTable(np.arange(16) * 7 - 5, (np.arange(16) // 4).astype(np.int32))
    return replace(scene.landmark_map, landmark_ids=ids.astype(np.int32), landmarks=table)


def test_references_are_few_and_observe_nearly_all(scene: SyntheticScene) -> None:
    landmark_map = _divided(scene)
    references = select_reference_keyframes(landmark_map)
    assert 4 <= len(references) < len(landmark_map.keyframes) / 2
    seen_at_all = np.unique(landmark_map.keyframes.point_indices)
    seen = np.unique(np.concatenate([landmark_map.keyframes.visible(int(k)) for k in references]))
    for wall in range(4):
        mine = landmark_map.landmarks.parents[landmark_map.landmark_ids] == wall
        assert mine[seen].sum() >= 0.9 * mine[seen_at_all].sum()
    assert np.array_equal(references, select_reference_keyframes(landmark_map))


def test_a_reference_is_most_similar_to_an_image_of_its_own_landmarks(scene: SyntheticScene) -> None:
    landmark_map = _divided(scene)
    covisibility = LandmarkCovisibility(landmark_map)
    for number, keyframe in enumerate(covisibility.references):
        seen = landmark_map.landmark_ids[landmark_map.keyframes.visible(int(keyframe))]
        landmarks, counts = np.unique(seen, return_counts=True)
        similarity = covisibility.similarity(landmarks, counts.astype(float))
        assert similarity.argmax() == number
        assert np.isclose(similarity[number], 1.0)
        assert similarity.max() <= 1.0 + 1e-9


def test_an_image_without_landmarks_is_similar_to_no_reference(scene: SyntheticScene) -> None:
    covisibility = LandmarkCovisibility(_divided(scene))
    assert not covisibility.similarity(np.zeros(0, np.int64), np.zeros(0)).any()


def test_the_points_of_coarse_landmarks(scene: SyntheticScene) -> None:
    landmark_map = _divided(scene)
    covisibility = LandmarkCovisibility(landmark_map)
    points = covisibility.points_of(np.array([0, 2]))
    wall = landmark_map.landmarks.parents[landmark_map.landmark_ids]
    np.testing.assert_array_equal(points, np.flatnonzero((wall == 0) | (wall == 2)))
    reference = 0
    seen = landmark_map.keyframes.visible(int(covisibility.references[reference]))
    shares = np.bincount(wall[seen], minlength=4) / len(seen)
    np.testing.assert_array_equal(
        covisibility.coarse_landmarks(reference, min_share=0.1), np.flatnonzero(shares >= 0.1)
    )
