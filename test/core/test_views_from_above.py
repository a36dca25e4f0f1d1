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

"""Views from above in a map with landmarks and tiles: which of them answers, and what it needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from aerial_ground import CAMERA, DOWN, hover, image_from, make_landmarks, make_map_of_both, make_tiles
from plain import make_ground, photograph

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig, TileConfig
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.ground_view import AerialQuery
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.tile_search import TileSearch
from vloc_ros.core.localization.views_from_above import FROM_ABOVE, _altitude_of
from vloc_ros.core.query import FlightState, PosePrior, Query, View
from vloc_ros.core.retrieval.tile_encoder import TILE_VLAD

pytestmark = pytest.mark.usefixtures("each_image_once")

ELSEWHERE = hover(-50.0, 30.0, 70.0, yaw=1.0, tilt=(0.05, -0.04))
ABOVE_LANDMARKS = hover(30.0, 20.0, 60.0, yaw=0.3)
# the landmarks are at the edge of its view: too few to be found in the whole map
AT_THE_EDGE = hover(-36.0, 20.0, 70.0, yaw=1.0, tilt=(0.05, -0.04))


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return build_localizer(LocalizerConfig(), make_map_of_both())


def query(pose: Pose, *, altitude_m: float | None = None, gravity: bool = True) -> Query:
    down = pose.rotation.T @ DOWN if gravity else None
    return Query((View(image_from(pose), CAMERA),), flight=FlightState(down, 0.02, altitude_m))


def error_of(result: LocalizationResult, pose: Pose) -> np.ndarray:
    assert result.status is Status.OK, result.reason
    assert result.map_from_rig is not None
    return result.map_from_rig.error_to(pose)


def test_tiles_are_tried_where_the_camera_is_expected(localizer: Localizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the rig, which is 40 m beside it; the frame of the landmarks is that of the prior."""
    rig_from_camera = Pose.from_rotation_vector([0.0, 0.1, 0.0], [40.0, 0.0, 0.0])
    rig = ELSEWHERE @ rig_from_camera.inverse()
    view = View(image_from(ELSEWHERE), CAMERA, rig_from_camera)
    prior = PosePrior(rig, np.diag([1.0, 4.0, 1.0, 0.0, 0.0, 0.01]))
    asked = list[AerialQuery]()
    answer = TileSearch.localize
    monkeypatch.setattr(TileSearch, "localize", lambda self, query: asked.append(query) or answer(self, query))
    result = localizer.localize(Query((view,), prior=prior, flight=FlightState(rig.rotation.T @ DOWN, 0.02, None)))
    assert np.abs(error_of(result, rig)[:2]).max() < 0.5
    (found,) = asked
    assert found.prior is not None
    np.testing.assert_allclose(found.prior.map_from_rig.translation, ELSEWHERE.translation, atol=1e-9)
    # the heading of the rig moves the camera beside it
    np.testing.assert_allclose(np.trace(found.prior.covariance[:3, :3]), 6.0 + 0.01 * 40**2, rtol=0.05)


@pytest.mark.parametrize("altitude_m", [None, 70.0])
def test_tiles_answer_where_landmarks_do_not(localizer: Localizer, altitude_m: float | None) -> None:
    result = localizer.localize(query(ELSEWHERE, altitude_m=altitude_m))
    assert result.candidate == FROM_ABOVE
    error = error_of(result, ELSEWHERE)
    assert result.covariance is not None
    assert np.abs(error[:3]).max() < 0.3
    assert np.abs(error[3:]).max() < 0.01
    # 0.5 m of the ground images, 0.1 m of the map, and a turn by 0.01 rad about a middle 60 m away
    stds = np.sqrt(np.diag(result.covariance))
    assert stds[2] > 0.5
    assert 0.51 < np.hypot(*stds[:2]) / np.sqrt(2) < 1.5
    assert stds[5] > 0.01
    # all of which other poses by the tiles have in common
    of_tiles = np.sqrt(np.diag(result.frame_covariance))
    assert of_tiles[2] > 0.5
    assert 0.51 < np.hypot(*of_tiles[:2]) / np.sqrt(2) < 1.5
    assert of_tiles[5] == pytest.approx(0.01, rel=0.01)
    assert 0.1 < np.sqrt(np.diag(result.covariance - result.frame_covariance)[:3].max()) < 1.0
    assert "tiles" in result.times_ms
    assert "features" in result.times_ms


def test_landmarks_come_first(localizer: Localizer) -> None:
    result = localizer.localize(query(ABOVE_LANDMARKS))
    assert result.candidate == "whole_map"
    assert np.abs(error_of(result, ABOVE_LANDMARKS)[:3]).max() < 0.3


def test_the_pose_by_tiles_is_a_prior_for_the_landmarks(localizer: Localizer) -> None:
    alone = localizer.localize(replace(query(AT_THE_EDGE), flight=FlightState()))
    assert not alone.ok
    result = localizer.localize(query(AT_THE_EDGE))
    assert result.candidate == "aerial/prior"
    assert np.abs(error_of(result, AT_THE_EDGE)[:3]).max() < 0.5
    assert result.covariance is not None
    assert np.sqrt(np.diag(result.covariance)[:3]).max() < 0.5, "that of the landmarks, which are part of the map"


def test_without_gravity_tiles_are_searched_where_they_are_all_that_the_map_has(localizer: Localizer) -> None:
    refusal = localizer.localize(query(ELSEWHERE, gravity=False))
    assert not refusal.ok
    assert "tiles were not searched" in refusal.reason
    tiles_alone = build_localizer(LocalizerConfig(), make_tiles())
    result = tiles_alone.localize(query(ELSEWHERE, gravity=False))
    assert result.candidate == FROM_ABOVE, result.reason
    assert tiles_alone.localize(query(ELSEWHERE)).ok


def test_a_rig_is_localized_by_its_camera_that_looks_down(localizer: Localizer) -> None:
    # the camera is 12 m from the rig's origin, so that what is not carried to it is seen
    rig_from_down = Pose.from_rotation_vector([0.1, 0.2, 0.3], [8.0, -4.0, 8.0])
    map_from_rig = ELSEWHERE @ rig_from_down.inverse()
    flight = FlightState(map_from_rig.rotation.T @ DOWN, 0.02, 70.0 + _height_between(map_from_rig, ELSEWHERE))
    views = _look_ahead_and_down(rig_from_down)
    assert _altitude_of(views[1], flight) == pytest.approx(70.0)
    result = localizer.localize(Query(views, flight=flight))
    assert np.abs(error_of(result, map_from_rig)).max() < 0.3
    alone = localizer.localize(query(ELSEWHERE, altitude_m=70.0))
    assert alone.map_from_rig is not None
    assert alone.covariance is not None
    for of_rig, of_camera in (
        (result.covariance, alone.covariance),
        (result.frame_covariance, alone.frame_covariance),
    ):
        expected = carry_covariance(of_camera, alone.map_from_rig, rig_from_down.inverse())
        np.testing.assert_allclose(of_rig, expected, rtol=0.1, atol=0.02)
        assert np.abs(expected - of_camera).max() > 0.05


def test_which_camera_of_a_rig_looks_down_is_unknown_without_gravity() -> None:
    tiles_alone = build_localizer(LocalizerConfig(), make_tiles())
    refusal = tiles_alone.localize(Query(_look_ahead_and_down(Pose.identity())))
    assert refusal.status is Status.NO_CANDIDATES
    assert "gravity" in refusal.reason


def _look_ahead_and_down(rig_from_down: Pose) -> tuple[View, View]:
    rig_from_ahead = Pose.from_rotation_vector([1.4, 0.0, 0.0], [0.0, 0.3, 0.0])
    ahead = View(np.full((360, 480, 3), 120, np.uint8), CAMERA, rig_from_ahead)
    return ahead, View(image_from(ELSEWHERE), CAMERA, rig_from_down)


def _height_between(upper: Pose, lower: Pose) -> float:
    return float(upper.translation[2] - lower.translation[2])


def test_refusals_say_what_got_furthest(localizer: Localizer) -> None:
    tiles_alone = build_localizer(LocalizerConfig(), make_tiles())
    known = query(ELSEWHERE)
    horizon = replace(known, flight=replace(known.flight, down=np.array([0.0, 1.0, 0.0])))
    refused = tiles_alone.localize(horizon)
    assert (refused.status, "hardly any ground" in refused.reason) == (Status.NO_FEATURES, True)
    assert "hardly any ground" not in localizer.localize(horizon).reason, "what the landmarks say is more"
    low = tiles_alone.localize(replace(known, flight=replace(known.flight, altitude_m=-1.0)))
    assert "altitude" in low.reason
    elsewhere = View(photograph(make_ground(2), ELSEWHERE, CAMERA), CAMERA)
    assert not localizer.localize(replace(known, views=(elsewhere,))).ok


def test_tiles_can_be_left_out() -> None:
    config = LocalizerConfig(tiles=TileConfig(enabled=False))
    localizer = build_localizer(config, make_map_of_both())
    assert not localizer.has_tiles
    assert not localizer.localize(query(ELSEWHERE)).ok
    with pytest.raises(MapError, match="no landmark points"):
        build_localizer(config, make_tiles())
    assert not build_localizer(LocalizerConfig(), make_landmarks()).has_tiles


def test_impossible_flight_states_and_placements_are_refused() -> None:
    with pytest.raises(InputError, match="gravity"):
        FlightState(np.array([0.0, 0.0, 9.81]))
    both = make_map_of_both()
    index = both.retrieval[TILE_VLAD]
    for name, wrong in (("placement_std", np.array([-1.0, 0.0, 0.0])), ("extractor", np.zeros(3, np.uint8))):
        damaged = both.with_retrieval(replace(index, encoder_arrays={**index.encoder_arrays, name: wrong}))
        with pytest.raises(MapError, match="vloc map aerial add"):
            build_localizer(LocalizerConfig(), damaged)
