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

"""One camera against two and three, in simulated worlds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.simulated import MAP_FRAMES, build_lap_localizer, score_lap
from tqdm import tqdm

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.query import Query, View
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scenario import Lap, make_scenario

WORLDS = [("room", 171), ("apartment", 172), ("corridor", 173), ("yard", 174)]
FRAMES = 50
# where the cameras sit on the first one: x right, y down, z forward
MOUNTS = {
    "front": Pose.identity(),
    "left": Pose.from_rotation_vector([0.0, -np.pi / 2, 0.0], [-0.2, 0.0, -0.2]),
    "right": Pose.from_rotation_vector([0.0, np.pi / 2, 0.0], [0.2, 0.0, -0.2]),
}
RIGS = [("front",), ("left",), ("right",), ("front", "left"), ("front", "left", "right")]


def rigs(_: Path) -> dict[str, Any]:
    """Each camera alone, and two and three together, on the same laps."""
    worlds = []
    for kind, seed in WORLDS:
        scenario = make_scenario(kind, seed, map_frames=MAP_FRAMES, query_frames=FRAMES)
        localizer, lap = build_lap_localizer(scenario.map_lap), scenario.query_lap
        results: dict[str, list[LocalizationResult]] = {", ".join(names): [] for names in RIGS}
        for index in tqdm(range(len(lap)), desc=lap.world.name, leave=False):
            images = _images(lap, index)
            for names in RIGS:
                results[", ".join(names)].append(_localize(localizer, lap, images, names))
        worlds.append(
            {"name": f"{kind} {seed}", "cameras": {names: _figures(lap, found) for names, found in results.items()}}
        )
        print("  ", worlds[-1], flush=True)
    return {"worlds": worlds}


def _images(lap: Lap, index: int) -> dict[str, Array]:
    """The image of every camera at a frame of the lap, each with noise of its own."""
    images = {}
    for number, (name, mount) in enumerate(MOUNTS.items()):
        seed = 100_003 * lap.seed + 10 * index + number
        pose = lap.map_from_camera[index] @ mount
        images[name] = render(lap.world, lap.camera, pose, lighting=lap.lighting, seed=seed)
    return images


def _localize(localizer: Localizer, lap: Lap, images: dict[str, Array], names: Sequence[str]) -> LocalizationResult:
    return localizer.localize(Query(tuple(View(images[name], lap.camera, MOUNTS[name]) for name in names)))


def _figures(lap: Lap, results: Sequence[LocalizationResult]) -> dict[str, Any]:
    scores = score_lap(lap, results)
    return {
        "queries": scores["queries"],
        "right": round(scores["recall"]["25cm_2deg"] * scores["queries"]),
        "false_accepts": scores["false_accepts"],
        "median_translation_m": scores["median_translation_m"],
        "total_ms": float(np.median([sum(result.times_ms.values()) for result in results])),
    }
