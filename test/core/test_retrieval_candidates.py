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

"""Candidates by the keyframes that resemble the query as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from synthetic import CAMERA, SyntheticScene, looking, observe

from vloc_ros.assembly import build_localizer, explain_unused_encoder
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.errors import ConfigError, MapError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.result import Status
from vloc_ros.core.localization.retrieval_candidates import ModelRetrieval, VladRetrieval
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.places import Places
from vloc_ros.core.query import Query, View
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))
# which of the 24 keyframes looks that way
NEAREST = round(0.4 / (2 * np.pi) * 23)


@dataclass
class Numbered:
    """The first pixel of an image is the keyframe that it resembles: neighbours are similar, as on a circle."""

    hash: str = "a" * 64
    dimension: int = 2
    modality: str = IMAGE
    batch_size: int = 8

    def encode_query(self, query: Query) -> Array:
        return self.encode([view.image for view in query.views])

    def encode(self, images: Sequence[Array]) -> Array:
        return _on_circle(np.array([image[0, 0] for image in images], float))


def _on_circle(keyframe: Array) -> Array:
    angle = 2 * np.pi * keyframe / 24
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def _resembling(*keyframes: int) -> Query:
    return Query(tuple(View(np.full((CAMERA.height, CAMERA.width), k, np.uint8), CAMERA) for k in keyframes))


@pytest.fixture
def room(scene: SyntheticScene) -> SyntheticScene:
    """The room, encoded."""
    index = RetrievalIndex("model", Numbered.hash, _on_circle(np.arange(24.0)), np.arange(24))
    return replace(scene, landmark_map=scene.landmark_map.with_retrieval(index))


def _large(**candidates: object) -> LocalizerConfig:
    """As if the map were too large to be searched as a whole."""
    return LocalizerConfig(candidates=CandidateConfig(whole_map_max_points=0, retrieval_top_k=4, **candidates))


def _seen(landmark_map: LandmarkMap, *keyframes: int) -> Array:
    return np.unique(np.concatenate([landmark_map.keyframes.visible(k) for k in keyframes]))


def test_the_points_of_the_most_similar_keyframes_are_the_candidate(room: SyntheticScene) -> None:
    retrieval = ModelRetrieval(CandidateConfig(retrieval_top_k=3), room.landmark_map, Numbered())
    (candidate,) = retrieval.generate(observe(room.landmark_map, (), _resembling(7)))
    assert candidate.name == "retrieval/model"
    np.testing.assert_array_equal(candidate.point_indices, _seen(room.landmark_map, 6, 7, 8))


def test_all_views_of_a_rig_retrieve(room: SyntheticScene) -> None:
    retrieval = ModelRetrieval(CandidateConfig(retrieval_top_k=2), room.landmark_map, Numbered())
    (candidate,) = retrieval.generate(observe(room.landmark_map, (), _resembling(3, 15)))
    np.testing.assert_array_equal(candidate.point_indices, _seen(room.landmark_map, 3, 15))


def test_vlad_retrieves_by_keypoints(room: SyntheticScene) -> None:
    retrieval = VladRetrieval(CandidateConfig(retrieval_top_k=1), room.landmark_map)
    features = (room.features(room.landmark_map.keyframes.pose(9)),)
    (candidate,) = retrieval.generate(observe(room.landmark_map, features, room.query()))
    assert candidate.name == "retrieval/vlad"
    np.testing.assert_array_equal(candidate.point_indices, _seen(room.landmark_map, 9))


def test_the_pose_is_found_among_them(room: SyntheticScene) -> None:
    localizer = build_localizer(_large(), room.landmark_map, encoder=Numbered())
    result = localizer.localize_features((room.features(VIEWPOINT),), _resembling(NEAREST))
    assert (result.status, result.candidate) == (Status.OK, "retrieval/model")
    assert result.map_from_rig.distance_to(VIEWPOINT)[0] < 1e-3
    behind = localizer.localize_features((room.features(VIEWPOINT),), _resembling(NEAREST + 12))
    assert not behind.ok


@pytest.mark.parametrize(
    ("retrieval", "given", "expected"),
    [
        ("auto", True, "retrieval/model"),
        ("model", True, "retrieval/model"),
        ("vlad", True, "retrieval/vlad"),
        ("auto", False, "retrieval/vlad"),
    ],
)
def test_an_encoder_is_used_where_one_is_given(
    room: SyntheticScene, retrieval: str, given: bool, expected: str
) -> None:
    localizer = build_localizer(_large(retrieval=retrieval), room.landmark_map, encoder=Numbered() if given else None)
    assert localizer.localize_features((room.features(VIEWPOINT),), _resembling(NEAREST)).candidate == expected


def test_an_encoder_that_did_not_make_the_index_is_refused_by_a_map_of_any_size(room: SyntheticScene) -> None:
    other = Numbered(hash="b" * 64)
    for config in (_large(), LocalizerConfig()):
        with pytest.raises(ModelError, match=r"the hash bbbbbbbbbbbb, expected aaaaaaaaaaaa .*`vloc map encode`"):
            build_localizer(config, room.landmark_map, encoder=other)
    build_localizer(_large(retrieval="vlad"), room.landmark_map, encoder=other)


def test_a_map_that_is_not_encoded_is_refused_where_it_has_to_be(scene: SyntheticScene) -> None:
    with pytest.raises(MapError, match=r"has the retrieval indices vlad, expected one of a model; .*`vloc map encode`"):
        build_localizer(_large(), scene.landmark_map, encoder=Numbered())
    with pytest.raises(MapError, match="expected one of a model"):
        build_localizer(
            LocalizerConfig(candidates=CandidateConfig(retrieval="model")), scene.landmark_map, encoder=Numbered()
        )
    build_localizer(LocalizerConfig(), scene.landmark_map, encoder=Numbered())


def test_in_a_small_map_an_encoder_is_used_after_the_whole_map(room: SyntheticScene) -> None:
    found = build_localizer(LocalizerConfig(), room.landmark_map, encoder=Numbered())
    assert found.localize_features((room.features(VIEWPOINT),), _resembling(NEAREST)).candidate == "whole_map"
    observation = observe(room.landmark_map, (room.features(VIEWPOINT),), _resembling(NEAREST))
    names = [candidate.name for generator in found._generators for candidate in generator.generate(observation)]
    assert names == ["whole_map", "retrieval/model", "landmarks/voted"]


def test_an_index_of_another_shape_is_refused(room: SyntheticScene) -> None:
    with pytest.raises(MapError, match="descriptors of 2 values, expected 3"):
        build_localizer(_large(), room.landmark_map, encoder=Numbered(dimension=3))


def test_an_encoder_that_is_configured_and_missing_is_refused(room: SyntheticScene) -> None:
    with pytest.raises(MapError, match=r"candidates\.retrieval is model, but there is no encoder"):
        build_localizer(LocalizerConfig(candidates=CandidateConfig(retrieval="model")), room.landmark_map)


def test_unknown_indices_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of auto, model, vlad, none"):
        CandidateConfig(retrieval="lidar")


def _with_submaps(landmark_map: LandmarkMap) -> LandmarkMap:
    """With an index of LiDAR submaps that the encoder could have made."""
    submaps = Places(
        ("a", "b"),
        np.zeros(2, np.int32),
        np.tile(np.eye(3), (2, 1, 1)),
        np.zeros((2, 3)),
        np.ones((2, 3)),
    )
    index = RetrievalIndex("scan", Numbered.hash, _on_circle(np.arange(2.0)), np.arange(2), modality="lidar")
    return replace(landmark_map, places={"lidar": submaps}).with_retrieval(index)


def test_places_are_not_taken_for_keyframes(scene: SyntheticScene) -> None:
    with pytest.raises(ModelError, match="describes lidar, expected images"):
        build_localizer(_large(), _with_submaps(scene.landmark_map), encoder=Numbered(modality="lidar"))


def test_an_index_of_another_modality_is_none_of_images(scene: SyntheticScene) -> None:
    landmark_map = _with_submaps(scene.landmark_map)
    localizer = build_localizer(LocalizerConfig(), landmark_map, encoder=Numbered())
    assert localizer.localize_features((scene.features(VIEWPOINT),), _resembling(NEAREST)).candidate == "whole_map"
    assert "is not encoded by it" in explain_unused_encoder(LocalizerConfig(), landmark_map, Numbered())
    with pytest.raises(MapError, match="expected one of a model"):
        build_localizer(_large(), landmark_map, encoder=Numbered())


def test_an_encoder_that_is_used_needs_no_explanation(room: SyntheticScene) -> None:
    assert explain_unused_encoder(LocalizerConfig(), room.landmark_map, Numbered()) == ""
    assert explain_unused_encoder(LocalizerConfig(), room.landmark_map, None) == ""
    vlad = LocalizerConfig(candidates=CandidateConfig(retrieval="vlad"))
    assert explain_unused_encoder(vlad, room.landmark_map, Numbered()) == ""


def test_a_query_without_images_retrieves_nothing(room: SyntheticScene) -> None:
    cloud = PointCloud(np.zeros((1, 3), np.float32))
    retrieval = ModelRetrieval(CandidateConfig(), room.landmark_map, Numbered())
    assert not list(retrieval.generate(observe(room.landmark_map, (), Query((), cloud=cloud))))
