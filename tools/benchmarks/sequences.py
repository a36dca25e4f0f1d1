"""Figures of images in a row in simulated worlds: a robot that is carried away, and one that leaves what was mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.simulated import MAP_FRAMES, map_of
from tqdm import tqdm

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.query import Query
from vloc_ros.core.tracking.fix_filter import FixFilter
from vloc_ros.evaluation.batch_localization import QuerySource, localize_sequence
from vloc_ros.simulation.odometry import drifting_odometry
from vloc_ros.simulation.scenario import Lap, make_lookalike_lap, make_scenario

WORLDS = [("room", 151), ("apartment", 152), ("corridor", 153), ("yard", 154)]
KIDNAPPINGS_PER_WORLD, LOOKALIKE_LAPS, FRAMES_PER_LAP = 13, 5, 100
LAP_FRAMES, FRAME_NS = 400, 100_000_000
FAR_M, MOST_FRAMES, FRAMES_BEFORE = 2.0, 40, 6
WRONG_M, WRONG_RAD = 0.5, np.radians(5.0)


@dataclass(frozen=True, slots=True)
class Kidnapping:
    """What came of one.

    Attributes:
        frames: from being put down to the first right pose that is published, None for never.
        wrong: poses published before.
        refused_alone: the view where the robot was put down is refused by itself too, without anything believed.
    """

    frames: int | None
    wrong: int
    refused_alone: bool


def kidnapped_robot(_: Path) -> dict[str, Any]:
    """How long it takes until the pose is right again, and what is published before."""
    worlds = []
    for kind, seed in WORLDS:
        scenario = make_scenario(kind, seed, map_frames=MAP_FRAMES, query_frames=LAP_FRAMES)
        localizer = map_of(scenario.map_lap)
        lap, rng = scenario.query_lap, np.random.default_rng(seed)
        for then in ("drives on", "stands"):
            numbers = tqdm(range(KIDNAPPINGS_PER_WORLD), desc=f"{lap.world.name} {then}")
            runs = [_kidnapped(localizer, lap, rng, stands=then == "stands") for _ in numbers]
            figures = {
                "frames": [run.frames for run in runs],
                "wrong": sum(run.wrong for run in runs),
                "refused_alone": [run.refused_alone for run in runs],
            }
            worlds.append({"name": f"{kind} {seed}, {then}", "then": then, **figures})
            print("  ", worlds[-1], flush=True)
    return {"worlds": worlds, "frame_s": FRAME_NS * 1e-9, "most": MOST_FRAMES}


def _kidnapped(localizer: Localizer, lap: Lap, rng: np.random.Generator, *, stands: bool) -> Kidnapping:
    """Carry a robot that knows where it is from one place of a lap to another."""
    centres = np.stack([pose.translation for pose in lap.map_from_camera])
    last = len(lap) - MOST_FRAMES
    start = int(rng.integers(last))
    far = np.flatnonzero(np.linalg.norm(centres[:last] - centres[start + FRAMES_BEFORE], axis=1) > FAR_M)
    goal = int(rng.choice(far))
    after = [goal] * MOST_FRAMES if stands else range(goal, goal + MOST_FRAMES)
    shown = [*range(start, start + FRAMES_BEFORE), *after]
    parts = (shown[:FRAMES_BEFORE], shown[FRAMES_BEFORE:])
    odometry = _carried_away([[lap.map_from_camera[i] for i in part] for part in parts], start)
    wrong, alone = 0, localizer.localize(Query.single(lap.image(goal), lap.camera))
    frames = [(lap, i) for i in shown]
    for number, result in enumerate(_in_sequence(localizer, frames, odometry, FixFilter(FixFilterConfig()))):
        if result.map_from_rig is None or number < FRAMES_BEFORE:
            continue
        metres, radians = result.map_from_rig.distance_to(lap.map_from_camera[shown[number]])
        if metres <= WRONG_M and radians <= WRONG_RAD:
            return Kidnapping(number - FRAMES_BEFORE + 1, wrong, not alone.ok)
        wrong += 1
    return Kidnapping(None, wrong, not alone.ok)


def _carried_away(parts: Sequence[Sequence[Pose]], seed: int) -> list[Pose]:
    """Odometry that does not notice what happens between the parts."""
    odometry = [Pose.identity()]
    for part in parts:
        odometry += [odometry[-1] @ pose for pose in drifting_odometry(part, seed)]
    return odometry[1:]


def leaving(_: Path) -> dict[str, Any]:
    """A robot that has localized itself, and sees a place that only looks like the mapped one from then on."""
    worlds = []
    for kind, seed in WORLDS:
        scenario = make_scenario(kind, seed, map_frames=MAP_FRAMES, query_frames=LAP_FRAMES)
        localizer, own = map_of(scenario.map_lap), scenario.query_lap
        known, strange = 0, list[LocalizationResult]()
        for number in range(LOOKALIKE_LAPS):
            lap = make_lookalike_lap(scenario.map_lap.world, FRAMES_PER_LAP, 1000 * seed + number)
            start = number * LAP_FRAMES // LOOKALIKE_LAPS
            before = list(range(start, start + FRAMES_BEFORE))
            odometry = _carried_away([[own.map_from_camera[i] for i in before], lap.map_from_camera], number)
            frames = [*((own, i) for i in before), *((lap, i) for i in range(FRAMES_PER_LAP))]
            answers = list(_in_sequence(localizer, frames, odometry, FixFilter(FixFilterConfig())))
            known += any(answer.ok for answer in answers[:FRAMES_BEFORE])
            strange += answers[FRAMES_BEFORE:]
        accepted = sum(answer.ok or answer.status is Status.HELD for answer in strange)
        published = sum(answer.ok for answer in strange)
        figures = {"frames": len(strange), "accepted": accepted, "published": published}
        worlds.append({"name": f"{kind} {seed}", "starts_known": f"{known}/{LOOKALIKE_LAPS}", **figures})
        print("  ", worlds[-1], flush=True)
    return {"worlds": worlds}


def _in_sequence(
    localizer: Localizer, frames: Sequence[tuple[Lap, int]], odometry: Sequence[Pose], fixes: FixFilter
) -> Iterator[LocalizationResult]:
    """Answers to frames of laps, a tenth of a second apart."""
    questions = [
        QuerySource(
            lap.name(i), lambda lap=lap, i=i, k=k: Query.single(lap.image(i), lap.camera, stamp_ns=k * FRAME_NS)
        )
        for k, (lap, i) in enumerate(frames)
    ]
    for record in localize_sequence(localizer, questions, odometry, fixes, progress=iter):
        yield record.result
