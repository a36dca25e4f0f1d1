"""How search behaves as maps grow: the whole map, recognised places, and hloc's way, in buildings of alike rooms."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
from benchmarks.building import QUERIES_PER_ROOM, MappedRoom, Room, map_of, mapped, moved, rooms, shown_difference
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
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import map_bytes, write_map

ROOMS, COPIES = (2, 10, 40), 5
SEED = 301
RIGHT_M, RIGHT_RAD = 0.25, np.radians(2.0)
# views whose room differs from its twins in more, or less, of the image than this can, or cannot, be told apart
TELLABLE, UNTELLABLE = 0.02, 0.005
MOST_OF_HLOC, MOST_OF_COPIES = 250, 100
_RETRIEVED, _RATIO = 20, 0.8
_RESIDENT = Path(__file__).with_name("resident.py")
Ask = Callable[[Features, Query], LocalizationResult]
CONFIGS = {
    "whole map": ProposalConfig(whole_map_max_points=10_000_000, landmarks="none"),
    "landmarks": ProposalConfig(whole_map_max_points=10_000_000, landmarks_min_points=0),
    "places": ProposalConfig(whole_map_max_points=0, landmarks="none"),
}


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    features: Features
    query: Query
    map_from_camera: Pose
    room: Room


def growth(out: Path) -> dict[str, Any]:
    """Recall, wrong answers, milliseconds after the features and memory, by number of rooms."""
    extractor, parts, questions = build_extractor(ExtractorConfig()), [], list[_Question]()
    start, seconds = time.perf_counter(), []
    for room in tqdm(rooms(max(ROOMS), SEED), desc="rooms", total=max(ROOMS)):
        parts.append((room, mapped(room, extractor)))
        for k, pose in enumerate(room.query_lap.map_from_camera):
            query = Query.single(room.query_lap.image(k), room.query_lap.camera)
            found = extractor.extract(query.views[0].image)
            questions.append(_Question(found, query, room.building_from_room @ pose, room))
        seconds.append(time.perf_counter() - start)
    # all sizes are measured at one time, since times are compared
    sizes: list[dict[str, Any]] = []
    for count, copies in [*((count, 1) for count in ROOMS), (max(ROOMS), COPIES)]:
        asked = questions[: count * QUERIES_PER_ROOM]
        sizes.append({"building_s": seconds[count - 1], **_measured(out, parts[:count], asked, copies=copies)})
        print("  ", sizes[-1], flush=True)
    return {"sizes": sizes}


def _measured(
    out: Path, parts: Sequence[tuple[Room, MappedRoom]], questions: Sequence[_Question], *, copies: int
) -> dict[str, Any]:
    """All ways on one building; of one that repeats its rooms exactly only how long they take, and the memory."""
    landmark_map = map_of(
        [part for copy in range(copies) for part in moved(parts, copy)], f"{copies * len(parts)} rooms"
    )
    folder = out / "maps" / f"building-{copies * len(parts)}"
    shutil.rmtree(folder, ignore_errors=True)
    write_map(landmark_map, folder)
    asked = list(questions) if copies == 1 else _some(questions, MOST_OF_COPIES)
    differences = _differences(parts, asked)
    ways = {}
    for name, config in CONFIGS.items():
        localizer = build_localizer(LocalizerConfig(proposals=config), landmark_map)
        ways[name] = _asked(lambda found, query: localizer.localize_features((found,), query), asked, differences)  # noqa: B023
        ways[name]["resident_mb"] = _resident_mb(folder, name, asked)
    if copies == 1:
        some = _some(questions, MOST_OF_HLOC)
        hloc = HlocWay(landmark_map, parts)
        ways["hloc's way"] = _asked(hloc.localize, some, _differences(parts, some)) | {"bytes": hloc.bytes}
    return {
        "rooms": len(parts) * copies,
        "copies": copies,
        "points": len(landmark_map.points),
        "landmarks": len(landmark_map.landmarks),
        "bytes": map_bytes(folder),
        "ways": ways,
    }


def _some(questions: Sequence[_Question], most: int) -> list[_Question]:
    return [questions[i] for i in np.linspace(0, len(questions) - 1, min(most, len(questions))).astype(int)]


def _differences(parts: Sequence[tuple[Room, MappedRoom]], questions: Sequence[_Question]) -> list[float]:
    """Of each image the part that shows what the room most like it does not have."""
    others = [room for room, _ in parts]
    return [shown_difference(q.room, others, q.map_from_camera) for q in tqdm(questions, desc="twins", leave=False)]


def _asked(ask: Ask, questions: Sequence[_Question], differences: Sequence[float]) -> dict[str, Any]:
    answers, times_ms = [], []
    ask(questions[0].features, questions[0].query)  # indices are made when they are first searched
    for question in tqdm(questions, leave=False):
        start = time.perf_counter()
        result = ask(question.features, question.query)
        times_ms.append((time.perf_counter() - start) * 1e3)
        answers.append(_judged(result, question))
    p50, p95 = (float(np.percentile(times_ms, q)) for q in (50, 95))
    tellable = [a for a, share in zip(answers, differences, strict=True) if share >= TELLABLE]
    untellable = [a for a, share in zip(answers, differences, strict=True) if share < UNTELLABLE]
    groups = {"all": answers, "tellable": tellable, "untellable": untellable}
    counts = {name: {"queries": len(group), **Counter(group)} for name, group in groups.items()}
    return {**counts, "p50_ms": p50, "p95_ms": p95}


def _judged(result: LocalizationResult, question: _Question) -> str:
    if result.map_from_rig is None:
        return "refused"
    metres, radians = result.map_from_rig.distance_to(question.map_from_camera)
    return "right" if metres <= RIGHT_M and radians <= RIGHT_RAD else "wrong"


def _resident_mb(folder: Path, way: str, questions: Sequence[_Question]) -> float:
    """Of a process that does nothing else than to localize."""
    with tempfile.TemporaryDirectory() as there:
        for k, question in enumerate(_some(questions, 10)):
            cv2.imwrite(f"{there}/{k}.png", question.query.views[0].image)
        write_camera(Path(there) / "camera.yaml", questions[0].query.views[0].camera, name="camera")
        words = [sys.executable, str(_RESIDENT), str(folder), there, json.dumps(asdict(CONFIGS[way]))]
        return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


class HlocWay:
    """Retrieval of keyframes, matching with each of them image to image, one pose from all matches (Sarlin et al.
    2019), with the same keypoints, global descriptor, pose estimation and verification as ours."""

    def __init__(self, landmark_map: LandmarkMap, parts: Sequence[tuple[Room, MappedRoom]]) -> None:
        """Also counts the bytes that it needs: of every keyframe the keypoints, their descriptors (128 values of two
        bytes), what point each is of, and the global descriptor (float32)."""
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

    @property
    def bytes(self) -> int:
        """What it stores, at the least."""
        keypoints = sum(len(found) for found in self._features)
        return keypoints * (8 + 2 * 128 + 4) + self._places.nbytes + 12 * len(self._map.points)

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
