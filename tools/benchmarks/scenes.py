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

"""One map of four unrelated scenes: two real ones and two simulated buildings."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.building import build_building_map, map_room, rooms
from benchmarks.command import evaluate, vloc
from benchmarks.landmarks import METHODS
from benchmarks.real import CASTLE_KEYPOINTS, build_once, scene
from tqdm import tqdm

from vloc_ros.assembly import build_extractor
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import map_bytes, read_map, write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum

# frame -> seed and number of rooms; none of the seeds of growth
BUILDINGS = {"office": (501, 3), "school": (601, 2)}


@dataclass(frozen=True, slots=True)
class _SceneQueries:
    """A scene's map and its queries, as the commands take them."""

    map: Path
    images: Path
    poses: Path
    camera: Path


def four_scenes(out: Path) -> dict[str, Any]:
    """Localize each scene's queries in the map of all: right, refused, or in the wrong scene or place."""
    queries = {"redkitchen": _photographs(out, "redkitchen"), "castle": _photographs(out, "castle", *CASTLE_KEYPOINTS)}
    queries |= {frame: building(out, frame, seed, count) for frame, (seed, count) in BUILDINGS.items()}
    folder = out / "maps" / "four-scenes"
    shutil.rmtree(folder, ignore_errors=True)
    merge_s = vloc("map", "merge", *(q.map for q in queries.values()), "--frames", *queries, "--out", folder)
    landmark_map = read_map(folder)
    methods = {
        method: {frame: _row(out, folder, method, frame, queries_on_disk) for frame, queries_on_disk in queries.items()}
        for method in _METHODS
    }
    return {
        "merge_s": merge_s,
        "points": len(landmark_map.points),
        "landmarks": len(landmark_map.landmarks),
        "map_bytes": map_bytes(folder),
        "methods": methods,
    }


_METHODS = ("whole map", "voted")


def _photographs(out: Path, name: str, *options: str) -> _SceneQueries:
    data, query = scene(name), scene(name) / "query"
    return _SceneQueries(
        build_once(out, name, *options), query / "images", query / "poses_tum.txt", camera=data / "camera_info.yaml"
    )


def building(out: Path, name: str, seed: int, count: int) -> _SceneQueries:
    """The map of a building, and its queries as images on disk."""
    folder, queries = out / "maps" / name, out / "buildings" / name
    for left in (folder, queries):
        shutil.rmtree(left, ignore_errors=True)
    queries_on_disk = _SceneQueries(folder, queries / "images", queries / "poses_tum.txt", queries / "camera_info.yaml")
    queries_on_disk.images.mkdir(parents=True)
    extractor, parts, poses = build_extractor(RootSiftConfig()), [], list[Pose]()
    for number, room in enumerate(tqdm(rooms(count, seed), desc=name, total=count)):
        parts.append((room, map_room(room, extractor)))
        for k, pose in enumerate(room.query_lap.map_from_camera):
            cv2.imwrite(str(queries_on_disk.images / f"room-{number:02}-{k:03}.png"), room.query_lap.image(k))
            poses.append(room.building_from_room @ pose)
        write_camera(queries_on_disk.camera, room.query_lap.camera, name="camera")
    write_map(build_building_map(parts, name), folder)
    write_tum(queries_on_disk.poses, Trajectory(np.arange(len(poses)) * 10**9, tuple(poses)))
    return queries_on_disk


def _row(out: Path, folder: Path, method: str, frame: str, queries: _SceneQueries) -> dict[str, Any]:
    given = ("--images", queries.images, "--poses", queries.poses, "--camera", queries.camera, "--scene", frame)
    path = out / f"{folder.name}-{frame}-{method.replace(' ', '-')}.evaluation.json"
    scores = evaluate(path, "--map", folder, *given, *METHODS[method])
    counts = {
        "right": scores["accepted"] - scores["false_accepts"],
        "refused": scores["queries"] - scores["accepted"],
        "wrong": scores["false_accepts"],
    }
    print("  ", frame, counts, flush=True)
    return scores | counts
