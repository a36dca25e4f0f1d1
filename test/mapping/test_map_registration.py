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

"""Two maps of one place become one scene; two places that look alike do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from lidar_places import LIDAR, add_places, assert_places
from plane_scene import make_plane_scene
from posed_points import UTM, extracting, make_posed_points

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.covariance import CovarianceCalibration, FrameUncertainty
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.vlad import VLAD
from vloc_ros.core.sources import PosedImage
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.maps.map_registration import Align, register_maps
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.simulation.scenario import DEFAULT_CAMERA, Lap, make_lap
from vloc_ros.simulation.world import make_aliased_world, make_variant, make_world

_CONFIG = MappingConfig(vocabulary_words=8, calibration_gap_m=0.0)
_CAMERA = DEFAULT_CAMERA.scaled(432, 324)
_OTHER_FRAME = Pose.from_rotation_vector([0.3, -1.2, 0.5], [4.0, -2.0, 1.0])
_FRAMES, _PATH = 64, 100


def _map(images: list[PosedImage], frame_id: str) -> LandmarkMap:
    return build_map(images, name=frame_id, frame_id=frame_id, config=_CONFIG)


def _of_lap(lap: Lap, which: slice, frame_id: str) -> LandmarkMap:
    images = [
        PosedImage(lap.name(k), lambda k=k: lap.image(k), lap.camera, lap.map_from_camera[k])
        for k in range(*which.indices(len(lap)))
    ]
    return _map(images, frame_id)


def _in_other_frame(landmark_map: LandmarkMap) -> LandmarkMap:
    return transform_map(landmark_map, Similarity(1.0, _OTHER_FRAME.rotation, _OTHER_FRAME.translation))


@pytest.fixture(scope="module")
def world():
    return make_world("room", 11)


@pytest.fixture(scope="module")
def lap(world) -> Lap:
    return make_lap(world, _FRAMES, _PATH, camera=_CAMERA)


@pytest.fixture(scope="module")
def room(lap: Lap) -> LandmarkMap:
    return _of_lap(lap, slice(0, None, 2), "room")


@pytest.fixture(scope="module")
def again(lap: Lap) -> LandmarkMap:
    return _in_other_frame(_of_lap(lap, slice(1, None, 2), "again"))


@pytest.fixture(scope="module")
def whole(room: LandmarkMap, again: LandmarkMap) -> LandmarkMap:
    (whole,), (line,) = register_maps([room, again], Align.AUTO)
    assert line.startswith("again is aligned with room: ")
    assert "% of what both should hold" in line
    return whole


def test_two_halves_of_a_room_become_one_scene(room: LandmarkMap, lap: Lap, whole: LandmarkMap) -> None:
    assert whole.frame_ids == ("room",)
    for k in range(len(room.keyframes), len(whole.keyframes)):
        truth = lap.map_from_camera[2 * (k - len(room.keyframes)) + 1]
        distance_m, angle_rad = whole.keyframes.pose(k).distance_to(truth)
        assert distance_m < 0.005
        assert angle_rad < 0.002
    assert whole.keyframes.names[len(room.keyframes)] == f"again/{lap.name(1)}"


def test_queries_are_localized_in_the_first_frame(room: LandmarkMap, whole: LandmarkMap, world) -> None:
    queries = make_lap(world, 8, 7, camera=_CAMERA)
    errors_m = []
    for landmark_map in (room, whole):
        localizer = build_localizer(LocalizerConfig(), landmark_map)
        results = [localizer.localize(Query.single(queries.image(k), _CAMERA)) for k in range(len(queries))]
        pairs = zip(results, queries.map_from_camera, strict=True)
        errors_m.append([r.map_from_rig.distance_to(truth)[0] for r, truth in pairs if r.map_from_rig is not None])
    assert len(errors_m[1]) >= max(len(errors_m[0]), 6)
    assert np.median(errors_m[1]) < 0.01
    assert np.max(errors_m[1]) < 0.05


def test_the_first_map_stays_as_it_was_and_duplicates_are_kept_once(
    room: LandmarkMap, again: LandmarkMap, whole: LandmarkMap
) -> None:
    points = len(room.points)
    for name in ("points", "codes", "landmark_ids"):
        np.testing.assert_array_equal(getattr(whole, name)[:points], getattr(room, name))
    np.testing.assert_array_equal(whole.landmarks.keys[: len(room.landmarks)], room.landmarks.keys)
    np.testing.assert_array_equal(whole.landmarks.keys[len(room.landmarks) :], again.landmarks.keys)
    assert whole.landmark_ids[points:].min() >= len(room.landmarks)  # its own, behind those of the first
    own = whole.landmarks.keys[whole.landmark_ids[points:]]
    assert np.isin(own, again.landmarks.keys).all()
    assert points + 0.1 * len(again.points) < len(whole.points) < points + 0.6 * len(again.points)
    seen = whole.keyframes.visible(len(room.keyframes))
    assert (seen < points).sum() > 20  # what the first map had of it
    assert len(seen) <= len(again.keyframes.visible(0))
    assert whole.retrieval[VLAD].encoder == room.retrieval[VLAD].encoder
    assert whole.retrieval[VLAD].items.tolist() == list(range(len(whole.keyframes)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda world: make_aliased_world(world, 5), "points agree with room", marks=pytest.mark.slow),
        pytest.param(
            lambda world: make_variant(world, 7, different=0.15),
            "% of what both should hold is surely in both",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_room_that_looks_alike_stays_one_of_its_own(make: Callable, reason: str, room: LandmarkMap, world) -> None:
    """Its copy along the very same path, which is the hardest to distinguish."""
    copy = _of_lap(make_lap(make(world), _FRAMES, _PATH, camera=_CAMERA), slice(0, None, 2), "copy")
    maps, (line,) = register_maps([room, copy], Align.AUTO)
    assert [m.frame_ids for m in maps] == [("room",), ("copy",)]
    assert "copy stays a scene of its own" in line
    assert reason in line


@pytest.fixture(scope="module")
def rows() -> tuple[LandmarkMap, LandmarkMap]:
    """Two maps of a row of points that overlap by a few images only."""
    row = make_posed_points(images=40, points=1000)
    images = row.images()
    with extracting(row.features):
        return _map(images[:22], "left"), _in_other_frame(_map(images[14:], "right"))


@pytest.fixture(scope="module")
def stranger() -> LandmarkMap:
    """A map of another row of points."""
    other = make_posed_points(images=12, points=500, seed=9)
    with extracting(other.features):
        return _map(other.images(), "stranger")


def test_maps_known_to_be_of_one_place_become_one_scene(rows: tuple[LandmarkMap, LandmarkMap]) -> None:
    left, right = rows
    calibration = CovarianceCalibration(3.0, np.full(6, 1e-6), 9)
    uncertain = FrameUncertainty(np.diag([1.0] * 6 + [0.01]), np.zeros(3))
    scene = replace(right.scene(), calibration=calibration, frame_uncertainty=uncertain)
    calibrated = replace(right, scenes=(scene,))
    (whole,), (line,) = register_maps([left, calibrated], Align.SAME)
    assert "right is aligned with left: " in line
    assert whole.scene().calibration.scale == 3.0
    assert whole.scene().calibration.floor.min() > 0
    assert whole.scene().calibration.samples == 0  # the other one's
    # it lies where the first one does, at the scale of the worse one
    assert np.diag(whole.scene().frame_uncertainty.covariance) == pytest.approx([0.0] * 6 + [0.01])
    apart_m = np.linalg.norm(whole.keyframes.translations[22:, 0] - 0.2 * np.arange(14, 40))
    assert apart_m < 0.1


@pytest.mark.parametrize("far", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("first", "second")), "both"])
def test_maps_far_from_zero_are_registered_as_near_it(rows: tuple[LandmarkMap, LandmarkMap], far: str) -> None:
    away = Similarity(1.0, np.eye(3), UTM)
    left, right = (
        transform_map(one, away) if far in (which, "both") else one
        for one, which in zip(rows, ("first", "second"), strict=True)
    )
    (near,), _ = register_maps(rows, Align.SAME)
    (whole,), _ = register_maps([left, right], Align.SAME)
    np.testing.assert_array_equal(whole.scene().origin, left.scene().origin)
    assert len(whole.points) == pytest.approx(len(near.points), abs=5)
    expected = near.keyframes.translations + (UTM if far != "second" else 0.0)
    np.testing.assert_allclose(whole.keyframes.translations + whole.scene().origin, expected, atol=1e-3)


def test_the_datum_of_either_map_is_that_of_the_scene(rows: tuple[LandmarkMap, LandmarkMap]) -> None:
    left, right = rows
    turned, datum = Pose.from_rotation_vector([0.0, 0.0, 0.4], [3.0, 1.0, 0.5]), Datum(47.4, 8.55, 450.0, 0.3)
    right_from_left = _OTHER_FRAME.inverse()
    level = transform_map(right, Similarity(1.0, right_from_left.rotation, right_from_left.translation))
    level = transform_map(level, Similarity(1.0, turned.rotation, turned.translation))
    placed = replace(level, scenes=(replace(level.scene(), datum=datum),))
    (whole,), (line,) = register_maps([left, placed], Align.SAME)
    assert "the datum is that of right" in line
    position = np.array([2.0, 1.0, 0.3])
    np.testing.assert_allclose(datum.local(*whole.scene().datum.geodetic(position)), turned.apply(position), atol=0.05)
    (both,), (line,) = register_maps([whole, placed], Align.SAME)
    assert both.scene().datum == whole.scene().datum
    assert "is 0.0 m away, the first is kept" in line
    (leaning,), (line,) = register_maps([right, whole], Align.SAME)
    assert leaning.scene().datum is None
    assert "the datum of left is lost" in line


def test_places_of_both_maps_are_in_the_scene(rows: tuple[LandmarkMap, LandmarkMap]) -> None:
    left, right = rows
    (whole,), _ = register_maps([add_places(left, 0), add_places(right, 1, count=2)], Align.SAME)
    assert_places(whole, [(0, k, "left") for k in range(3)] + [(1, k, "left") for k in range(2)])
    np.testing.assert_allclose(whole.places[LIDAR].translations[3:], whole.keyframes.translations[22:24], atol=1e-9)
    np.testing.assert_allclose(whole.places[LIDAR].rotations[3:], whole.keyframes.rotations[22:24], atol=1e-9)


def test_places_are_added_to_the_scene_that_they_are_in(
    rows: tuple[LandmarkMap, LandmarkMap], stranger: LandmarkMap
) -> None:
    """The second of two scenes, which has none yet."""
    left, right = rows
    house = merge_maps([stranger, left], name="house", config=_CONFIG)
    (whole,), _ = register_maps([house, add_places(right, 1)], Align.SAME)
    assert_places(whole, [(1, k, "left") for k in range(3)])
    assert_places(whole.part("left"), [(1, k, "left") for k in range(3)])


def test_maps_stay_apart_where_nothing_is_to_be_aligned(rows: tuple[LandmarkMap, LandmarkMap]) -> None:
    maps, lines = register_maps(rows, Align.NEVER)
    assert [m.frame_ids for m in maps] == [("left",), ("right",)]
    assert not lines


def test_maps_said_to_be_of_one_place_that_are_not_are_refused(
    rows: tuple[LandmarkMap, LandmarkMap], stranger: LandmarkMap
) -> None:
    with pytest.raises(InputError, match=r"stranger \(stranger\) cannot be aligned: hardly a point agrees"):
        register_maps([rows[0], stranger], Align.SAME)


def test_a_banner_that_hangs_in_two_places_does_not_make_them_one() -> None:
    hall, kitchen = (make_plane_scene(seed).landmark_map for seed in (0, 5))
    kitchen = replace(kitchen, scenes=(replace(kitchen.scene(), frame_id="kitchen"),))
    banner = np.flatnonzero(np.abs(hall.points[:, 1] - 1.5) < 0.1)
    points, codes = kitchen.points.copy(), kitchen.codes.copy()
    points[: len(banner)] = hall.points[banner]
    codes[: len(banner)] = kitchen.codec.encode(hall.codec.restore(hall.codec.decode(hall.codes[banner])))
    maps, (line,) = register_maps([hall, replace(kitchen, points=points, codes=codes)], Align.AUTO)
    assert len(maps) == 2
    assert "in one spot or on a line" in line
