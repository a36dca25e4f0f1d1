"""One map of four scenes that have nothing to do with each other: two real ones and two simulated buildings."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.building import map_of, mapped, rooms
from benchmarks.command import evaluated, vloc
from benchmarks.landmarks import WAYS
from benchmarks.real import CASTLE_KEYPOINTS, built, scene
from tqdm import tqdm

from vloc_ros.assembly import build_extractor
from vloc_ros.core.config import ExtractorConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import map_bytes, read_map, write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum

# frame -> seed and number of rooms; none of the seeds of growth
BUILDINGS = {"office": (501, 3), "school": (601, 2)}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A scene's map and its queries, as the commands take them."""

    map: Path
    images: Path
    poses: Path
    camera: Path


def four_scenes(out: Path) -> dict[str, Any]:
    """Each scene's queries asked of the map of all: right, refused, or in the wrong scene or place."""
    asked = {"redkitchen": _photographs(out, "redkitchen"), "castle": _photographs(out, "castle", *CASTLE_KEYPOINTS)}
    asked |= {frame: building(out, frame, seed, count) for frame, (seed, count) in BUILDINGS.items()}
    folder = out / "maps" / "four-scenes"
    shutil.rmtree(folder, ignore_errors=True)
    merge_s = vloc("map", "merge", *(a.map for a in asked.values()), "--frames", *asked, "--out", folder)
    landmark_map = read_map(folder)
    ways = {way: {frame: _row(out, folder, way, frame, a) for frame, a in asked.items()} for way in _WAYS}
    return {
        "merge_s": merge_s,
        "points": len(landmark_map.points),
        "landmarks": len(landmark_map.landmarks),
        "map_bytes": map_bytes(folder),
        "ways": ways,
    }


_WAYS = ("whole map", "voted")


def _photographs(out: Path, name: str, *options: str) -> _Asked:
    data, query = scene(name), scene(name) / "query"
    return _Asked(
        built(out, name, *options), query / "images", query / "poses_tum.txt", camera=data / "camera_info.yaml"
    )


def building(out: Path, name: str, seed: int, count: int) -> _Asked:
    """The map of a building, and its queries as images on disk."""
    folder, queries = out / "maps" / name, out / "buildings" / name
    for left in (folder, queries):
        shutil.rmtree(left, ignore_errors=True)
    asked = _Asked(folder, queries / "images", queries / "poses_tum.txt", queries / "camera_info.yaml")
    asked.images.mkdir(parents=True)
    extractor, parts, poses = build_extractor(ExtractorConfig()), [], list[Pose]()
    for number, room in enumerate(tqdm(rooms(count, seed), desc=name, total=count)):
        parts.append((room, mapped(room, extractor)))
        for k, pose in enumerate(room.query_lap.map_from_camera):
            cv2.imwrite(str(asked.images / f"room-{number:02}-{k:03}.png"), room.query_lap.image(k))
            poses.append(room.building_from_room @ pose)
        write_camera(asked.camera, room.query_lap.camera, name="camera")
    write_map(map_of(parts, name), folder)
    write_tum(asked.poses, Trajectory(np.arange(len(poses)) * 10**9, tuple(poses)))
    return asked


def _row(out: Path, folder: Path, way: str, frame: str, asked: _Asked) -> dict[str, Any]:
    given = ("--images", asked.images, "--poses", asked.poses, "--camera", asked.camera, "--scene", frame)
    path = out / f"{folder.name}-{frame}-{way.replace(' ', '-')}.evaluation.json"
    scores = evaluated(path, "--map", folder, *given, *WAYS[way])
    counts = {
        "right": scores["accepted"] - scores["false_accepts"],
        "refused": scores["queries"] - scores["accepted"],
        "wrong": scores["false_accepts"],
    }
    print("  ", frame, counts, flush=True)
    return scores | counts
