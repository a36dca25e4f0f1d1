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

"""How a map of LiDAR places grows: what 1 000 to 100 000 places take to make, to store, to load and to search."""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from benchmarks.many_places import RINGS, ManyPlaces
from benchmarks.provenance import Rows

from vloc_ros.assembly import build_localizer
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.place_query import RANGE, query_places
from vloc_ros.core.localization.scan_places import LidarPlaces, find_scan_index
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR
from vloc_ros.core.sources import PosedScan
from vloc_ros.inference.cloud_registration import KissGicpRegistration
from vloc_ros.mapping.maps.lidar_places import add_lidar_places, make_lidar_map
from vloc_ros.nodes.map_server.node import ServedMap
from vloc_ros.storage.manifests import MANIFEST
from vloc_ros.storage.maps import map_bytes, read_map, write_map

SIZES = (1_000, 10_000, 100_000)
QUERIES, ADDED = 40, 100
# a retrieved place within this distance shows what the scan does; a pose is right as in the section `lidar`
_NEAR_M, _WITHIN_M, _WITHIN_RAD = 5.0, 0.5, np.radians(5.0)
# all scans become places, also where the drive turns a corner
_EVERY_SCAN_M = 0.0
# places of the drive that are apart by more are different ones
_APART_M = 20.0
# of the range model: rows of a place, values; how many queries are timed
_HEADINGS, _VALUES, _ASKED, _SEED = 8, 256, 10, 98_300
T = TypeVar("T")


def lidar_size(out: Path) -> dict[str, Any]:
    """Figures of each size; each row is kept."""
    rows, sizes = Rows.of("lidar_size"), {}
    for count in SIZES:
        measure = partial(measure_size, out / "lidar_size" / str(count), count)
        of = json.dumps([_SEED, count, QUERIES, ADDED, RINGS])
        sizes[str(count)] = rows.once(f"{count}", of=of, measure=measure)
    return {"sizes": sizes, "row_revisions": rows.revisions}


def measure_size(folder: Path, count: int) -> dict[str, Any]:
    """Make a map of so many places, load it, localize in it, query it as a map server does, and add places."""
    shutil.rmtree(folder, ignore_errors=True)
    figures: dict[str, Any] = {}
    for part in (_make, _localize, _serve, _add):
        # each in a process of its own, for its memory
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            figures |= process.submit(part, folder, count).result()
        print(f"   lidar_size: {count}, {part.__name__[1:]}", flush=True)
    shutil.rmtree(folder)
    return figures


def _make(folder: Path, count: int) -> dict[str, Any]:
    spent_s = [0.0]
    scans = [_note_time(scan, spent_s) for scan in ManyPlaces.simulate().scans(count)]
    cpu_s, landmark_map = _cpu(lambda: make_lidar_map(scans, name="many", spacing_m=_EVERY_SCAN_M))
    assert len(landmark_map.places[LIDAR]) == count
    write_s, _ = _cpu(lambda: write_map(landmark_map, folder / "map"))
    return {
        "places": count,
        "driven": sum(name.startswith("drive/") for name in landmark_map.places[LIDAR].names),
        "bytes": map_bytes(folder / "map"),
        "manifest_bytes": (folder / "map" / MANIFEST).stat().st_size,
        "points": len(landmark_map.places[LIDAR].payloads["points_cm"].values) / count,
        # less the time in which scans were made
        "make_cpu_s": cpu_s - spent_s[0],
        "write_cpu_s": write_s,
        "make_peak_mb": _peak_mb(),
        "alike": _compare_places(landmark_map, np.random.default_rng(_SEED)),
    }


def _note_time(scan: PosedScan, spent_s: list[float]) -> PosedScan:
    """A scan that adds the CPU seconds in which it was made."""

    def load() -> PointCloud:
        seconds, cloud = _cpu(scan.load)
        spent_s[0] += seconds
        return cloud

    return replace(scan, load=load)


def _localize(folder: Path, count: int) -> dict[str, Any]:
    """Load a map as a robot does that has not seen it, and again; localize scans of another day in it."""
    os.environ["XDG_CACHE_HOME"] = str((folder / "cache").absolute())
    first_s, _ = _wall(lambda: read_map(folder / "map"))
    again_s, landmark_map = _wall(lambda: read_map(folder / "map"))
    index = find_scan_index(landmark_map)
    assert index is not None
    localizer = build_localizer(LocalizerConfig(), landmark_map)
    ready_s, _ = _wall(lambda: index.search)
    queries = ManyPlaces.simulate(others=False).queries(QUERIES)
    rows = [_answer(localizer, points, truth) for points, truth in queries]
    figures = {"first_load_s": first_s, "load_s": again_s, "ready_s": ready_s, **_summarize(rows)}
    figures["memory_mb"] = _anonymous_mb()
    return {**figures, **_retrieve(landmark_map, queries)}


def _answer(localizer: Localizer, points: Array, truth: Pose) -> dict[str, Any]:
    cpu, start = time.process_time(), time.perf_counter()
    result = localizer.localize(Query((), cloud=PointCloud(points)))
    row = {"s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu, "accepted": result.ok, "right": False}
    row["retrieval_s"] = result.times_ms["candidates"] / 1000.0
    if result.map_from_rig is not None:
        metres, radians = result.map_from_rig.distance_to(truth)
        row["right"] = bool(result.ok and metres <= _WITHIN_M and radians <= _WITHIN_RAD)
    return row


def _summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    medians = {
        f"median_{name}": float(np.median([row[name] for row in rows])) for name in ("s", "cpu_s", "retrieval_s")
    }
    right = sum(row["right"] for row in rows)
    wrong = sum(row["accepted"] for row in rows) - right
    return {"queries": len(rows), **medians, "slowest_s": max(row["s"] for row in rows), "right": right, "wrong": wrong}


def _retrieve(landmark_map: LandmarkMap, queries: list[tuple[Array, Pose]]) -> dict[str, Any]:
    """Scans for which a place near them is retrieved by descriptors, and is the best seen from above."""
    config = LocalizerConfig().clouds
    index = find_scan_index(landmark_map)
    assert index is not None
    places = LidarPlaces(landmark_map, KissGicpRegistration(voxel_m=0.4))
    retrieved = best = 0
    search_s = []
    for points, truth in queries:
        rows = places.encoder.encode_query(Query((), cloud=PointCloud(points)))
        seconds, _ = _wall(partial(index.nearest_items, rows, config.retrieval_top_k))
        search_s.append(seconds)
        guesses = places.retrieve(points, rows, count=config.retrieval_top_k)
        position = landmark_map.scenes[0].scene_from(truth).translation
        near = [np.linalg.norm(places.places.translations[one.place] - position) < _NEAR_M for one in guesses]
        retrieved, best = retrieved + any(near), best + bool(near and near[0])
    top_k = config.retrieval_top_k
    return {"search_s": float(np.median(search_s)), "top_k": top_k, "retrieved": retrieved, "best": best}


def _serve(folder: Path, count: int) -> dict[str, Any]:
    """What a map server holds of the map, and how long it searches the rows of a range model, which are drawn here."""
    load_s, served = _wall(lambda: ServedMap.read(folder / "map"))
    figures = {"server_load_s": load_s, "server_peak_mb": _peak_mb(), "server_mb": _anonymous_mb()}
    rng = np.random.default_rng(_SEED)
    rows = rng.standard_normal((count * _HEADINGS, _VALUES), np.float32)
    for part in np.array_split(rows, 100):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    index = RetrievalIndex(RANGE, "e" * 64, rows, np.repeat(np.arange(count), _HEADINGS), LIDAR)
    landmark_map = served.landmark_map.with_retrieval(index)
    wanted = rng.choice(count, _ASKED, replace=False)
    seconds = []
    for place in wanted:
        query = rows[_HEADINGS * place][None]
        took_s, found = _wall(partial(query_places, landmark_map, query, space="e" * 64, count=10))
        assert found[0].name == landmark_map.places[LIDAR].names[place]
        seconds.append(took_s)
    return {**figures, "query_places_s": float(np.median(seconds)), "query_places_slowest_s": max(seconds)}


def _add(folder: Path, count: int) -> dict[str, Any]:
    """Add places to the map: what `vloc map lidar --add-to` does."""
    os.environ["XDG_CACHE_HOME"] = str((folder / "cache").absolute())
    more = ManyPlaces.simulate().scans(count + ADDED)[count:]

    def add() -> None:
        grown = add_lidar_places(read_map(folder / "map"), more, spacing_m=_EVERY_SCAN_M)
        write_map(grown, folder / "map")

    cpu_s, _ = _cpu(add)
    return {"added": ADDED, "add_cpu_s": cpu_s, "add_peak_mb": _peak_mb()}


def _compare_places(landmark_map: LandmarkMap, rng: np.random.Generator) -> dict[str, float]:
    """Median over places of the similarity of the one most alike: of the drive, 20 m away or more, and of made ones.

    Those of as many places each, so that they compare.
    """
    index, places = find_scan_index(landmark_map), landmark_map.places[LIDAR]
    assert index is not None
    driven = np.flatnonzero([name.startswith("drive/") for name in places.names])
    others = np.setdiff1d(np.arange(len(places)), driven)
    made = rng.choice(others, min(len(driven), len(others)), replace=False)
    found = {}
    for name, some, least_m in (("driven", driven, _APART_M), ("made", made, 0.0)):
        rows, positions = index.descriptors[some], places.translations[some]
        apart = np.linalg.norm(positions[:, None] - positions[None], axis=2) > least_m
        found[name] = float(np.median(np.where(apart, rows @ rows.T, -1.0).max(axis=1)))
    return found


def _wall(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    done = work()
    return time.perf_counter() - start, done


def _cpu(work: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    done = work()
    return time.process_time() - start, done


def _peak_mb() -> float:
    """The most memory that the process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _anonymous_mb() -> float:
    """The memory that the process has now, without mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
