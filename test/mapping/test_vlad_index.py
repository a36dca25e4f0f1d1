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

"""A map that grows beyond what is searched as a whole has a VLAD index, whatever its sources had."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from posed_points import CAMERA, PosedPoints, extracting, make_posed_points

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.errors import MapError
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.vlad import VLAD
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.indexing import vlad_index
from vloc_ros.mapping.indexing.vlad_index import build_vlad_index, ensure_searchable, rebuild_vlad_index
from vloc_ros.mapping.maps import update
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.maps.compress import keep_points, rank_points
from vloc_ros.mapping.maps.map_registration import Align, register_maps
from vloc_ros.mapping.maps.update import update_map

_CONFIG = MappingConfig(vocabulary_words=8, pairs_per_image=6, calibration_gap_m=0.0)
_POINTS = 500


def _localizer(landmark_map: LandmarkMap) -> Localizer:
    """That of a machine which searches no more than 500 points as a whole."""
    candidates = CandidateConfig(whole_map_max_points=_POINTS, retrieval_top_k=6)
    return build_localizer(LocalizerConfig(candidates=candidates), landmark_map)


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vlad_index, "MAX_SEARCHED_WHOLE", _POINTS)


@pytest.fixture(scope="module")
def row() -> PosedPoints:
    return make_posed_points(images=40, points=1000)


def _small(row: PosedPoints, images: slice, frame_id: str) -> LandmarkMap:
    """Compressed to 500 points, and without its VLAD index, as `vloc map compress` leaves it."""
    with extracting(row.features):
        built = build_map(row.images()[images], name=frame_id, frame_id=frame_id, config=_CONFIG)
    return replace(keep_points(built, rank_points(built)[:_POINTS]), retrieval={})


@pytest.fixture(scope="module")
def left(row: PosedPoints) -> LandmarkMap:
    return _small(row, slice(0, 24), "left")


@pytest.fixture(scope="module")
def right(row: PosedPoints) -> LandmarkMap:
    return _small(row, slice(14, 40), "right")


def _found_by_retrieval(row: PosedPoints, landmark_map: LandmarkMap, which: range) -> int:
    """Of images of a row how many are found where they were taken."""
    localizer, found = _localizer(landmark_map), 0
    query = Query.single(np.zeros((CAMERA.height, CAMERA.width), np.uint8), CAMERA)
    for k in which:
        result = localizer.localize_features((row.features[k],), query)
        if result.map_from_rig is not None:
            assert result.candidate == "retrieval/vlad"
            found += result.map_from_rig.distance_to(row.poses[k])[0] < 0.05
    return found


@pytest.mark.usefixtures("low_limit")
def test_maps_without_an_index_get_one_when_they_are_registered(
    row: PosedPoints, left: LandmarkMap, right: LandmarkMap
) -> None:
    (whole,), _ = register_maps([left, right], Align.SAME)
    assert len(whole.points) > _POINTS
    assert len(whole.retrieval[VLAD].descriptors) == len(whole.keyframes)
    assert _found_by_retrieval(row, whole, range(0, 40, 3)) >= 13


@pytest.mark.usefixtures("low_limit")
def test_a_map_without_an_index_gets_one_when_it_is_updated(
    row: PosedPoints, left: LandmarkMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the map is searched by retrieval while it is updated, as on a machine that searches no more points as a whole
    monkeypatch.setattr(update, "build_localizer", lambda _, landmark_map, extractor: _localizer(landmark_map))
    with extracting(row.features):
        whole = update_map(left, row.images()[18:40], config=_CONFIG).landmark_map
        # one that had grown before and has no index localizes images by a temporary one
        renamed = [replace(image, name=f"again-{image.name}") for image in row.images()[10:14]]
        again = update_map(replace(whole, retrieval={}), renamed, config=_CONFIG)
    assert _found_by_retrieval(row, whole, range(0, 40, 3)) >= 13
    assert again.localized == 4
    assert len(again.landmark_map.retrieval[VLAD].descriptors) == len(whole.keyframes) + 4


def test_small_maps_stay_without_one(left: LandmarkMap, right: LandmarkMap) -> None:
    (whole,), _ = register_maps([left, right], Align.SAME)
    assert not whole.retrieval
    with pytest.raises(MapError, match="has no VLAD index"):
        _localizer(whole)


def test_an_index_that_is_there_is_kept(left: LandmarkMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vlad_index, "MAX_SEARCHED_WHOLE", 10)
    given = build_vlad_index(left, _CONFIG)
    assert ensure_searchable(given, _CONFIG) is given
    again = rebuild_vlad_index(given).retrieval[VLAD]
    assert again.encoder == given.retrieval[VLAD].encoder
    np.testing.assert_array_equal(again.descriptors, given.retrieval[VLAD].descriptors)
