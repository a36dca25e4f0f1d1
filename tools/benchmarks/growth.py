"""How search behaves as maps grow: the whole map, recognised places, and hloc's way, in buildings of alike rooms."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from benchmarks.building import MappedRoom, Room, map_of, mapped, rooms
from tqdm import tqdm

from vloc_ros.assembly import build_extractor, build_localizer
from vloc_ros.core.config import ExtractorConfig, LocalizerConfig, ProposalConfig
from vloc_ros.core.features import Features
from vloc_ros.core.landmark_map import LandmarkMap
from vloc_ros.core.matching import Matches
from vloc_ros.core.pose import Array, Pose
from vloc_ros.core.query import Query
from vloc_ros.core.registration import estimate_pose
from vloc_ros.core.result import LocalizationResult
from vloc_ros.core.verification import Verifier
from vloc_ros.core.vocabulary import Vocabulary

ROOMS = (5, 20, 80)
SEED = 301
MOST_QUERIES = 160
RIGHT_M, RIGHT_RAD = 0.25, np.radians(2.0)
_RETRIEVED, _RATIO = 20, 0.8
Ask = Callable[[Features, Query], LocalizationResult]


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    features: Features
    query: Query
    map_from_camera: Pose


def growth(_: Path) -> dict[str, Any]:
    """Recall, wrong answers and milliseconds after the features, by number of rooms."""
    extractor, parts, questions = build_extractor(ExtractorConfig()), [], list[_Question]()
    sizes: list[dict[str, Any]] = []
    for room in tqdm(rooms(max(ROOMS), SEED), desc="rooms", total=max(ROOMS)):
        parts.append((room, mapped(room, extractor)))
        for k, pose in enumerate(room.query_lap.map_from_camera):
            query = Query.single(room.query_lap.image(k), room.query_lap.camera)
            found = extractor.extract(query.views[0].image)
            questions.append(_Question(found, query, room.building_from_room @ pose))
        if len(parts) in ROOMS:
            sizes.append(_measured(parts, questions))
            print("  ", sizes[-1], flush=True)
    return {"sizes": sizes}


def _measured(parts: Sequence[tuple[Room, MappedRoom]], questions: Sequence[_Question]) -> dict[str, Any]:
    landmark_map = map_of(parts, f"{len(parts)} rooms")
    whole = LocalizerConfig(proposals=ProposalConfig(whole_map_max_points=10_000_000))
    places = LocalizerConfig(proposals=ProposalConfig(whole_map_max_points=0))
    ways = {name: _ours(landmark_map, config) for name, config in (("whole map", whole), ("places", places))}
    ways["hloc's way"] = HlocWay(landmark_map, parts).localize
    chosen = np.linspace(0, len(questions) - 1, min(MOST_QUERIES, len(questions))).astype(int)
    answers = {name: _asked(ask, [questions[i] for i in chosen]) for name, ask in ways.items()}
    return {"rooms": len(parts), "points": len(landmark_map.points), "queries": len(chosen), "ways": answers}


def _ours(landmark_map: LandmarkMap, config: LocalizerConfig) -> Ask:
    localizer = build_localizer(config, landmark_map)
    return lambda found, query: localizer.localize_features((found,), query)


def _asked(ask: Ask, questions: Sequence[_Question]) -> dict[str, Any]:
    right = wrong = 0
    times_ms = []
    for question in tqdm(questions, leave=False):
        start = time.perf_counter()
        result = ask(question.features, question.query)
        times_ms.append((time.perf_counter() - start) * 1e3)
        if result.map_from_rig is not None:
            metres, radians = result.map_from_rig.distance_to(question.map_from_camera)
            is_right = metres <= RIGHT_M and radians <= RIGHT_RAD
            right, wrong = right + is_right, wrong + (not is_right)
    p50, p95 = (float(np.percentile(times_ms, q)) for q in (50, 95))
    return {"right": int(right), "wrong": int(wrong), "p50_ms": p50, "p95_ms": p95}


class HlocWay:
    """Retrieval of keyframes, matching with each of them image to image, one pose from all matches (Sarlin et al.
    2019), with the same keypoints, global descriptor, pose estimation and verification as ours."""

    def __init__(self, landmark_map: LandmarkMap, parts: Sequence[tuple[Room, MappedRoom]]) -> None:
        self._map, self._config = landmark_map, LocalizerConfig()
        self._verifier = Verifier(self._config.verification, landmark_map, pose=self._config.pose)
        place = landmark_map.places["vlad"]
        self._vocabulary, self._places = Vocabulary.from_arrays(place.encoder_arrays), place.descriptors
        self._features = [found for _, part in parts for found in part.features]
        firsts = np.cumsum([0, *(len(part.points) for _, part in parts)])
        self._points = [
            np.where(of_keypoint >= 0, of_keypoint + first, -1)
            for (_, part), first in zip(parts, firsts, strict=False)
            for of_keypoint in part.point_of_keypoint
        ]

    def localize(self, found: Features, query: Query) -> LocalizationResult:
        """The answer to one image."""
        place = self._vocabulary.encode(self._map.codec.project(found.descriptors))
        pairs = [self._matched(found, int(k)) for k in np.argsort(-(self._places @ place))[:_RETRIEVED]]
        keypoints, points = (np.concatenate(part) for part in zip(*pairs, strict=True))
        keypoints, points = np.unique(np.column_stack([keypoints, points]), axis=0).T
        matches = Matches(
            np.zeros(len(points), np.int32), found.xy[keypoints], points, self._map.points[points].astype(np.float64)
        )
        estimate = estimate_pose(self._config.pose, matches, query)
        return self._verifier.verify(estimate, matches, (found,), query, "hloc")

    def _matched(self, found: Features, keyframe: int) -> tuple[Array, Array]:
        """Keypoints of the query and the points of those of the keyframe that they match, mutually and distinctly."""
        theirs = self._features[keyframe]
        distances, nearest = faiss.knn(found.descriptors, theirs.descriptors, 2)
        _, back = faiss.knn(theirs.descriptors, found.descriptors, 1)
        distinct = distances[:, 0] < _RATIO**2 * distances[:, 1]
        mutual = back[nearest[:, 0], 0] == np.arange(len(found))
        points = self._points[keyframe][nearest[:, 0]]
        kept = np.flatnonzero(distinct & mutual & (points >= 0))
        return kept, points[kept].astype(np.int64)
