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
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from plain import CAMERA, SIZE_M, accept_many_inliers, look_down, make_ground, photograph

from vloc_ros.assembly import build_tile_search
from vloc_ros.cli.aerial_locate import _query as query_from
from vloc_ros.cli.aerial_locate import describe_answer, register
from vloc_ros.cli.main import main
from vloc_ros.core.config import LocalizerConfig, TileConfig
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.earth_pose import EarthPose
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.evidence import CLEAR_MARGIN
from vloc_ros.core.localization.ground_view import AerialQuery, make_level
from vloc_ros.core.localization.result import Status
from vloc_ros.core.localization.tile_places import AerialPlaces
from vloc_ros.core.localization.tile_search import TileSearch
from vloc_ros.core.localization.tile_views import observe
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import PosePrior, View
from vloc_ros.core.retrieval.tile_encoder import AERIAL, KEYPOINTS, restore_keypoints
from vloc_ros.geo.aerial_map import make_aerial_map
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.storage.maps import read_map, write_map

pytestmark = pytest.mark.usefixtures("each_image_once")

_DATUM = Datum(46.84, -91.99)
_GROUND = make_ground(1)
_DOWN = np.array([0.0, 0.0, 1.0])


def _make(ground: GroundImage) -> LandmarkMap:
    return make_aerial_map([ground], name="plain", datum=_DATUM, ground_sizes_m=(SIZE_M, 2 * SIZE_M), tile_px=256)


def _search(landmark_map: LandmarkMap, *, top_k: int = 8, fitted: bool = False) -> TileSearch:
    config, table = LocalizerConfig(tiles=TileConfig(retrieval_top_k=top_k)), None if fitted else accept_many_inliers()
    return build_tile_search(config, landmark_map, acceptance=table, calibration=CovarianceCalibration())


@pytest.fixture(scope="module")
def aerial_map() -> LandmarkMap:
    return _make(_GROUND)


@pytest.fixture(scope="module")
def search(aerial_map: LandmarkMap) -> TileSearch:
    return _search(aerial_map)


def _query(pose: Pose, *, gravity: bool = True, altitude: bool = True) -> AerialQuery:
    view = View(photograph(_GROUND, pose), CAMERA)
    down = pose.rotation.T @ np.array([0.0, 0.0, -1.0]) if gravity else None
    return AerialQuery(view, down, 0.02, float(pose.translation[2]) if altitude else None)


def test_the_map_is_read_as_it_was_written(aerial_map: LandmarkMap, tmp_path: Path) -> None:
    digest = write_map(aerial_map, tmp_path)
    read = read_map(tmp_path)
    assert read.scene().datum == _DATUM
    assert write_map(read, tmp_path) == digest
    places = aerial_map.places[AERIAL]
    # tiles overlap by half, and store the keypoints of their middles, so that none is stored twice at a ground size
    assert np.abs(restore_keypoints(places.payloads[KEYPOINTS].values)).max() == pytest.approx(64, abs=1)
    fine = places.translations[places.extents[:, 0] < 300 * SIZE_M, :2]
    apart = np.abs(fine[:, None] - fine).max(axis=-1)
    assert apart[apart > 0].min() == pytest.approx(128 * SIZE_M)
    assert np.count_nonzero(apart == 0) == len(fine)
    assert sorted(set(places.extents[:, 0].round(6))) == pytest.approx([256 * SIZE_M, 512 * SIZE_M])
    assert np.ptp(places.translations[:, 0]) > 0.75 * 900 * SIZE_M


@pytest.mark.parametrize(
    ("tilt", "gravity", "altitude"),
    [((0.0, 0.0), True, True), ((0.2, -0.1), True, True), ((0.0, 0.1), True, False), ((0.12, 0.05), False, False)],
)
def test_a_view_is_located(search: TileSearch, tilt: tuple[float, float], gravity: bool, altitude: bool) -> None:
    truth = look_down(14.0, -22.0, 75.0, yaw=2.2, tilt=tilt)
    result = search.localize(_query(truth, gravity=gravity, altitude=altitude))
    assert result.status is Status.OK, result.reason
    assert result.map_from_rig is not None
    assert result.covariance is not None
    error = result.map_from_rig.error_to(truth)
    assert np.hypot(*error[:2]) < (0.3 if gravity else 2.5)
    assert abs(error[5]) < 0.01
    assert (np.abs(error) < 6 * np.sqrt(np.diag(result.covariance)) + 0.02).all()
    answer = describe_answer(result, _DATUM)
    assert answer["status"] == "ok"
    assert answer["latitude"] == pytest.approx(_DATUM.geodetic(result.map_from_rig.translation)[0], abs=1e-7)
    earth = EarthPose.of_camera(_DATUM, result.map_from_rig, result.covariance)
    np.testing.assert_allclose(_DATUM.local(earth.latitude, earth.longitude)[:2], [14.0, -22.0], atol=2.5)
    if tilt == (0.0, 0.0):  # the upper edge points 2.2 rad counter-clockwise of north
        assert earth.heading_rad == pytest.approx(2 * np.pi - 2.2, abs=0.01)


def test_a_view_of_known_altitude_has_every_ground_size_of_the_map_that_it_can_fill(search: TileSearch) -> None:
    assert search._places.ground_sizes_m == pytest.approx([SIZE_M, 2 * SIZE_M])
    high, low, far = (_query(look_down(14.0, -22.0, altitude_m, yaw=0.0)) for altitude_m in (75.0, 20.0, 200.0))

    def sizes_m(query: AerialQuery) -> list[float | None]:
        return [view.level.ground_size_m for view in observe(query, search._places, search._extractor)]

    assert sizes_m(high) == pytest.approx([SIZE_M, 2 * SIZE_M], rel=0.01)
    assert len(sizes_m(low)) == 1, "a coarser view of it would have too few pixels"
    assert sizes_m(far) == pytest.approx([0.5]), "the image itself is coarser than the map"


def test_another_place_water_and_the_horizon_are_refused(search: TileSearch) -> None:
    pose = look_down(0.0, 0.0, 75.0)
    elsewhere = View(photograph(make_ground(2), pose), CAMERA)
    query = _query(pose)
    assert search.localize(replace(query, view=elsewhere)).status in (Status.TOO_FEW_MATCHES, Status.POSE_REJECTED)
    water = View(np.full((360, 480, 3), 120, np.uint8), CAMERA)
    assert search.localize(replace(query, view=water)).status is Status.NO_FEATURES
    horizon = search.localize(replace(query, down=np.array([0.0, 1.0, 0.0])))
    assert horizon.status is Status.NO_FEATURES
    assert "hardly any ground" in horizon.reason
    low = search.localize(replace(query, altitude_m=0.5))
    assert low.status is Status.NO_FEATURES
    assert "altitude of 0.5 m" in low.reason


def test_two_places_alike_are_ambiguous() -> None:
    part = _GROUND.image[150:750, 150:750]
    twice = np.concatenate([part, part], axis=1)
    ground = GroundImage(np.ascontiguousarray(twice), np.ones(twice.shape[:2], bool), -120.0, 60.0, SIZE_M)
    result = _search(_make(ground)).localize(_query(look_down(0.0, 0.0, 75.0, yaw=0.4)))
    assert result.status is Status.AMBIGUOUS


def test_what_is_known_excludes_what_contradicts_it(search: TileSearch) -> None:
    query = _query(look_down(14.0, -22.0, 75.0))
    assert search.find(replace(query, yaw_rad=np.pi / 2))
    assert not search.find(replace(query, yaw_rad=-np.pi / 2))
    assert not search.find(replace(query, altitude_m=30.0))


def test_a_view_far_finer_than_the_map_is_reduced_in_place() -> None:
    camera = Camera("PINHOLE", 1290, 970, (1000.0, 1000.0, 645.0, 485.0))
    image = cv2.resize(_GROUND.image[:646, :860], (1290, 970))
    level = make_level(AerialQuery(View(image, camera), _DOWN, altitude_m=30.0), finest_m=0.2)
    assert level.image.shape[:2] == pytest.approx((145, 193), abs=8)
    assert level.ground_size_m == pytest.approx(0.2)
    height, width = level.image.shape[:2]
    plain = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    assert np.hypot(*cv2.phaseCorrelate(*(one.mean(axis=2) for one in (plain, level.image)))[0]) < 0.6


def test_the_command_turns_a_heading_into_a_yaw_of_the_map() -> None:
    datum = Datum(46.84, -91.99, yaw_rad=0.3)
    truth = look_down(0.0, 0.0, 75.0, yaw=2.2)
    heading = np.degrees(EarthPose.of_camera(datum, truth, np.eye(6)).heading_rad)
    parser = ArgumentParser()
    register(parser)
    args = parser.parse_args(["map", "a.png", "--focal-px", "400", "--nadir", "--heading", f"{heading}"])
    query = query_from(args, np.zeros((360, 480, 3), np.uint8), {"map": datum})
    assert query.yaw_rad is not None
    # the upper edge of an image of yaw 0 points to y
    assert np.exp(1j * query.yaw_rad) == pytest.approx(np.exp(1j * (np.pi / 2 + 2.2)), abs=1e-6)
    for datums in ({"map": None}, {"a": datum, "b": datum}):
        with pytest.raises(InputError, match="--heading"):
            query_from(args, query.view.image, datums)


def test_tiles_alone_are_georeferenced_by_points(
    aerial_map: LandmarkMap, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_map(aerial_map, tmp_path / "map")
    words = ["map", "georeference", str(tmp_path / "map"), "--out", str(tmp_path / "out")]
    table, places = tmp_path / "positions.csv", [(0.0, 0.0, 0.0), (40.0, 0.0, 0.0), (0.0, 40.0, 0.0)]
    table.write_text("name,latitude,longitude\na.jpg,1,2\n")
    assert main([*words, "--exif", str(table)]) == 1
    assert "--points" in capsys.readouterr().err
    moved = Datum(46.8401, -91.9901)
    rows = [",".join(map(repr, (*one, *map(float, moved.geodetic(np.array(one))[:2])))) for one in places]
    table.write_text("\n".join(["x,y,z,latitude,longitude", *rows]))
    assert main([*words, "--points", str(table)]) == 0
    datum = read_map(tmp_path / "out").scene().datum
    assert datum is not None
    np.testing.assert_allclose(moved.local(datum.latitude, datum.longitude)[:2], 0.0, atol=0.01)


def test_what_the_command_needs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["aerial", "locate", str(tmp_path / "none"), "image.jpg"]
    assert main([*words, "--focal-px", "500"]) == 1
    assert "vloc map aerial build" in capsys.readouterr().err
    assert main([*words, "--focal-px", "-500"]) == 1
    assert "--focal-px is -500" in capsys.readouterr().err


def _expect(x: float, y: float, std_m: float = 5.0) -> PosePrior:
    """RViz knows no height."""
    return PosePrior(look_down(x, y, 0.0), np.diag([std_m**2, std_m**2, 1.0, 0.1, 0.1, 0.1]))


@pytest.mark.parametrize("altitude", [True, False])
def test_a_prior_finds_tiles_that_do_not_resemble_the_view(
    aerial_map: LandmarkMap, altitude: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, truth = _search(aerial_map, top_k=2), look_down(34.0, -22.0, 75.0, yaw=2.2)
    compare = AerialPlaces.compare
    # what is furthest away resembles it most
    away = -np.linalg.norm(aerial_map.places[AERIAL].translations[:, :2] - truth.translation[:2], axis=1)
    monkeypatch.setattr(AerialPlaces, "compare", lambda *args: compare(*args) / 1000 - away / 1000)
    query = _query(truth, altitude=altitude)
    assert not search.localize(query).ok
    assert not search.localize(replace(query, prior=_expect(-60.0, 60.0))).ok
    assert not search.localize(replace(query, prior=_expect(500.0, 0.0))).ok
    found = search.localize(replace(query, prior=_expect(38.0, -26.0)))
    assert found.map_from_rig is not None
    assert np.hypot(*found.map_from_rig.error_to(truth)[:2]) < 0.5
    # as uncertain as the map is large, it says nothing
    assert not search.localize(replace(query, prior=_expect(38.0, -26.0, 1000.0))).ok


@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize(("x", "top_k"), [(60.0, 1), (60.0, 2), (-60.0, 2), (60.0, 8), (-60.0, 8)])
def test_one_of_two_places_alike_is_not_accepted_and_a_prior_does_not_decide(
    x: float, top_k: int, fitted: bool
) -> None:
    ground = make_ground(1, side_px=600)
    left_m = ground.left_m - ground.top_m
    twice = replace(ground, image=np.hstack([ground.image] * 2), shown=np.hstack([ground.shown] * 2), left_m=left_m)
    search, truth = _search(_make(twice), top_k=top_k, fitted=fitted), look_down(60.0, 0.0, 60.0, yaw=0.4)
    down = truth.rotation.T @ np.array([0.0, 0.0, -1.0])
    query = AerialQuery(View(photograph(twice, truth), CAMERA), down, 0.02, 60.0)
    alone = search.localize(query)
    # the one tile that is retrieved is of the other place
    assert alone.status is (Status.OK if top_k == 1 else Status.AMBIGUOUS)
    expected = search.localize(replace(query, prior=_expect(x, 0.0, 1.0)))
    assert expected.status is Status.AMBIGUOUS


def test_a_prior_of_another_scene_is_refused(search: TileSearch) -> None:
    prior = replace(_expect(0.0, 0.0), frame_id="elsewhere")
    with pytest.raises(InputError, match="elsewhere"):
        search.localize(replace(_query(look_down(14.0, -22.0, 75.0)), prior=prior))


def test_poses_of_one_footprint_do_not_compete(search: TileSearch) -> None:
    one = search.find(_query(look_down(14.0, -22.0, 75.0)))[0]
    leaning = replace(one, scene_from_camera=look_down(44.0, -22.0, 69.0, tilt=(0.0, 0.4)))
    assert [evidence.margin for _, evidence in search.weigh([one, leaning])] == [CLEAR_MARGIN] * 2
    for other in (
        replace(one, middle=one.middle + 0.3 * one.footprint_m),
        replace(one, reach=one.reach * np.exp(0.4j)),
        replace(one, reach=0.7 * one.reach),
    ):
        assert [evidence.margin for _, evidence in search.weigh([one, other])] == [0.0] * 2


@pytest.mark.parametrize(
    "wrong",
    [{"altitude_m": 0.0}, {"altitude_m": np.nan}, {"down": np.array([0.0, 0.0, 9.81])}, {"yaw_rad": np.nan}],
)
def test_impossible_knowledge_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(_query(look_down(0.0, 0.0, 75.0)), **wrong)


def test_ground_without_texture_makes_no_map(aerial_map: LandmarkMap) -> None:
    grey = np.full((600, 600, 3), 90, np.uint8)
    with pytest.raises(InputError, match="no tile"):
        _make(GroundImage(grey, np.ones((600, 600), bool), 0.0, 0.0, SIZE_M))
    bare = replace(aerial_map, retrieval={})
    with pytest.raises(MapError, match="no aerial tiles"):
        _search(bare)
