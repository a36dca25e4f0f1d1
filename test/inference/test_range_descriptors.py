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

"""Range models, LiDAR places described by them, and queries that find the places."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from graphs import ENCODER_DIMENSION, write_encoder
from range_model import HEADINGS, SPACE, VIEW, posed_scan, surroundings, write_range_model

from vloc_ros.cli.main import main
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.errors import InputError, MapError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.place_query import RANGE, count_described_places, query_places
from vloc_ros.core.localization.retrieval_candidates import find_index_of_encoder
from vloc_ros.core.localization.scan_places import find_scan_index
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR
from vloc_ros.core.sources import PosedScan
from vloc_ros.inference.range_descriptors import OnnxRangeDescriptor, check_spaces, read_range_descriptor
from vloc_ros.mapping.maps.lidar_places import add_lidar_places, make_lidar_map
from vloc_ros.storage.maps import read_map, write_map


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_range_model(tmp_path_factory.mktemp("models") / "range")


@pytest.fixture(scope="module")
def lidar_map(model: Path) -> LandmarkMap:
    """Three places that look different."""
    scans = [posed_scan(number) for number in range(3)]
    return make_lidar_map(scans, name="posts", encoder=read_range_descriptor(model))


def test_a_scan_has_a_row_for_each_heading_with_points(model: Path) -> None:
    encoder, points = read_range_descriptor(model), surroundings(1)
    rows = encoder.encode_query(Query((), cloud=PointCloud(points)))
    assert rows.shape == (HEADINGS, ENCODER_DIMENSION)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    ahead = points[np.abs(np.arctan2(points[:, 1], points[:, 0])) < 0.69]
    np.testing.assert_allclose(encoder.encode_scan(ahead, headings=1)[0] @ rows[0], 1.0, atol=0.1)
    assert len(encoder.encode_scan(ahead)) == 1
    assert encoder.encode_scan(np.full((3, 3), 1e4, np.float32)).shape == (0, ENCODER_DIMENSION)


@pytest.mark.parametrize(
    "changes",
    [{"headings": 0}, {"headings": 3}, {"view": {}}, {"training": {}}, {"view": {**VIEW.to_manifest(), "width": 14}}],
)
def test_manifests_that_do_not_fit_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        read_range_descriptor(write_range_model(tmp_path / "range", **changes))


def test_descriptors_that_are_not_finite_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ModelError, match="length"):
        read_range_descriptor(write_range_model(tmp_path / "nan", scale=math.nan))
    with pytest.raises(ModelError, match=r"the scan drive/1: .*not finite"):
        make_lidar_map([posed_scan(1)], name="posts", encoder=_NotFinite(read_range_descriptor(model)))


class _NotFinite:
    """A range encoder whose network overflows on scans that it was not tried on."""

    modality = LIDAR

    def __init__(self, encoder: OnnxRangeDescriptor) -> None:
        self.hash, self.dimension, self._encoder = encoder.hash, encoder.dimension, encoder
        encoder._engine = self

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        return {"descriptors": np.full((len(inputs["views"]), self.dimension), np.nan, np.float32)}

    def encode_query(self, query: Query) -> Array:
        return self._encoder.encode_query(query)

    def encode_scan(self, points: Array, intensity: Array | None = None) -> Array:
        return self._encoder.encode_scan(points, intensity)


def test_the_two_models_of_different_trainings_do_not_match(model: Path, tmp_path: Path) -> None:
    assert check_spaces(write_encoder(tmp_path / "image", training={"space": SPACE}), model) == SPACE
    with pytest.raises(ModelError, match="descriptor spaces"):
        check_spaces(write_encoder(tmp_path / "other", training={"space": "b" * 64}), model)


def test_places_are_found_whichever_way_the_sensor_faces(model: Path, lidar_map: LandmarkMap, tmp_path: Path) -> None:
    write_map(lidar_map, tmp_path / "map")
    again = read_map(tmp_path / "map")
    index = find_scan_index(again)
    assert index is not None
    assert index.name == "scan_context"
    turned = posed_scan(2, yaw=math.pi / 2).load().points  # on the grid of the headings, where views are the same
    ahead = read_range_descriptor(model).encode_scan(turned, headings=1)
    found = query_places(again, ahead, space=SPACE, count=2)
    assert found[0].name == "drive/2"
    np.testing.assert_allclose(found[0].map_from_place.translation, [200.0, 0.0, 1.7], atol=1e-6)
    assert found[0].similarity > 0.999 > found[1].similarity
    with pytest.raises(ModelError, match="trained with"):
        query_places(again, ahead, space="b" * 64, count=1)
    with pytest.raises(MapError, match="--encoder"):
        query_places(again.without_retrieval(RANGE), ahead, space=SPACE, count=1)


def test_places_are_found_between_the_headings_of_their_views(tmp_path: Path) -> None:
    encoder = read_range_descriptor(write_range_model(tmp_path / "range", headings=32))
    landmark_map = make_lidar_map([posed_scan(number) for number in range(3)], name="posts", encoder=encoder)
    for number in range(3):
        between = encoder.encode_scan(posed_scan(number, yaw=5 * math.pi / 32).load().points, headings=1)
        found = query_places(landmark_map, between, space=SPACE, count=1)
        assert found[0].name == f"drive/{number}"
        assert found[0].similarity < 0.999


def test_places_that_are_added_are_described_too(model: Path, lidar_map: LandmarkMap) -> None:
    encoder = read_range_descriptor(model)
    grown = add_lidar_places(lidar_map, [posed_scan(3)], encoder=encoder)
    assert np.unique(grown.retrieval[RANGE].items).tolist() == [0, 1, 2, 3]
    found = query_places(grown, encoder.encode_scan(posed_scan(3).load().points, headings=1), space=SPACE, count=1)
    assert found[0].name == "drive/3"
    with pytest.raises(InputError, match="no descriptor"):
        add_lidar_places(lidar_map.without_retrieval(RANGE), [posed_scan(3)], encoder=encoder)
    with pytest.raises(InputError, match="no encoder is given"):
        add_lidar_places(lidar_map, [posed_scan(3)])
    other = replace(lidar_map.retrieval[RANGE], encoder="b" * 64)
    with pytest.raises(InputError, match="descriptor space"):
        add_lidar_places(lidar_map.with_retrieval(other), [posed_scan(3)], encoder=encoder)


def test_scans_of_one_name_are_told_apart(model: Path, lidar_map: LandmarkMap) -> None:
    """Sequences of two sets name their scans alike, and so do depth images."""
    encoder, namesake = read_range_descriptor(model), replace(posed_scan(5), name="drive/1")
    grown = add_lidar_places(lidar_map, [namesake, posed_scan(6)], encoder=encoder)
    again = add_lidar_places(grown, [replace(posed_scan(7), name="drive/1")], encoder=encoder)
    for number, place in ((1, 1), (5, 3), (6, 4), (7, 5)):
        rows = again.retrieval[RANGE].descriptors[again.retrieval[RANGE].items == place]
        np.testing.assert_allclose(rows, encoder.encode_scan(posed_scan(number).load().points), atol=1e-5)
    with pytest.raises(InputError, match="no descriptor"):  # not even where the names are those of the old places
        add_lidar_places(
            lidar_map.without_retrieval(RANGE), [posed_scan(0), posed_scan(1), posed_scan(2)], encoder=encoder
        )


def test_a_scan_that_shows_nothing_at_any_heading_is_a_place(model: Path, lidar_map: LandmarkMap) -> None:
    below = surroundings(3) * np.float32([0.05, 0.05, 1.0]) - np.float32([0.0, 0.0, 8.0])
    blind = PosedScan("blind", partial(PointCloud, below.astype(np.float32)), posed_scan(3).map_from_sensor, 3)
    encoder = read_range_descriptor(model)
    grown = add_lidar_places(lidar_map, [blind], encoder=encoder)
    assert count_described_places(grown) == (3, 4)
    again = add_lidar_places(grown, [posed_scan(4)], encoder=encoder)
    assert count_described_places(again) == (4, 5)
    assert (
        query_places(again, encoder.encode_scan(posed_scan(4).load().points), space=SPACE, count=9)[0].name == "drive/4"
    )


def test_the_index_is_found_by_the_encoder(model: Path, lidar_map: LandmarkMap) -> None:
    index = find_index_of_encoder(lidar_map, read_range_descriptor(model))
    assert index is lidar_map.retrieval[RANGE]


def test_images_are_answered_by_the_command(
    lidar_map: LandmarkMap, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_map(lidar_map, tmp_path / "map")
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    model = write_encoder(tmp_path / "image", training={"space": SPACE})
    words = ["place", "query", "--map", str(tmp_path / "map"), "--encoder", str(model), str(tmp_path / "a.png")]
    assert main([*words, "--count", "2", "--json", str(tmp_path / "found.json")]) == 0
    rows = json.loads((tmp_path / "found.json").read_text())
    assert len(rows) == 2
    assert rows[0]["similarity"] >= rows[1]["similarity"]
    out = capsys.readouterr().out
    assert rows[0]["place"] in out
    assert "3 of 3 LiDAR places" in out
    alone = write_encoder(tmp_path / "alone")
    assert main([*words[:5], str(alone), words[-1]]) == 1
    assert "not a cross-modal model; give MODEL/image" in capsys.readouterr().err
