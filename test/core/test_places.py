"""Places by the keyframes most like the images as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from synthetic import CAMERA, SyntheticScene, looking

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.errors import ConfigError, MapError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.result import Status
from vloc_ros.core.localization.retrieval_candidates import ModelRetrieval, VladRetrieval
from vloc_ros.core.map.landmark_map import LandmarkMap, RetrievalIndex
from vloc_ros.core.query import Query, View

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))
# which of the 24 keyframes looks that way
NEAREST = round(0.4 / (2 * np.pi) * 23)


@dataclass
class Numbered:
    """An image says by its first pixel which keyframe it is like: neighbours are alike, as they are on a circle."""

    hash: str = "a" * 64
    dimension: int = 2
    images_at_once: int = 8

    def encode(self, images: Sequence[Array]) -> Array:
        return _on_circle(np.array([image[0, 0] for image in images], float))


def _on_circle(keyframe: Array) -> Array:
    angle = 2 * np.pi * keyframe / 24
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def _like(*keyframes: int) -> Query:
    return Query(tuple(View(np.full((CAMERA.height, CAMERA.width), k, np.uint8), CAMERA) for k in keyframes))


@pytest.fixture
def room(scene: SyntheticScene) -> SyntheticScene:
    """The room, encoded."""
    index = RetrievalIndex(Numbered.hash, _on_circle(np.arange(24.0)))
    return replace(
        scene, landmark_map=replace(scene.landmark_map, places={**scene.landmark_map.places, "student": index})
    )


def _large(**candidates: object) -> LocalizerConfig:
    """As if the map were too large to be searched as a whole."""
    return LocalizerConfig(candidates=CandidateConfig(whole_map_max_points=0, retrieval_top_k=4, **candidates))


def _seen(landmark_map: LandmarkMap, *keyframes: int) -> Array:
    return np.unique(np.concatenate([landmark_map.keyframes.visible(k) for k in keyframes]))


def test_the_points_of_the_keyframes_most_alike_are_proposed(room: SyntheticScene) -> None:
    places = ModelRetrieval(CandidateConfig(retrieval_top_k=3), room.landmark_map, Numbered())
    (candidate,) = places.generate((), _like(7))
    assert candidate.name == "retrieval/model"
    np.testing.assert_array_equal(candidate.point_indices, _seen(room.landmark_map, 6, 7, 8))


def test_all_views_of_a_rig_propose(room: SyntheticScene) -> None:
    places = ModelRetrieval(CandidateConfig(retrieval_top_k=2), room.landmark_map, Numbered())
    (candidate,) = places.generate((), _like(3, 15))
    np.testing.assert_array_equal(candidate.point_indices, _seen(room.landmark_map, 3, 15))


def test_vlad_proposes_what_looks_alike_by_its_keypoints(room: SyntheticScene) -> None:
    places = VladRetrieval(CandidateConfig(retrieval_top_k=1), room.landmark_map)
    (candidate,) = places.generate((room.features(room.landmark_map.keyframes.pose(9)),), room.query())
    assert candidate.name == "retrieval/vlad"
    np.testing.assert_array_equal(candidate.point_indices, _seen(room.landmark_map, 9))


def test_the_pose_is_found_among_them(room: SyntheticScene) -> None:
    localizer = build_localizer(_large(), room.landmark_map, encoder=Numbered())
    result = localizer.localize_features((room.features(VIEWPOINT),), _like(NEAREST))
    assert (result.status, result.candidate) == (Status.OK, "retrieval/model")
    assert result.map_from_rig.distance_to(VIEWPOINT)[0] < 1e-3
    behind = localizer.localize_features((room.features(VIEWPOINT),), _like(NEAREST + 12))
    assert not behind.ok


@pytest.mark.parametrize(
    ("places", "given", "expected"),
    [
        ("auto", True, "retrieval/model"),
        ("student", True, "retrieval/model"),
        ("vlad", True, "retrieval/vlad"),
        ("auto", False, "retrieval/vlad"),
    ],
)
def test_an_encoder_is_asked_where_one_is_given(room: SyntheticScene, places: str, given: bool, expected: str) -> None:
    localizer = build_localizer(_large(places=places), room.landmark_map, encoder=Numbered() if given else None)
    assert localizer.localize_features((room.features(VIEWPOINT),), _like(NEAREST)).candidate == expected


def test_an_encoder_that_did_not_make_the_index_is_refused_by_a_map_of_any_size(room: SyntheticScene) -> None:
    other = Numbered(hash="b" * 64)
    for config in (_large(), LocalizerConfig()):
        with pytest.raises(ModelError, match=r"the hash bbbbbbbbbbbb, expected aaaaaaaaaaaa, .*`vloc map encode`"):
            build_localizer(config, room.landmark_map, encoder=other)
    build_localizer(_large(places="vlad"), room.landmark_map, encoder=other)


def test_a_map_that_nobody_encoded_is_refused_where_it_has_to_be_asked(scene: SyntheticScene) -> None:
    with pytest.raises(MapError, match=r"has the place indices vlad, expected student .*`vloc map encode`"):
        build_localizer(_large(), scene.landmark_map, encoder=Numbered())
    with pytest.raises(MapError, match="expected student"):
        build_localizer(
            LocalizerConfig(candidates=CandidateConfig(places="student")), scene.landmark_map, encoder=Numbered()
        )
    build_localizer(LocalizerConfig(), scene.landmark_map, encoder=Numbered())


def test_of_a_small_map_an_encoder_is_asked_where_the_whole_says_nothing(room: SyntheticScene) -> None:
    found = build_localizer(LocalizerConfig(), room.landmark_map, encoder=Numbered())
    assert found.localize_features((room.features(VIEWPOINT),), _like(NEAREST)).candidate == "whole_map"
    names = [next(iter(p.generate((room.features(VIEWPOINT),), _like(NEAREST)))).name for p in found._proposers]
    assert names == ["whole_map", "retrieval/model", "landmarks/voted"]


def test_an_index_of_another_shape_is_refused(room: SyntheticScene) -> None:
    with pytest.raises(MapError, match=r"has the shape \(24, 2\), expected \(24, 3\)"):
        build_localizer(_large(), room.landmark_map, encoder=Numbered(dimension=3))


def test_an_encoder_that_is_asked_for_and_missing_is_refused(room: SyntheticScene) -> None:
    with pytest.raises(MapError, match=r"candidates\.places is student, but there is no encoder"):
        build_localizer(LocalizerConfig(candidates=CandidateConfig(places="student")), room.landmark_map)


def test_unknown_indices_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of auto, student, vlad, none"):
        CandidateConfig(places="lidar")
