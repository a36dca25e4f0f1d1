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

"""Figures in simulated worlds, where the ground truth is exact."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedImage
from vloc_ros.evaluation.scores import score_results
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.simulation.scenario import Lap, make_aliased_lap, make_scenario
from vloc_ros.storage.results import ResultRecord

MAP_FRAMES, QUERY_FRAMES = 120, 50
# limits were chosen on seeds below 100, 111 and 112; 101 to 106 were evaluated before simulated surfaces last changed
COVARIANCE_WORLDS = [
    *[("room", 101), ("room", 102), ("corridor", 103), ("yard", 104), ("apartment", 105), ("room", 106)],
    *[("room", 161), ("room", 162), ("corridor", 163), ("yard", 164), ("apartment", 165), ("room", 166)],
]
ALIASED_WORLDS = [("room", 121), ("room", 122), ("corridor", 123), ("yard", 124), ("apartment", 125)]
ALIASED_LAPS, FRAMES_PER_LAP = 4, 100
_BOOTSTRAPS = 2000
_STATISTICS = Path(__file__).resolve().parent.parent / "simulation_statistics.py"


def build_lap_localizer(lap: Lap) -> Localizer:
    """Build a map of a lap, and a localizer on it."""
    images = [
        PosedImage(lap.name(i), lambda i=i: lap.image(i), lap.camera, pose, int(lap.stamps_ns[i]))
        for i, pose in enumerate(lap.map_from_camera)
    ]
    landmark_map = build_map(images, name=lap.world.name, config=MappingConfig())
    return build_localizer(LocalizerConfig(), landmark_map)


def localize_lap(localizer: Localizer, lap: Lap) -> list[LocalizationResult]:
    """Localize every frame of a lap."""
    frames = tqdm(range(len(lap)), desc=lap.world.name, leave=False)
    return [localizer.localize(Query.single(lap.image(i), lap.camera)) for i in frames]


def score_lap(lap: Lap, results: Sequence[LocalizationResult]) -> dict[str, Any]:
    """Scores of a lap's results."""
    records = [ResultRecord(lap.name(i), int(lap.stamps_ns[i]), result) for i, result in enumerate(results)]
    return score_results(records, lap.map_from_camera, map_bytes=0)


def perceptual_aliasing(out: Path) -> dict[str, Any]:
    """Frames of worlds that look like the mapped one; and frames of the mapped one, to see that it is found."""
    figures: dict[str, Any] = {"worlds": []}
    for kind, seed in ALIASED_WORLDS:
        figures["worlds"].append(_aliasing_in(kind, seed))
        # it takes long: figures are kept when the rest is interrupted
        (out / "perceptual_aliasing.json").write_text(json.dumps(figures))
    return figures


def _aliasing_in(kind: str, seed: int) -> dict[str, Any]:
    scenario = make_scenario(kind, seed, map_frames=MAP_FRAMES, query_frames=QUERY_FRAMES)
    localizer = build_lap_localizer(scenario.map_lap)
    own = score_lap(scenario.query_lap, localize_lap(localizer, scenario.query_lap))
    aliased: list[LocalizationResult] = []
    for number in range(ALIASED_LAPS):
        lap = make_aliased_lap(scenario.map_lap.world, FRAMES_PER_LAP, 1000 * seed + number)
        aliased += localize_lap(localizer, lap)
    figures = {
        "name": f"{kind} {seed}",
        "queries": len(aliased),
        "accepted": sum(result.ok for result in aliased),
        "most_inliers": max(result.inliers for result in aliased),
        "refusals": Counter(result.status.value for result in aliased if not result.ok),
        "own_queries": own["queries"],
        "own_recall": own["recall"]["25cm_2deg"],
        "own_false_accepts": own["false_accepts"],
    }
    print("  ", figures, flush=True)
    return figures


def covariance(_: Path) -> dict[str, Any]:
    """Consistency of the covariance, in worlds that nothing was tuned on."""
    worlds = [_covariance_of(kind, seed) for kind, seed in COVARIANCE_WORLDS]
    nees = _bootstrapped(worlds, lambda chosen: _pooled(chosen, "nees"))
    inside = _bootstrapped(worlds, lambda chosen: _pooled(chosen, "inside"))
    return {
        "worlds": worlds,
        "nees": _pooled(worlds, "nees"),
        "inside": _pooled(worlds, "inside"),
        "nees_interval": nees,
        "inside_interval": inside,
    }


def _covariance_of(kind: str, seed: int) -> dict[str, Any]:
    scenario = make_scenario(kind, seed, map_frames=MAP_FRAMES, query_frames=QUERY_FRAMES)
    localizer = build_lap_localizer(scenario.map_lap)
    scores = score_lap(scenario.query_lap, localize_lap(localizer, scenario.query_lap))
    consistency = scores["covariance"] or {"nees_per_dof": None, "inside_95": None}
    figures = {
        "name": f"{kind} {seed}",
        "queries": scores["queries"],
        "accepted": scores["accepted"],
        "false_accepts": scores["false_accepts"],
        "median_translation_m": scores["median_translation_m"],
        "nees": consistency["nees_per_dof"],
        "inside": consistency["inside_95"],
        "scale": localizer.map.scene().calibration.scale,
        "samples": localizer.map.scene().calibration.samples,
    }
    print("  ", figures, flush=True)
    return figures


def statistics(_: Path) -> dict[str, Any]:
    """Keypoints, matches and inliers, beside those of redkitchen."""
    done = subprocess.run([sys.executable, _STATISTICS], check=True, capture_output=True, text=True)
    return {"lines": done.stdout.strip().splitlines()}


def _pooled(worlds: Sequence[dict[str, Any]], name: str) -> float:
    """Mean over all accepted results of all worlds."""
    return float(np.average([w[name] for w in worlds], weights=[w["accepted"] for w in worlds]))


def _bootstrapped(
    worlds: Sequence[dict[str, Any]], statistic: Callable[[Sequence[dict[str, Any]]], float]
) -> tuple[float, float]:
    """95 % interval of a statistic, by bootstrapping over worlds (Efron 1979)."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(worlds), (_BOOTSTRAPS, len(worlds)))
    values = [statistic([worlds[i] for i in draw]) for draw in draws]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))
