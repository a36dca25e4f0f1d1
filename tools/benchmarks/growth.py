"""How search behaves as maps grow: the whole map, recognised places, and hloc's way, in buildings of alike rooms."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
from benchmarks.building import QUERIES_PER_ROOM, MappedRoom, Room, map_of, mapped, moved, rooms, shown_difference
from benchmarks.command import vloc
from tqdm import tqdm

from vloc_ros.assembly import build_extractor, build_localizer
from vloc_ros.core.config import CandidateConfig, ExtractorConfig, LocalizerConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.matching import Matches
from vloc_ros.core.localization.pose_estimation import estimate_pose_with_covariance
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.localization.verification import Verifier
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.vlad import Vocabulary
from vloc_ros.footprint import one_blas_thread
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import map_bytes, read_map, write_map

# all sizes are asked the same questions: of the rooms two make a building, or ten, or all
ROOMS, COPIES = (2, 10, 40), 5
COMPRESSED = 0.5
SEED = 301
RIGHT_M, RIGHT_RAD = 0.25, np.radians(2.0)
# views whose room differs from its twins in more, or less, of the image than this can, or cannot, be told apart
TELLABLE, UNTELLABLE = 0.02, 0.005
MOST_OF_HLOC, MOST_OF_COPIES = 250, 100
_RETRIEVED, _RATIO = 20, 0.8
_RESIDENT = Path(__file__).with_name("resident.py")
Part = tuple[Room, MappedRoom]
Ask = Callable[[Features, Query], LocalizationResult]
CONFIGS = {
    "whole map": CandidateConfig(whole_map_max_points=10_000_000, landmarks="none"),
    "landmarks": CandidateConfig(whole_map_max_points=10_000_000, landmarks_min_points=0),
    "places": CandidateConfig(whole_map_max_points=0, landmarks="none"),
}


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    features: Features
    query: Query
    map_from_camera: Pose
    room: Room


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A way to localize that was asked: answers by question number, milliseconds, and what it stores."""

    answers: dict[int, str]
    times_ms: list[float]
    stored_bytes: int
    resident_mb: float | None = None


def growth(out: Path) -> dict[str, Any]:
    """Recall, wrong answers, milliseconds after the features and memory, by number of rooms."""
    one_blas_thread()  # as the node and the commands
    extractor, parts, questions = build_extractor(ExtractorConfig()), [], list[_Question]()
    start = time.perf_counter()
    for room in tqdm(rooms(max(ROOMS), SEED), desc="rooms", total=max(ROOMS)):
        parts.append((room, mapped(room, extractor)))
        for k, pose in enumerate(room.query_lap.map_from_camera):
            query = Query.single(room.query_lap.image(k), room.query_lap.camera)
            found = extractor.extract(query.views[0].image)
            questions.append(_Question(found, query, room.building_from_room @ pose, room))
    seconds = time.perf_counter() - start
    # all sizes are measured at one time, since times are compared
    sizes: list[dict[str, Any]] = []
    for count, copies in [*((count, 1) for count in ROOMS), (max(ROOMS), COPIES)]:
        sizes.append(_size(out, parts, questions, rooms_each=count, copies=copies))
        print("  ", sizes[-1], flush=True)
    return {"sizes": sizes, "rooms_s": seconds}


def _size(
    out: Path, parts: Sequence[Part], questions: Sequence[_Question], *, rooms_each: int, copies: int
) -> dict[str, Any]:
    """All ways in buildings of one size; of one that repeats its rooms exactly only how long they take, and the
    memory."""
    buildings, ways, of_hloc = [], dict[str, list[_Asked]](), set(_some(range(len(questions)), MOST_OF_HLOC))
    for first in range(0, len(parts), rooms_each):
        some = parts[first : first + rooms_each]
        building = map_of([p for copy in range(copies) for p in moved(some, copy)], f"{copies * len(some)} rooms")
        buildings.append(building)
        numbers = range(first * QUERIES_PER_ROOM, (first + len(some)) * QUERIES_PER_ROOM)
        asked = {i: questions[i] for i in (numbers if copies == 1 else _some(numbers, MOST_OF_COPIES))}
        last = first + rooms_each >= len(parts)
        for name, found in _ways(out, building, asked, measure_memory=last):
            ways.setdefault(name, []).append(found)
        if copies == 1:
            hloc = Hloc(building, some)
            found = _ask(hloc.localize, {i: q for i, q in asked.items() if i in of_hloc})
            ways.setdefault("hloc's way", []).append(replace(found, stored_bytes=hloc.bytes))
    apart, apart_in_all = (_differences(parts, questions, n) for n in (rooms_each, max(ROOMS)))
    return {
        "rooms": rooms_each * copies,
        "buildings": len(buildings),
        "copies": copies,
        "points": round(float(np.mean([len(b.points) for b in buildings]))),
        "landmarks": round(float(np.mean([len(b.landmarks) for b in buildings]))),
        "ways": {name: _figures(found, apart, apart_in_all) for name, found in ways.items()},
    }


def _ways(
    out: Path, building: LandmarkMap, asked: Mapping[int, _Question], *, measure_memory: bool
) -> Iterator[tuple[str, _Asked]]:
    """What each way of ours answers in one building."""
    folder = out / "maps" / f"building-{building.name.replace(' ', '-')}"
    shutil.rmtree(folder, ignore_errors=True)
    write_map(building, folder)
    like: Localizer | None = None
    for name, config in CONFIGS.items():
        like = build_localizer(LocalizerConfig(proposals=config), building, like=like)
        found = _ask(_by(like), asked)
        memory = _resident_mb(folder, config, list(asked.values())) if measure_memory else None
        yield name, replace(found, stored_bytes=map_bytes(folder), resident_mb=memory)
    if len(asked) == max(ROOMS) * QUERIES_PER_ROOM:
        small = folder.with_name(f"{folder.name}-small")
        shutil.rmtree(small, ignore_errors=True)
        vloc("map", "compress", folder, "--budget", str(COMPRESSED), "--out", small)
        config = CONFIGS["landmarks"]
        found = _ask(_by(build_localizer(LocalizerConfig(proposals=config), read_map(small))), asked)
        memory = _resident_mb(small, config, list(asked.values()))
        yield (
            f"landmarks, {COMPRESSED:.0%} of the bytes",
            replace(found, stored_bytes=map_bytes(small), resident_mb=memory),
        )


def _by(localizer: Localizer) -> Ask:
    return lambda found, query: localizer.localize_features((found,), query)


def _figures(
    found: Sequence[_Asked], differences: Mapping[int, float], differences_in_all: Mapping[int, float]
) -> dict[str, Any]:
    """Of several buildings of one size."""
    answers = {i: answer for one in found for i, answer in one.answers.items()}
    tellable = [a for i, a in answers.items() if differences[i] >= TELLABLE]
    untellable = [a for i, a in answers.items() if differences[i] < UNTELLABLE]
    in_all = [a for i, a in answers.items() if differences_in_all[i] >= TELLABLE]
    groups = {"all": list(answers.values()), "tellable": tellable, "untellable": untellable, "tellable_in_all": in_all}
    counts = {name: {"queries": len(group), **Counter(group)} for name, group in groups.items()}
    p50, p95 = (float(np.percentile([ms for one in found for ms in one.times_ms], q)) for q in (50, 95))
    memory = next((one.resident_mb for one in found if one.resident_mb is not None), None)
    stored = float(np.mean([one.stored_bytes for one in found]))
    return {**counts, "p50_ms": p50, "p95_ms": p95, "bytes": stored, "resident_mb": memory}


def _some(numbers: Sequence[int], most: int) -> list[int]:
    return [numbers[i] for i in np.linspace(0, len(numbers) - 1, min(most, len(numbers))).astype(int)]


def _differences(parts: Sequence[Part], questions: Sequence[_Question], rooms_each: int) -> dict[int, float]:
    """Of each image the part that shows what the room most like it, in its building, does not have."""
    shown = {}
    for i, question in enumerate(tqdm(questions, desc="twins", leave=False)):
        first = i // QUERIES_PER_ROOM // rooms_each * rooms_each
        others = [room for room, _ in parts[first : first + rooms_each]]
        shown[i] = shown_difference(question.room, others, question.map_from_camera)
    return shown


def _ask(ask: Ask, asked: Mapping[int, _Question]) -> _Asked:
    answers, times_ms = {}, []
    first = next(iter(asked.values()))
    ask(first.features, first.query)  # indices are made when they are first searched
    for number, question in tqdm(asked.items(), leave=False):
        start = time.perf_counter()
        result = ask(question.features, question.query)
        times_ms.append((time.perf_counter() - start) * 1e3)
        answers[number] = _judged(result, question)
    return _Asked(answers, times_ms, 0)


def _judged(result: LocalizationResult, question: _Question) -> str:
    if result.map_from_rig is None:
        return "refused"
    metres, radians = result.map_from_rig.distance_to(question.map_from_camera)
    return "right" if metres <= RIGHT_M and radians <= RIGHT_RAD else "wrong"


def _resident_mb(folder: Path, config: CandidateConfig, questions: Sequence[_Question]) -> float:
    """Of a process that does nothing else than to localize."""
    with tempfile.TemporaryDirectory() as there:
        for k in _some(range(len(questions)), 10):
            cv2.imwrite(f"{there}/{k}.png", questions[k].query.views[0].image)
        write_camera(Path(there) / "camera.yaml", questions[0].query.views[0].camera, name="camera")
        words = [sys.executable, str(_RESIDENT), str(folder), there, json.dumps(asdict(config))]
        return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


class Hloc:
    """Retrieval of keyframes, matching with each of them image to image, one pose from all matches (Sarlin et al.
    2019), with the same keypoints, global descriptor, pose estimation and verification as ours."""

    def __init__(self, landmark_map: LandmarkMap, parts: Sequence[Part]) -> None:
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
        estimate = estimate_pose_with_covariance(self._config.pose, matches, query)
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
