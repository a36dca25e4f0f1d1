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
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import Datum, mean_position
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity

_METRES = st.floats(-2000.0, 2000.0)


@given(
    st.floats(-89.9, 89.9),
    st.floats(-180.0, 180.0),
    st.floats(-3.0, 3.0),
    st.tuples(_METRES, _METRES, st.floats(-300, 300)),
)
def test_geodetic_and_local_are_inverse(lat: float, lon: float, yaw: float, position: tuple[float, ...]) -> None:
    datum = Datum(lat, lon, 120.0, yaw)
    np.testing.assert_allclose(datum.local(*datum.geodetic(np.array(position))), position, atol=1e-6)


def test_agrees_with_proj() -> None:
    pyproj = pytest.importorskip("pyproj")
    to_enu = pyproj.Transformer.from_pipeline(
        "+proj=pipeline +step +proj=cart +ellps=WGS84 +step "
        "+proj=topocentric +ellps=WGS84 +lat_0=46.8 +lon_0=-92 +h_0=150"
    )
    expected = to_enu.transform(-91.98, 46.81, 170.0)
    np.testing.assert_allclose(Datum(46.8, -92.0, 150.0).local(46.81, -91.98, 170.0), expected, atol=1e-6)


def test_crosses_the_date_line() -> None:
    east, north, _ = Datum(0.0, 179.9999, 0.0).local(0.0, -179.9999)
    assert east == pytest.approx(22.264, abs=1e-3)
    assert north == pytest.approx(0.0, abs=1e-9)
    assert abs(mean_position(np.zeros(2), np.array([179.99, -179.97]))[1]) == pytest.approx(179.99, abs=1e-6)


def test_yaw_turns_the_axes_from_east() -> None:
    datum = Datum(47.0, 8.0, 400.0, np.radians(90.0))  # x points north
    assert datum.geodetic(np.array([100.0, 0.0, 0.0]))[0] > 47.0
    assert datum.heading_of(0.0) == pytest.approx(0.0, abs=1e-9)
    assert Datum(47.0, 8.0).heading_of(0.0) == pytest.approx(np.pi / 2)


@pytest.mark.parametrize("turn", [0.0, 0.9])
def test_a_moved_map_keeps_its_places_on_earth(turn: float) -> None:
    """At latitude 70 the meridians converge by 0.05 degrees on the way."""
    datum = Datum(70.0, 8.0, 400.0, 0.4, position_std_m=0.3, altitude_std_m=0.2, yaw_std_rad=1e-3)
    rotation = Pose.from_rotation_vector([0, 0, turn], np.zeros(3)).rotation
    move = Similarity(1.0, rotation, -rotation @ [1500.0, -1150.0, 2.0])
    places = np.array([[1620.0, -1100.0, 3.0], [400.0, -300.0, 0.0]])
    moved = datum.transform(move)
    for place in places:
        # planes lean against each other by 0.02 degrees, which is height
        away = datum.local(*moved.geodetic(move.apply(place))) - place
        assert np.linalg.norm(away[:2]) < 1e-3
        assert abs(away[2]) < 0.6
    assert moved.position_std_m == pytest.approx(np.hypot(0.3, 1e-3 * np.hypot(1500.0, 1150.0)))
    assert (moved.altitude_std_m, moved.yaw_std_rad) == (0.2, 1e-3)


def test_a_datum_moves_up_as_certain_as_it_was() -> None:
    moved = Datum(47.0, 8.0, 400.0, position_std_m=0.3, yaw_std_rad=0.05).transform(
        Similarity(1.0, np.eye(3), np.array([0.0, 0.0, -100.0]))
    )
    assert moved.altitude_m == pytest.approx(500.0)
    assert moved.position_std_m == pytest.approx(0.3)


@pytest.mark.parametrize(
    "move",
    [
        Similarity(1.0, Pose.from_rotation_vector([0.1, 0, 0], np.zeros(3)).rotation, np.zeros(3)),
        Similarity(1.0, np.eye(3), np.array([465_000.0, 5_250_000.0, 0.0])),
        Similarity(1.02, np.eye(3), np.zeros(3)),
    ],
)
def test_a_datum_does_not_move_to_where_it_would_be_wrong(move: Similarity) -> None:
    with pytest.raises(InputError, match="georeference"):
        Datum(47.0, 8.0, 400.0).transform(move)


def test_an_unknown_height_stays_unknown() -> None:
    datum = Datum(47.0, 8.0)
    assert np.isnan(datum.geodetic(np.zeros(3))[2])
    with pytest.raises(InputError, match="no height"):
        datum.local(47.0, 8.0, 430.0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((-91.99, 46.8), "swapped"),
        ((np.nan, 8.0), "not finite"),
        ((47.0, 400.0), "degrees"),
        ((47, 8, np.inf), "height"),
    ],
)
def test_impossible_places_are_refused(values: tuple[float, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Datum(*values)


@pytest.mark.parametrize("heights", [(200.0, 150.0), (200.0, None), (None, None)])
def test_the_frame_of_another_datum_lies_where_both_say(heights: tuple[float | None, float | None]) -> None:
    own, other = Datum(46.84, -91.99, heights[0], yaw_rad=0.3), Datum(46.845, -91.98, heights[1], yaw_rad=-0.4)
    found, known = own.pose_of(other), None not in heights
    for point in ([0.0, 0.0, 0.0], [120.0, -40.0, 0.0]):
        latitude, longitude, height = other.geodetic(np.array(point))
        expected = own.local(latitude, longitude, height if known else None)
        np.testing.assert_allclose(found.apply(np.array(point))[:2], expected[:2], atol=0.05)
        if known:
            assert found.apply(np.array(point))[2] == pytest.approx(expected[2], abs=1e-6)
    yaw = np.arctan2(found.rotation[1, 0], found.rotation[0, 0])
    # east turns by the convergence of the meridians, 0.01 deg of longitude here
    assert yaw == pytest.approx(-0.4 - 0.3 + np.radians(0.01) * np.sin(np.radians(46.84)), abs=1e-5)
    assert found.rotation[2, 2] > np.cos(2e-4)
