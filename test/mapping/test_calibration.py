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

"""What left-out images tell of a map: how much it resembles itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from posed_points import extracting, make_posed_points

from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps import structure_calibration
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.maps.calibration import calibrate, count_localized, measure_self_similarity

RIGHT = [float(excess) for excess in range(1, 101)]


def test_a_map_that_resembles_itself_nowhere_shifts_no_score() -> None:
    assert measure_self_similarity(RIGHT, []).score_shift == 0.0


def test_what_was_accepted_where_it_does_not_belong_is_refused_afterwards() -> None:
    shift = measure_self_similarity(RIGHT, [1.5, 0.25]).score_shift
    assert shift == pytest.approx(-1.5, abs=0.01)
    assert 1.5 + shift < 0


def test_no_more_than_a_twentieth_of_the_left_out_images_is_lost() -> None:
    shift = measure_self_similarity(RIGHT, [60.0]).score_shift
    assert sum(excess + shift < 0 for excess in RIGHT) <= len(RIGHT) // 20
    assert shift < -4


def test_a_map_that_finds_only_wrong_poses_refuses_them() -> None:
    assert measure_self_similarity([], [2.0]).score_shift < -2.0


@pytest.mark.parametrize(("images", "localized"), [(7, 0), (40, 40), (100, 50), (3000, 60)])
def test_more_images_than_tell_something_are_not_localized(images: int, localized: int) -> None:
    centres = np.column_stack([0.1 * np.arange(images), np.zeros((images, 2))])
    assert count_localized(centres, 1.0) == pytest.approx(localized, abs=12)
    assert count_localized(centres, 1.0) <= 60


def test_a_map_without_images_has_the_points_that_enough_others_observe(monkeypatch: pytest.MonkeyPatch) -> None:
    maps: list[LandmarkMap] = []

    def calibrate_and_record(*args: Any, map_without: Any, **options: Any) -> Any:
        maps.append(map_without(np.array([5, 6])))
        return calibrate(*args, map_without=map_without, **options)

    monkeypatch.setattr(structure_calibration, "calibrate", calibrate_and_record)
    scene = make_posed_points(images=12)
    config = MappingConfig(vocabulary_words=8, pairs_per_image=6, calibration_gap_m=1.0, min_track_length=4)
    with extracting(scene.features):
        whole = build_map(scene.images(), name="row", config=config)
    keyframes = maps[0].keyframes
    assert [len(keyframes.visible(k)) for k in (5, 6)] == [0, 0]
    assert np.bincount(keyframes.point_indices, minlength=len(maps[0].points)).min() == 4
    assert len(maps[0].points) < len(whole.points)
