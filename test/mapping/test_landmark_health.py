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

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plane_scene import make_plane_scene

from vloc_ros.core.map.covisibility import select_reference_keyframes
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.landmarks.health import LandmarkHealth, Mark, landmark_health
from vloc_ros.mapping.landmarks.observations import LandmarkObservations
from vloc_ros.mapping.maps.merge import merge_maps

WALL = make_plane_scene().landmark_map  # a landmark for each metre along it
NONE = -1


def by_number(landmark_map: LandmarkMap, seen: LandmarkObservations | None = None) -> dict[int, LandmarkHealth]:
    return {row.number: row for row in landmark_health(landmark_map, seen)}


def of_points(few: np.ndarray) -> LandmarkMap:
    """The wall, some of whose points are a landmark of their own, the last."""
    ids = WALL.landmark_ids.copy()
    ids[few] = len(WALL.landmarks)
    return replace(WALL, landmark_ids=ids, landmarks=LandmarkTable.numbered(len(WALL.landmarks) + 1))


def unseen(landmark_map: LandmarkMap, points: np.ndarray, keyframes: range) -> LandmarkMap:
    """The same map where some keyframes do not observe some points."""
    old = landmark_map.keyframes
    visible = [old.visible(k) for k in range(len(old))]
    visible = [v[~np.isin(v, points)] if k in keyframes else v for k, v in enumerate(visible)]
    offsets, indices = np.cumsum([0, *map(len, visible)]), np.concatenate(visible)
    return replace(landmark_map, keyframes=Keyframes(old.names, old.rotations, old.translations, offsets, indices))


def seen(*rows: tuple[int, int, int]) -> LandmarkObservations:
    """Keypoints as (image, landmark shown, landmark classified)."""
    return LandmarkObservations(*np.array(rows, np.int64).T)


def test_points_and_views_are_counted() -> None:
    rows, references = by_number(WALL), select_reference_keyframes(WALL)
    assert sorted(rows) == list(range(len(WALL.landmarks)))
    for number, row in rows.items():
        mine = np.flatnonzero(WALL.landmark_ids == number)
        seeing = [k for k in range(len(WALL.keyframes)) if np.isin(WALL.keyframes.visible(k), mine).any()]
        assert row.points == len(mine)
        assert row.keyframes == len(seeing)
        assert row.references == len(np.intersect1d(seeing, references))
        assert row.key == WALL.landmarks.keys[number]


def test_the_extent_is_metres_and_an_angle() -> None:
    scale = 3.0
    larger = replace(
        WALL,
        points=WALL.points * scale,
        keyframes=replace(WALL.keyframes, translations=WALL.keyframes.translations * 3),
    )
    rows, scaled = by_number(WALL), by_number(larger)
    middle = rows[2]  # a metre wide, three high, seen from a little more than a metre
    assert 2.0 < middle.extent_m < np.hypot(1, 3)
    assert middle.extent_rad == pytest.approx(middle.extent_m / 1.3, rel=0.2)
    for number, row in rows.items():
        assert scaled[number].extent_m == pytest.approx(scale * row.extent_m, rel=1e-4)
        assert scaled[number].extent_rad == pytest.approx(row.extent_rad, rel=1e-4)


def test_what_is_well_has_no_mark() -> None:
    assert not any(row.marks for row in landmark_health(WALL) if 1 <= row.number <= 3)


def test_few_points_are_marked_and_come_before_what_is_well() -> None:
    rows = landmark_health(of_points(WALL.keyframes.visible(3)[:10]))
    place = {row.number: place for place, row in enumerate(rows)}
    few = rows[place[len(WALL.landmarks)]]
    assert few.points == 10
    assert few.marks == (Mark.FEW_POINTS,)
    assert place[few.number] < min(place[row.number] for row in rows if not row.marks)


def test_few_views_are_marked() -> None:
    mine, keyframes = np.flatnonzero(WALL.landmark_ids == 2), range(len(WALL.keyframes))
    assert Mark.FEW_VIEWS not in by_number(WALL)[2].marks
    lonely = by_number(unseen(WALL, mine, keyframes[:-2]))[2]
    assert lonely.keyframes <= 2
    assert Mark.FEW_VIEWS in lonely.marks
    forgotten = by_number(unseen(WALL, mine, keyframes))[2]
    assert {Mark.FEW_VIEWS, Mark.NO_REFERENCE} <= set(forgotten.marks)


def test_a_landmark_without_points_is_reported() -> None:
    row = by_number(replace(WALL, landmarks=LandmarkTable.numbered(len(WALL.landmarks) + 1)))[len(WALL.landmarks)]
    assert (row.points, row.keyframes, row.extent_m, row.frame_id) == (0, 0, 0.0, "")


def test_a_landmark_is_recognised_where_most_keypoints_are_classified_as_it() -> None:
    rows = by_number(
        WALL,
        seen(
            *[(0, 1, 1)] * 4,
            *[(0, 1, 2)] * 2,
            *[(1, 1, 1)],
            *[(1, 1, 3)] * 3,
            *[(1, 1, NONE)],
            *[(2, 1, 0)] * 4,  # too few to be visible
            *[(1, 2, 2)] * 5,
        ),
    )
    found = rows[1].recognised
    assert found is not None
    assert (found.images, found.recognised_in, found.keypoints) == (2, 1, 11)
    assert found.accuracy == pytest.approx(5 / 11)
    assert found.confused_with == 3
    assert found.confused == pytest.approx(3 / 11)
    centres = [np.median(WALL.points[WALL.landmark_ids == number], axis=0) for number in (1, 3)]
    assert found.apart_m == pytest.approx(np.linalg.norm(centres[0] - centres[1]))
    assert rows[1].marks == (Mark.CONFUSED, Mark.LOW_ACCURACY)
    assert rows[2].recognised is not None
    assert rows[2].recognised.confused_with is None
    assert not rows[2].marks
    assert rows[0].recognised is None


def test_worst_first() -> None:
    order = landmark_health(WALL, seen(*[(0, 3, 1)] * 6, *[(0, 2, 2)] * 4, (0, 2, NONE), *[(0, 1, 1)] * 5))
    numbers = [row.number for row in order if not {Mark.FEW_VIEWS, Mark.FEW_POINTS} & set(row.marks)]
    assert numbers.index(3) < numbers.index(2) < numbers.index(1)


def test_what_is_confused_with_another_scene_is_no_distance_away() -> None:
    other = replace(WALL, name="other", scenes=(replace(WALL.scene(), frame_id="other"),))
    both = merge_maps([WALL, other], name="both", config=MappingConfig())
    there = len(WALL.landmarks) + 1
    rows = by_number(both, seen(*[(0, 1, there)] * 6))
    assert rows[1].recognised is not None
    assert (rows[1].recognised.confused_with, rows[1].recognised.apart_m) == (there, None)
    assert (rows[1].frame_id, rows[there].frame_id) == ("map", "other")
