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

"""Figures of image sequences in simulated worlds: a kidnapped robot, and a robot that leaves the map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.simulated import MAP_FRAMES, build_lap_localizer
from tqdm import tqdm

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.query import Query
from vloc_ros.core.sources import QuerySource
from vloc_ros.core.tracking.fix_filter import FixFilter
from vloc_ros.evaluation.batch_localization import localize_sequence
from vloc_ros.simulation.odometry import simulate_wheel_odometry
from vloc_ros.simulation.scenario import Lap, make_aliased_lap, make_scenario

WORLDS = [("room", 151), ("apartment", 152), ("corridor", 153), ("yard", 154)]
RUNS_PER_WORLD, ALIASED_LAPS, FRAMES_PER_LAP = 13, 5, 100
LAP_FRAMES, FRAME_NS = 400, 100_000_000
FAR_M, MAX_FRAMES, FRAMES_BEFORE = 2.0, 40, 6
WRONG_M, WRONG_RAD = 0.5, np.radians(5.0)


@dataclass(frozen=True, slots=True)
class KidnappedRun:
    """One run of a kidnapped robot.

    Attributes:
        frames: frames until the first right pose is published, None for never.
        wrong: wrong poses published before.
        refused_single_image: whether the first view is refused as a single image, without a prior.
    """

    frames: int | None
    wrong: int
    refused_single_image: bool


def kidnapped_robot(_: Path) -> dict[str, Any]:
    """Frames until the pose is right again, and wrong poses published before."""
    worlds = []
    for kind, seed in WORLDS:
        scenario = make_scenario(kind, seed, map_frames=MAP_FRAMES, query_frames=LAP_FRAMES)
        localizer = build_lap_localizer(scenario.map_lap)
        lap, rng = scenario.query_lap, np.random.default_rng(seed)
        for then in ("drives on", "stands"):
            numbers = tqdm(range(RUNS_PER_WORLD), desc=f"{lap.world.name} {then}")
            runs = [_run_kidnapped(localizer, lap, rng, stands=then == "stands") for _ in numbers]
            figures = {
                "frames": [run.frames for run in runs],
                "wrong": sum(run.wrong for run in runs),
                "refused_single_image": [run.refused_single_image for run in runs],
            }
            worlds.append({"name": f"{kind} {seed}, {then}", "then": then, **figures})
            print("  ", worlds[-1], flush=True)
    return {"worlds": worlds, "frame_s": FRAME_NS * 1e-9, "max_frames": MAX_FRAMES}


def _run_kidnapped(localizer: Localizer, lap: Lap, rng: np.random.Generator, *, stands: bool) -> KidnappedRun:
    """Put a localized robot from one place of a lap down in another."""
    centres = np.stack([pose.translation for pose in lap.map_from_camera])
    last = len(lap) - MAX_FRAMES
    start = int(rng.integers(last))
    far = np.flatnonzero(np.linalg.norm(centres[:last] - centres[start + FRAMES_BEFORE], axis=1) > FAR_M)
    goal = int(rng.choice(far))
    after = [goal] * MAX_FRAMES if stands else range(goal, goal + MAX_FRAMES)
    shown = [*range(start, start + FRAMES_BEFORE), *after]
    parts = (shown[:FRAMES_BEFORE], shown[FRAMES_BEFORE:])
    odometry = _odometry_over_breaks([[lap.map_from_camera[i] for i in part] for part in parts], start)
    wrong, alone = 0, localizer.localize(Query.single(lap.image(goal), lap.camera))
    frames = [(lap, i) for i in shown]
    for number, result in enumerate(_localize_frames(localizer, frames, odometry, FixFilter(FixFilterConfig()))):
        if result.map_from_rig is None or number < FRAMES_BEFORE:
            continue
        metres, radians = result.map_from_rig.distance_to(lap.map_from_camera[shown[number]])
        if metres <= WRONG_M and radians <= WRONG_RAD:
            return KidnappedRun(number - FRAMES_BEFORE + 1, wrong, not alone.ok)
        wrong += 1
    return KidnappedRun(None, wrong, not alone.ok)


def _odometry_over_breaks(parts: Sequence[Sequence[Pose]], seed: int) -> list[Pose]:
    """Odometry that does not notice the motion between the parts."""
    odometry = [Pose.identity()]
    for part in parts:
        odometry += [odometry[-1] @ pose for pose in simulate_wheel_odometry(part, seed)]
    return odometry[1:]


def leaving(_: Path) -> dict[str, Any]:
    """A localized robot that then sees places which only look like the mapped one."""
    worlds = []
    for kind, seed in WORLDS:
        scenario = make_scenario(kind, seed, map_frames=MAP_FRAMES, query_frames=LAP_FRAMES)
        localizer, own = build_lap_localizer(scenario.map_lap), scenario.query_lap
        localized, aliased = 0, list[LocalizationResult]()
        for number in range(ALIASED_LAPS):
            lap = make_aliased_lap(scenario.map_lap.world, FRAMES_PER_LAP, 1000 * seed + number)
            start = number * LAP_FRAMES // ALIASED_LAPS
            before = list(range(start, start + FRAMES_BEFORE))
            odometry = _odometry_over_breaks([[own.map_from_camera[i] for i in before], lap.map_from_camera], number)
            frames = [*((own, i) for i in before), *((lap, i) for i in range(FRAMES_PER_LAP))]
            results = list(_localize_frames(localizer, frames, odometry, FixFilter(FixFilterConfig())))
            localized += any(result.ok for result in results[:FRAMES_BEFORE])
            aliased += results[FRAMES_BEFORE:]
        accepted = sum(result.ok or result.status is Status.HELD for result in aliased)
        published = sum(result.ok for result in aliased)
        figures = {"frames": len(aliased), "accepted": accepted, "published": published}
        worlds.append({"name": f"{kind} {seed}", "localized_at_start": f"{localized}/{ALIASED_LAPS}", **figures})
        print("  ", worlds[-1], flush=True)
    return {"worlds": worlds}


def _localize_frames(
    localizer: Localizer, frames: Sequence[tuple[Lap, int]], odometry: Sequence[Pose], fixes: FixFilter
) -> Iterator[LocalizationResult]:
    """Localize frames of laps in sequence, a tenth of a second apart."""
    queries = [
        QuerySource(
            lap.name(i), lambda lap=lap, i=i, k=k: Query.single(lap.image(i), lap.camera, stamp_ns=k * FRAME_NS)
        )
        for k, (lap, i) in enumerate(frames)
    ]
    for record in localize_sequence(localizer, queries, odometry, fixes, progress=iter):
        yield record.result
