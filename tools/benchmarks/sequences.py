"""Figures of images in a row in simulated worlds: a robot that is carried away, and one that leaves what was mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.simulated import MAP_FRAMES, map_of
from tqdm import tqdm

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.fix import Fix
from vloc_ros.core.fix_filter import FixFilter
from vloc_ros.core.localizer import Localizer
from vloc_ros.core.pose import Pose
from vloc_ros.core.query import Query
from vloc_ros.core.result import LocalizationResult
from vloc_ros.evaluation.answers import Question, answers_in_sequence
from vloc_ros.simulation.odometry import drifting_odometry
from vloc_ros.simulation.scenario import Lap, make_lookalike_lap, make_scenario

WORLDS = [("room", 131), ("apartment", 132), ("corridor", 133), ("yard", 134)]
KIDNAPPINGS_PER_WORLD, LOOKALIKE_LAPS, FRAMES_PER_LAP = 15, 5, 100
LAP_FRAMES, FRAME_NS = 400, 100_000_000
FAR_M, MOST_FRAMES, FRAMES_BEFORE = 2.0, 40, 4
WRONG_M, WRONG_RAD = 0.5, np.radians(5.0)


def kidnappings(_: Path) -> dict[str, Any]:
    """How long it takes until the pose is right again, and what is published before."""
    worlds = []
    for kind, seed in WORLDS:
        scenario = make_scenario(kind, seed, map_frames=MAP_FRAMES, query_frames=LAP_FRAMES)
        localizer = map_of(scenario.map_lap)
        lap, rng = scenario.query_lap, np.random.default_rng(seed)
        runs = [_kidnapped(localizer, lap, rng) for _ in tqdm(range(KIDNAPPINGS_PER_WORLD), desc=lap.world.name)]
        worlds.append({"name": f"{kind} {seed}", "frames": [f for f, _ in runs], "wrong": sum(w for _, w in runs)})
        print("  ", worlds[-1], flush=True)
    return {"worlds": worlds, "frame_s": FRAME_NS * 1e-9, "most": MOST_FRAMES}


def _kidnapped(localizer: Localizer, lap: Lap, rng: np.random.Generator) -> tuple[int | None, int]:
    """Frames from being put down to the first right pose that is published, None for never; wrong ones before."""
    centres = np.stack([pose.translation for pose in lap.map_from_camera])
    last = len(lap) - MOST_FRAMES
    start = int(rng.integers(last))
    far = np.flatnonzero(np.linalg.norm(centres[:last] - centres[start + FRAMES_BEFORE], axis=1) > FAR_M)
    goal = int(rng.choice(far))
    shown = [*range(start, start + FRAMES_BEFORE), *range(goal, goal + MOST_FRAMES)]
    before, after = (
        drifting_odometry([lap.map_from_camera[i] for i in part], start)
        for part in (shown[:FRAMES_BEFORE], shown[FRAMES_BEFORE:])
    )
    odometry = [*before, *(before[-1] @ pose for pose in after)]
    # the robot knows where it is when it is carried away
    fixes = FixFilter(FixFilterConfig())
    fixes.tell(Fix(lap.map_from_camera[start], np.eye(6) * 1e-4), odometry[0], 0)
    wrong = 0
    for number, result in enumerate(_in_sequence(localizer, lap, shown, odometry, fixes)):
        if result.map_from_rig is None or number < FRAMES_BEFORE:
            continue
        metres, radians = result.map_from_rig.distance_to(lap.map_from_camera[shown[number]])
        if metres <= WRONG_M and radians <= WRONG_RAD:
            return number - FRAMES_BEFORE + 1, wrong
        wrong += 1
    return None, wrong


def leaving(_: Path) -> dict[str, Any]:
    """A robot that knows where it is, and sees a place that only looks like the mapped one from then on."""
    worlds = []
    for kind, seed in WORLDS:
        scenario = make_scenario(kind, seed, map_frames=MAP_FRAMES, query_frames=2)
        localizer, believed = map_of(scenario.map_lap), 0
        statuses: list[LocalizationResult] = []
        for number in range(LOOKALIKE_LAPS):
            lap = make_lookalike_lap(scenario.map_lap.world, FRAMES_PER_LAP, 1000 * seed + number)
            odometry = drifting_odometry(lap.map_from_camera, number)
            fixes = _Counting(FixFilterConfig())
            at = scenario.map_lap.map_from_camera[number * MAP_FRAMES // LOOKALIKE_LAPS]
            fixes.tell(Fix(at, np.eye(6) * 1e-4), odometry[0], 0)
            statuses += _in_sequence(localizer, lap, range(FRAMES_PER_LAP), odometry, fixes)
            believed += fixes.judged
        published = sum(result.ok for result in statuses)
        worlds.append({"name": f"{kind} {seed}", "frames": len(statuses), "accepted": believed, "published": published})
        print("  ", worlds[-1], flush=True)
    return {"worlds": worlds}


class _Counting(FixFilter):
    """Counts what the localizer accepted, published or held."""

    judged = 0

    def judge(self, *args: Any) -> Any:
        """Count, and judge."""
        self.judged += 1
        return super().judge(*args)


def _in_sequence(
    localizer: Localizer, lap: Lap, shown: Sequence[int], odometry: Sequence[Pose], fixes: FixFilter
) -> Iterator[LocalizationResult]:
    """Answers to these frames of a lap, a tenth of a second apart."""
    questions = [
        Question(lap.name(i), lambda i=i, k=k: Query.single(lap.image(i), lap.camera, stamp_ns=k * FRAME_NS))
        for k, i in enumerate(shown)
    ]
    for record in answers_in_sequence(localizer, questions, odometry, fixes, progress=iter):
        yield record.result
