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

"""Recall by map size: maps with fewer and fewer points, the best ranked ones or random ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.command import vloc
from benchmarks.real import CASTLE_KEYPOINTS, build_once, queries, scene
from tqdm import tqdm

from vloc_ros.assembly import build_map_extractor
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.maps.compress import keep_points
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.maps import map_bytes, read_map, write_map

BUDGETS = (0.5, 0.3, 0.2, 0.15, 0.1)
# what hloc (Sarlin et al. 2019) stores: of each keypoint pixel, descriptor (128 values of two bytes) and point; of each
# image NetVLAD's 4096 float32; of each point its position
_KEYPOINT_BYTES, _IMAGE_BYTES, _POINT_BYTES = 8 + 2 * 128 + 4, 4 * 4096, 12


def compression(out: Path) -> dict[str, Any]:
    """The real scenes at every budget, and as many points at random."""
    figures: dict[str, Any] = {"hloc": {}}
    for name, options in (("redkitchen", ()), ("castle", CASTLE_KEYPOINTS)):
        folder = build_once(out, name, *options)
        rows = [_row(out, name, folder, "all")]
        for budget in BUDGETS:
            chosen = out / "maps" / f"{folder.name}-budget-{budget:g}"
            shutil.rmtree(chosen, ignore_errors=True)
            vloc("map", "compress", folder, "--budget", f"{budget:g}", "--out", chosen)
            rows.append(_row(out, name, chosen, "ranked"))
            rows.append(_row(out, name, _draw_points(folder, chosen), "at random"))
        figures[name] = rows
        figures["hloc"][name] = {"bytes": hloc_bytes(name, read_map(folder)), "map_bytes": map_bytes(folder)}
    return figures


def hloc_bytes(name: str, landmark_map: LandmarkMap) -> int:
    """Bytes that hloc would store for the images of a scene's map, with the map's own keypoints and points."""
    extractor = build_map_extractor(landmark_map)
    paths = list_images(scene(name) / "map/images")
    keypoints = sum(len(extractor.extract(read_image(path))) for path in tqdm(paths, desc="keypoints", leave=False))
    return keypoints * _KEYPOINT_BYTES + len(paths) * _IMAGE_BYTES + len(landmark_map.points) * _POINT_BYTES


def _draw_points(folder: Path, chosen: Path) -> Path:
    """The map with as many points as the compressed one, drawn at random."""
    whole, count = read_map(folder), len(read_map(chosen).points)
    kept = np.random.default_rng(0).permutation(len(whole.points))[:count]
    other = chosen.parent / f"{chosen.name}-random"
    write_map(replace(keep_points(whole, kept), retrieval={}), other)
    return other


def _row(out: Path, name: str, folder: Path, points: str) -> dict[str, Any]:
    scores = queries(out, name, folder)
    row = {
        "chosen": points,
        "points": len(read_map(folder).points),
        "bytes": map_bytes(folder),
        **{key: scores[key] for key in ("queries", "accepted", "false_accepts", "median_translation_m", "recall")},
        "after_features_ms": scores["latency_ms"]["after_features"]["p50"],
        "covariance": scores["covariance"],
    }
    print("  ", row, flush=True)
    return row
