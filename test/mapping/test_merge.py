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

"""Two walls in one map: each is localized in its own frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lidar_places import LIDAR, add_places, assert_places
from plane_scene import CAMERA, PlaneScene, make_plane_scene, poses
from posed_points import UTM

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig, MatcherConfig
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import Status
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import PosePrior, Query
from vloc_ros.core.retrieval.vlad import VLAD
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps import codec_conversion, merge
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.storage.maps import read_map, write_map

CONFIG = MappingConfig()
VIEWS = poses(6, seed=1)


def _in_frame(landmark_map: LandmarkMap, frame_id: str) -> LandmarkMap:
    return replace(landmark_map, scenes=(replace(landmark_map.scene(), frame_id=frame_id),))


def _restore(landmark_map: LandmarkMap) -> Array:
    """(P, D) descriptors of all points in the extractor's space."""
    return codec_conversion.restore_descriptors(landmark_map, np.arange(len(landmark_map.points)))


@pytest.fixture(scope="module")
def walls() -> dict[str, PlaneScene]:
    return {"hall": make_plane_scene(), "kitchen": make_plane_scene(seed=5)}


@pytest.fixture(scope="module")
def house(walls: dict[str, PlaneScene]) -> LandmarkMap:
    maps = [_in_frame(wall.landmark_map, frame) for frame, wall in walls.items()]
    return merge_maps(maps, name="house", config=CONFIG)


@pytest.fixture(scope="module")
def localizer(house: LandmarkMap) -> Localizer:
    return build_localizer(LocalizerConfig(), house)


@pytest.mark.parametrize("frame", ["hall", "kitchen"])
def test_each_wall_is_found_in_its_own_frame(frame: str, walls: dict[str, PlaneScene], localizer: Localizer) -> None:
    for view in VIEWS:
        result = localizer.localize(Query.single(walls[frame].image(view), CAMERA))
        assert (result.status, result.frame_id) == (Status.OK, frame)
        assert result.map_from_rig.distance_to(view)[0] < 0.02
        assert localizer.map.scene_of(result.inlier_points).frame_id == frame


@pytest.mark.parametrize("frame", ["hall", "kitchen"])
def test_retrieval_finds_the_wall_in_a_large_map(frame: str, walls: dict[str, PlaneScene], house: LandmarkMap) -> None:
    config = LocalizerConfig(candidates=CandidateConfig(whole_map_max_points=100, retrieval_top_k=4))
    result = build_localizer(config, house).localize(Query.single(walls[frame].image(VIEWS[2]), CAMERA))
    assert (result.candidate, result.frame_id) == ("retrieval/vlad", frame)


def test_what_a_scene_holds_is_what_its_map_held(walls: dict[str, PlaneScene], house: LandmarkMap) -> None:
    part, alone = house.part("kitchen"), walls["kitchen"].landmark_map
    np.testing.assert_array_equal(part.points, alone.points)
    np.testing.assert_array_equal(part.landmark_ids, alone.landmark_ids)
    np.testing.assert_array_equal(part.keyframes.translations, alone.keyframes.translations)
    for k in range(len(alone.keyframes)):
        np.testing.assert_array_equal(part.keyframes.visible(k), alone.keyframes.visible(k))
    assert house.keyframes.names[0] == "hall/0.png"
    assert len(house.landmarks) == sum(len(wall.landmark_map.landmarks) for wall in walls.values())


def test_the_codec_of_large_maps_is_fitted_to_a_part_and_fits_all(
    walls: dict[str, PlaneScene], monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = [_in_frame(wall.landmark_map, frame) for frame, wall in walls.items()]
    monkeypatch.setattr(merge, "_MAX_SAMPLES", 500)
    monkeypatch.setattr(codec_conversion, "_BLOCK", 333)
    whole = merge_maps(maps, name="house", config=CONFIG)
    given, kept = (np.concatenate([_restore(m) for m in some]) for some in (maps, [whole]))
    assert np.median(np.linalg.norm(kept - given, axis=1)) < 0.2  # unrelated ones lie 0.8 apart and more
    fitted_to = []
    monkeypatch.setattr(DescriptorCodec, "fit", lambda described, _: fitted_to.append(len(described)) or whole.codec)
    merge_maps(maps, name="house", config=CONFIG)
    assert fitted_to[0] < 1000 < len(given)


def test_a_prior_is_about_its_scene_alone(walls: dict[str, PlaneScene], localizer: Localizer) -> None:
    covariance = np.diag([0.01] * 3 + [0.001] * 3)
    for frame, candidate in (("kitchen", "prior"), ("hall", "whole_map")):
        query = Query.single(walls["kitchen"].image(VIEWS[1]), CAMERA, prior=PosePrior(VIEWS[1], covariance, frame))
        result = localizer.localize(query)
        assert (result.candidate, result.frame_id) == (candidate, "kitchen")
    with pytest.raises(InputError, match=r"the frame is 'garden', expected .*: hall, kitchen"):
        localizer.localize(replace(query, prior=PosePrior(VIEWS[1], covariance, "garden")))
    with pytest.raises(InputError, match="the map has 2 scenes"):
        localizer.localize(replace(query, prior=PosePrior(VIEWS[1], covariance)))


def test_an_image_that_two_scenes_explain_is_ambiguous(walls: dict[str, PlaneScene]) -> None:
    """The same wall in two frames, each with half of the points as they look; without a ratio both get matches."""
    wall, rng = walls["hall"].landmark_map, np.random.default_rng(0)
    noisy = np.clip(wall.codes + rng.normal(0, 8, wall.codes.shape), 0, 255).astype(np.uint8)
    even = np.arange(len(noisy))[:, None] % 2 == 0
    halves = [
        replace(_in_frame(wall, frame), codes=np.where(even == chosen, wall.codes, noisy))
        for frame, chosen in (("hall", True), ("copy", False))
    ]
    twice = merge_maps(halves, name="twice", config=CONFIG)
    query = Query.single(walls["hall"].image(VIEWS[0]), CAMERA)
    undecided = build_localizer(LocalizerConfig(matcher=MatcherConfig(ratio=1.0)), twice).localize(query)
    assert undecided.status is Status.AMBIGUOUS
    assert "in copy " in undecided.reason or "in hall " in undecided.reason
    assert not build_localizer(LocalizerConfig(), twice).localize(query).ok


def test_a_scene_far_from_zero_keeps_its_origin(walls: dict[str, PlaneScene]) -> None:
    hall, kitchen = (_in_frame(wall.landmark_map, frame) for frame, wall in walls.items())
    far = transform_map(hall, Similarity(1.0, np.eye(3), UTM))
    house = merge_maps([kitchen, far], name="house", config=CONFIG)
    assert not house.scene("kitchen").origin.any()
    np.testing.assert_array_equal(house.scene("hall").origin, far.scene().origin)
    np.testing.assert_array_equal(house.part("hall").points, far.points)
    localizer, covariance = build_localizer(LocalizerConfig(), house), np.diag([0.01] * 3 + [0.001] * 3)
    there = Pose(VIEWS[1].rotation, VIEWS[1].translation + UTM)
    for prior in (None, PosePrior(there, covariance, "hall")):
        result = localizer.localize(Query.single(walls["hall"].image(VIEWS[1]), CAMERA, prior=prior))
        assert (result.candidate, result.frame_id) == ("prior" if prior else "whole_map", "hall")
        assert result.map_from_rig.distance_to(there)[0] < 0.02


def test_places_of_all_maps_are_in_the_merged_map(walls: dict[str, PlaneScene], tmp_path: Path) -> None:
    hall, kitchen = (_in_frame(wall.landmark_map, frame) for frame, wall in walls.items())
    cellar = _in_frame(walls["hall"].landmark_map, "cellar")
    maps = [add_places(hall, 0), kitchen, add_places(cellar, 2, count=2)]
    write_map(merge_maps(maps, name="house", config=CONFIG), tmp_path / "house")
    house = read_map(tmp_path / "house")
    assert_places(house, [(0, 0, "hall"), (0, 1, "hall"), (0, 2, "hall"), (2, 0, "cellar"), (2, 1, "cellar")])
    assert_places(house.part("cellar"), [(2, 0, "cellar"), (2, 1, "cellar")])
    assert not len(house.part("kitchen").places[LIDAR])
    np.testing.assert_array_equal(house.places[LIDAR].translations[3:], cellar.keyframes.translations[:2])


def test_an_index_of_places_by_two_encoders_is_dropped_and_the_places_stay(walls: dict[str, PlaneScene]) -> None:
    hall, kitchen = (_in_frame(wall.landmark_map, frame) for frame, wall in walls.items())
    house = merge_maps([add_places(hall, 0), add_places(kitchen, 1, encoder="e" * 64)], name="house", config=CONFIG)
    assert set(house.retrieval) == {VLAD}
    assert len(house.places[LIDAR]) == 6


def test_the_merged_map_comes_back_from_disk(house: LandmarkMap, tmp_path: Path) -> None:
    write_map(house, tmp_path / "house")
    back = read_map(tmp_path / "house")
    assert [(s.points, s.keyframes) for s in back.scenes] == [(s.points, s.keyframes) for s in house.scenes]
    assert back.frame_ids == ("hall", "kitchen")
    np.testing.assert_array_equal(back.codes, house.codes)


def test_a_merged_map_takes_in_another(walls: dict[str, PlaneScene], house: LandmarkMap) -> None:
    third = make_plane_scene(seed=9)
    whole = merge_maps([house, _in_frame(third.landmark_map, "cellar")], name="all", config=CONFIG)
    assert whole.frame_ids == ("hall", "kitchen", "cellar")
    assert whole.keyframes.names[0] == "hall/0.png"
    localizer = build_localizer(LocalizerConfig(), whole)
    for frame, wall in {**walls, "cellar": third}.items():
        result = localizer.localize(Query.single(wall.image(VIEWS[3]), CAMERA))
        assert (result.status, result.frame_id) == (Status.OK, frame)


def test_maps_that_do_not_go_together_are_refused(walls: dict[str, PlaneScene]) -> None:
    hall, kitchen = (wall.landmark_map for wall in walls.values())
    with pytest.raises(InputError, match=r"two scenes have the frame 'map'; .* --frames"):
        merge_maps([hall, kitchen], name="house", config=CONFIG)
    with pytest.raises(InputError, match=r"no metric scale; .*`vloc map align`"):
        merge_maps([hall, replace(_in_frame(kitchen, "k"), metric=False)], name="house", config=CONFIG)
    with pytest.raises(InputError, match="1 map cannot be merged"):
        merge_maps([hall], name="house", config=CONFIG)


def test_scenes_that_do_not_fit_their_map_are_refused(house: LandmarkMap) -> None:
    hall, kitchen = house.scenes
    one_less = range(kitchen.points.start, kitchen.points.stop - 1)
    for scenes, reason in (
        ((kitchen, hall), "do not follow each other"),
        ((hall,), "scenes hold"),
        ((hall, replace(kitchen, points=one_less)), "scenes hold"),
        ((hall, replace(kitchen, frame_id="hall")), "expected every frame once"),
        ((replace(hall, points=range(0)), kitchen), "do not follow each other"),
    ):
        with pytest.raises(MapError, match=reason):
            replace(house, scenes=scenes)
    moved = range(hall.keyframes.stop - 1)
    rest = range(hall.keyframes.stop - 1, kitchen.keyframes.stop)
    with pytest.raises(MapError, match="observe points of another"):
        replace(house, scenes=(replace(hall, keyframes=moved), replace(kitchen, keyframes=rest)))
