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

"""Aerial tiles beside landmarks: where they are put, what refuses them, and what keeps them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from aerial_ground import (
    CAMERA,
    DOWN,
    MAP_FROM_TILES,
    TILES_DATUM,
    hover,
    image_from,
    make_landmarks,
    make_map_of_both,
    make_tiles,
    map_datum,
    without_datum,
)
from learned_wall import LearnedWall

from vloc_ros.assembly import build_localizer
from vloc_ros.cli.main import main
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.features.extractor_config import KeypointModelConfig
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.localization.tile_places import find_tile_index
from vloc_ros.core.localization.views_from_above import FROM_ABOVE
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import FlightState, Query, View
from vloc_ros.core.retrieval.tile_encoder import AERIAL, TILE_VLAD
from vloc_ros.core.retrieval.tile_placement import restore_extractor, restore_placement
from vloc_ros.geo.georeference import georeference_map
from vloc_ros.geo.position_tables import EarthPositions
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.indexing.global_descriptors import describe_incomplete_indices
from vloc_ros.mapping.maps.aerial_tiles import add_aerial_tiles
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.compress import keep_points, rank_points
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.storage.maps import read_map, write_map

pytestmark = pytest.mark.usefixtures("each_image_once")

VIEW = hover(-50.0, 30.0, 70.0, yaw=1.0, tilt=(0.05, -0.04))


def with_datum(landmark_map: LandmarkMap, datum: Datum, frame_id: str = "map") -> LandmarkMap:
    return replace(landmark_map, scenes=(replace(landmark_map.scene(), datum=datum, frame_id=frame_id),))


def assert_is_located(landmark_map: LandmarkMap, map_from_camera: Pose, *, frame_id: str = "map") -> None:
    """By the tiles."""
    flight = FlightState(map_from_camera.rotation.T @ DOWN, 0.02)
    result = build_localizer(LocalizerConfig(), landmark_map).localize(
        Query((View(image_from(VIEW), CAMERA),), flight=flight)
    )
    assert (result.candidate, result.frame_id) == (FROM_ABOVE, frame_id), result.reason
    assert result.map_from_rig is not None
    assert result.map_from_rig.distance_to(map_from_camera)[0] < 0.3


def test_datums_say_where_tiles_lie() -> None:
    both, tiles = make_map_of_both(), make_tiles()
    expected = MAP_FROM_TILES.apply(tiles.places[AERIAL].translations)
    np.testing.assert_allclose(both.places[AERIAL].translations, expected, atol=0.01)
    assert both.places[AERIAL].pose(3).distance_to(MAP_FROM_TILES @ tiles.places[AERIAL].pose(3))[1] < 1e-4
    index = find_tile_index(both)
    assert index is not None
    placement = restore_placement(index.encoder_arrays)
    assert placement.position_std_m == pytest.approx(np.hypot(0.5, 0.1), abs=1e-6)
    assert placement.height_std_m == pytest.approx(np.hypot(0.5, 0.1), abs=1e-6)
    assert placement.yaw_std_rad == pytest.approx(0.01)
    # the landmarks' extractor finds fewer keypoints than the tiles'
    assert restore_extractor(index.encoder_arrays, both.extractor) == tiles.extractor != both.extractor


def test_a_map_of_both_is_read_as_it_was_written(tmp_path: Path) -> None:
    both = make_map_of_both()
    digest = write_map(both, tmp_path)
    read = read_map(tmp_path)
    assert write_map(read, tmp_path) == digest
    assert_is_located(read, VIEW)


def test_tiles_keep_their_keypoints_beside_landmarks_of_a_network(learned_wall: LearnedWall, tmp_path: Path) -> None:
    both = add_aerial_tiles(with_datum(read_map(learned_wall.map), map_datum()), make_tiles())
    assert both.extractor.model_hash
    write_map(both, tmp_path)
    assert_is_located(read_map(tmp_path), VIEW)


def test_unknown_heights_need_that_of_the_ground() -> None:
    landmarks = with_datum(make_landmarks(), replace(map_datum(), altitude_m=None))
    with pytest.raises(InputError, match="--ground-z"):
        add_aerial_tiles(landmarks, make_tiles())
    both = add_aerial_tiles(landmarks, make_tiles(), ground_z_m=MAP_FROM_TILES.translation[2])
    np.testing.assert_allclose(
        both.places[AERIAL].translations, MAP_FROM_TILES.apply(make_tiles().places[AERIAL].translations), atol=0.03
    )
    index = find_tile_index(both)
    assert index is not None
    assert restore_placement(index.encoder_arrays).height_std_m == 1.0


def test_maps_that_do_not_fit_together_are_refused() -> None:
    landmarks, tiles, both = make_landmarks(), make_tiles(), make_map_of_both()
    network = KeypointModelConfig(name="xfeat", model="xfeat", model_hash="0" * 64)
    index = tiles.retrieval[TILE_VLAD]
    for first, second, reason in (
        (without_datum(landmarks), tiles, "field has no datum"),
        (landmarks, without_datum(tiles), "plain has no datum"),
        (landmarks, landmarks, "field has no aerial tiles"),
        (landmarks, both, "landmarks of its own"),
        (both, tiles, "already"),
        (landmarks, with_datum(tiles, replace(TILES_DATUM, latitude=46.9)), "km from that of the map"),
    ):
        with pytest.raises(InputError, match=reason):
            add_aerial_tiles(first, second)
    from_network = tiles.with_retrieval(
        replace(index, encoder_arrays={**index.encoder_arrays, "extractor": _stored(network)})
    )
    with pytest.raises(InputError, match="a map carries one model"):
        add_aerial_tiles(landmarks, from_network)


def _stored(config: KeypointModelConfig) -> np.ndarray:
    text = json.dumps({"name": config.name, "model_hash": config.model_hash})
    return np.frombuffer(text.encode(), np.uint8)


def test_tiles_move_with_their_map_but_stay_level() -> None:
    both = make_map_of_both()
    turn = Pose.from_rotation_vector([0.0, 0.0, 1.2], [300.0, -200.0, 5.0])
    moved = transform_map(both, Similarity(1.0, turn.rotation, turn.translation), frame_id="field")
    assert_is_located(moved, turn @ VIEW, frame_id="field")
    leaning = Pose.from_rotation_vector([0.05, 0.0, 0.0], np.zeros(3))
    with pytest.raises(MapError, match=r"lean by 2\.9 deg"):
        transform_map(without_datum(both), Similarity(1.0, leaning.rotation, leaning.translation))


def test_another_datum_would_leave_tiles_where_the_former_one_put_them() -> None:
    positions = EarthPositions(("a",), np.zeros(1), np.zeros(1), None)
    with pytest.raises(InputError, match="add them again"):
        georeference_map(make_map_of_both(), np.zeros((1, 3)), positions, level=True)


def test_fewer_points_and_merging_keep_tiles() -> None:
    both = make_map_of_both()
    assert_is_located(keep_points(both, rank_points(both)[:200]), VIEW)
    landmarks = with_datum(make_landmarks(), map_datum(), "other")
    merged = merge_maps([landmarks, both], name="merged", config=MappingConfig())
    assert_is_located(merged, VIEW)
    assert not describe_incomplete_indices([landmarks, both], merged)
    assert merged.provenance["aerial"] == both.provenance["aerial"]


def test_tiles_of_several_aerial_maps_are_replaced_by_those_of_one() -> None:
    both, index = make_map_of_both(), make_map_of_both().retrieval[TILE_VLAD]
    other = with_datum(both, map_datum(), "other").with_retrieval(replace(index, encoder="of another aerial map"))
    merged = merge_maps([both, other], name="merged", config=MappingConfig())
    assert find_tile_index(merged) is None
    (line,) = describe_incomplete_indices([both, other], merged)
    assert "vloc map aerial add" in line
    assert_is_located(add_aerial_tiles(merged, make_tiles(), frame_id="map"), VIEW)


def test_tiles_that_are_placed_differently_do_not_take_the_placement_of_others() -> None:
    landmarks, tiles = make_landmarks(), make_tiles()
    near, far = (
        add_aerial_tiles(with_datum(landmarks, replace(map_datum(), position_std_m=std), frame_id), tiles)
        for frame_id, std in (("map", 0.05), ("other", 8.0))
    )
    for maps in ((near, far), (far, near)):
        merged = merge_maps(maps, name="merged", config=MappingConfig())
        assert find_tile_index(merged) is None
        (line,) = describe_incomplete_indices(maps, merged)
        assert "placed differently" in line
        assert "aerial" not in merged.provenance
    alike = merge_maps([near, with_datum(near, map_datum(), "other")], name="merged", config=MappingConfig())
    assert find_tile_index(alike) is not None


@pytest.mark.parametrize(
    ("datum", "said"),
    [
        (TILES_DATUM, False),
        (replace(TILES_DATUM, position_std_m=0.0), True),
        (replace(map_datum(), position_std_m=0.0), False),  # of an orthomosaic of the map
    ],
)
def test_the_command_says_what_is_taken_as_exact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], datum: Datum, said: bool
) -> None:
    write_map(make_landmarks(), tmp_path / "landmarks")
    write_map(with_datum(make_tiles(), datum), tmp_path / "tiles")
    words = ["map", "aerial", "add", str(tmp_path / "landmarks"), "--tiles", str(tmp_path / "tiles")]
    assert main([*words, "--out", str(tmp_path / "both"), "--ground-z", "0"]) == 0
    error = capsys.readouterr().err
    assert ("taken as exact" in error and "--datum-std METRES" in error) == said


def test_the_command_adds_tiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_map(make_landmarks(), tmp_path / "landmarks")
    write_map(make_tiles(), tmp_path / "tiles")
    words = ["map", "aerial", "add", str(tmp_path / "landmarks"), "--tiles", str(tmp_path / "tiles"), "--out"]
    assert main([*words, str(tmp_path / "both")]) == 0
    assert_is_located(read_map(tmp_path / "both"), VIEW)
    assert main(["map", "info", str(tmp_path / "both")]) == 0
    described = capsys.readouterr().out
    assert "75 aerial" in described
    assert "placed within m" in described
    assert main([*words, str(tmp_path / "tiles")]) == 1
    assert main([*words, str(tmp_path / "x"), "--ground-z", "nan"]) == 1
    assert "--ground-z is nan" in capsys.readouterr().err
    assert main([*words[:4], "--tiles", str(tmp_path / "none"), "--out", str(tmp_path / "x")]) == 1
    assert "vloc map aerial build" in capsys.readouterr().err
