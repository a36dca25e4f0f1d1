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

"""Aerial maps by a keypoint network, which recognises nothing that is turned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from inference.keypoint_graphs import make_keypoint_model
from plain import CAMERA, SIZE_M, accept_many_inliers, look_down, make_ground, photograph

from vloc_ros.assembly import build_tile_search, find_tile_table
from vloc_ros.cli.main import main
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.localization.ground_view import AerialQuery, make_level
from vloc_ros.core.localization.tile_search import TileSearch
from vloc_ros.core.localization.tile_views import observe
from vloc_ros.core.query import View
from vloc_ros.geo.aerial_map import make_aerial_map
from vloc_ros.storage.maps import read_map, write_map

_GROUND = make_ground(1)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> TileSearch:
    folder = tmp_path_factory.mktemp("learned")
    model, config = make_keypoint_model(folder)
    landmark_map = make_aerial_map(
        [_GROUND],
        name="plain",
        datum=None,
        ground_sizes_m=(SIZE_M, 2 * SIZE_M),
        extractor=config,
        keypoint_model=model,
        tile_px=256,
    )
    write_map(landmark_map, folder / "map")
    read = read_map(folder / "map")
    assert read.keypoint_model is not None
    assert read.keypoint_model.hash == model.hash
    assert read.descriptor_statistics.same_point < read.descriptor_statistics.unrelated
    return build_tile_search(
        LocalizerConfig(), read, acceptance=accept_many_inliers(), calibration=CovarianceCalibration()
    )


def _query(yaw: float, *, heading: bool = False) -> AerialQuery:
    pose = look_down(14.0, -22.0, 75.0, yaw=yaw)
    view = View(photograph(_GROUND, pose), CAMERA)
    known = float(np.pi / 2 + yaw) if heading else None
    return AerialQuery(view, np.array([0.0, 0.0, 1.0]), 0.02, 75.0, yaw_rad=known)


@pytest.mark.parametrize(("yaw", "heading"), [(2.3, False), (-0.8, False), (2.3, True)])
def test_a_view_of_any_heading_is_located(search: TileSearch, yaw: float, heading: bool) -> None:
    result = search.localize(_query(yaw, heading=heading))
    assert result.map_from_rig is not None, result.reason
    error = result.map_from_rig.error_to(look_down(14.0, -22.0, 75.0, yaw=yaw))
    assert np.hypot(*error[:2]) < 0.5
    assert abs(error[5]) < 0.02


def test_a_known_heading_needs_one_view_and_an_unknown_one_those_all_around(search: TileSearch) -> None:
    known, unknown = (
        next(observe(_query(2.3, heading=heading), search._places, search._extractor)) for heading in (True, False)
    )
    assert [view.level.turn_rad for view in known] == pytest.approx([-2.3])
    turns = np.sort([view.level.turn_rad for view in unknown])
    assert np.diff(turns).max() == pytest.approx(2 * np.pi / len(turns))


def test_a_turned_view_shows_the_same_and_no_keypoints_of_its_corners(search: TileSearch) -> None:
    query = _query(0.3)
    level, turned = (make_level(query, finest_m=SIZE_M, turn_rad=turn) for turn in (0.0, 0.7))
    rays = np.array([[0.0, 0.0, 1.0], [0.2, -0.1, 1.0]])
    shown = [
        [
            cv2.getRectSubPix(one.image, (9, 9), tuple(map(float, xy - 0.5))).mean(axis=(0, 1))
            for xy in one.camera.project(rays @ one.level_from_camera.rotation.T)
        ]
        for one in (level, turned)
    ]
    np.testing.assert_allclose(shown[0], shown[1], atol=6)
    assert turned.radius_px == level.radius_px
    assert not turned.image[0, 0].any()
    for view in next(observe(query, search._places, search._extractor)):
        assert view.shows(view.features.xy).all()
        assert len(view.features) > 100


def test_the_command_makes_a_map_by_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datum, half_m = Datum(46.84, -91.99), SIZE_M * 450
    (top, left, _), (bottom, right, _) = (datum.geodetic(np.array([-v, v, 0.0])) for v in (half_m, -half_m))
    cv2.imwrite(str(tmp_path / "a.png"), _GROUND.image)
    header = "name,top_left_latitude,top_left_longitude,bottom_right_latitude,bottom_right_longitude"
    (tmp_path / "corners.csv").write_text(f"{header}\na.png,{top},{left},{bottom},{right}\n")
    model, _ = make_keypoint_model(tmp_path / "model")
    source = ["--tiles", str(tmp_path), "--corners", str(tmp_path / "corners.csv")]
    command = ["map", "aerial", "build", str(tmp_path / "map"), *source]
    assert main([*command, "--extractor", str(tmp_path / "model")]) == 0
    read = read_map(tmp_path / "map")
    assert read.extractor.model_hash == model.hash
    assert main([*command, "--extractor", str(tmp_path / "none")]) != 0
    assert "none" in capsys.readouterr().err


def test_a_table_is_that_of_the_keypoints(search: TileSearch) -> None:
    extractor = search._places.extractor
    assert find_tile_table(RootSiftConfig()) == "tile"
    assert find_tile_table(replace(extractor, model="xfeat")) == "tile_xfeat"
