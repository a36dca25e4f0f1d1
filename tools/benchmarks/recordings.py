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

"""Maps from what robots and people record, in simulated worlds: how much is placed, how well, and what is refused.

Each row is a recording of a kind that maps were lost on: a head-worn tour with drifting odometry, images with poses
that structure from motion may correct, a street with forward motion, images that hardly overlap, a camera that stood
still, poses of another trajectory. Maps are built and asked by the commands that README names.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.command import evaluate, vloc
from benchmarks.provenance import ROOT, Rows, make_once
from tqdm import tqdm

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.simulation.driving import drive_route, plan_route
from vloc_ros.simulation.lighting import DAY
from vloc_ros.simulation.scenario import DEFAULT_CAMERA, Lap
from vloc_ros.simulation.trajectories import make_stamps, walk
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.trajectories import Trajectory, write_tum

RATE_HZ = 10.0
TOUR_IMAGES, POSED_IMAGES, STREET_IMAGES, STREET_SPACING_M = 330, 238, 80, 1.5
FEW_IMAGES, STANDS_M = 40, 0.003
# of worlds that nothing was fitted to
ROOM, OTHER_ROOM, STREETS = 3100, 3101, (3102, 3103)


@dataclass(frozen=True, slots=True)
class _Recording:
    """Images with true poses.

    Attributes:
        images: folder with an image a file.
        poses: TUM file, a row an image, of its stamp.
        camera: camera_info YAML.
    """

    images: Path
    poses: Path
    camera: Path

    @property
    def words(self) -> tuple[str | Path, ...]:
        """As options of a command."""
        return "--images", self.images, "--camera", self.camera


def recordings(out: Path) -> dict[str, Any]:
    """A row for each recording."""
    rows = Rows.of("recordings")
    measures: dict[str, Callable[[Path], dict[str, Any]]] = {
        "head-worn tour of a room, bag, odometry 1 %": _tour_with_odometry,
        "the same, odometry 5 %": lambda folder: _tour_with_odometry(folder, percent=5.0),
        "the same room, posed images, sfm": _posed_tour,
        **{f"street {seed}, posed images, sfm": lambda folder, seed=seed: _street(folder, seed) for seed in STREETS},
        f"street {STREETS[0]}, given poses": lambda folder: _street(folder, STREETS[0], structure="given"),
        "images that hardly overlap": _hardly_overlapping,
        "a camera that stood still": _standing,
        "a camera that stood still, given poses": lambda folder: _standing(folder, structure="given"),
        "poses of another tour": _other_poses,
    }
    settings = json.dumps([TOUR_IMAGES, POSED_IMAGES, STREET_IMAGES, STREET_SPACING_M, FEW_IMAGES, STANDS_M])
    figures = {}
    for name, measure in measures.items():
        figures[name] = rows.once(name, of=settings, measure=lambda measure=measure: measure(out / "recordings"))
        print("  ", name, {key: value for key, value in figures[name].items() if key != "evaluation"}, flush=True)
    return {"rows": figures, "row_revisions": rows.revisions}


def _tour_with_odometry(folder: Path, *, percent: float = 1.0) -> dict[str, Any]:
    """Every second image of a tour in a bag, every eighth of the others as query."""
    lap, name = _tour(ROOM), f"tour-{percent:g}"
    mapped, asked = _record(folder, "tour-map", lap, range(0, len(lap), 2)), _queries(folder, "tour", lap)
    bag = folder / f"{name}-bag"
    given = (*mapped.words, "--poses", mapped.poses, "--rate", f"{RATE_HZ / 2:g}")
    drift = ("--drift", f"{percent:g}", "--seed", "1")
    make_once((bag,), of={"drift": percent}, make=lambda: vloc("bag", "make", *given, *drift, "--out", bag))
    return _build_and_ask(folder, name, ("--bag", bag), asked, true=mapped.poses)


def _posed_tour(folder: Path) -> dict[str, Any]:
    """Consecutive images with their poses, which structure from motion may correct."""
    lap = _tour(ROOM)
    mapped = _record(folder, "posed-map", lap, range(POSED_IMAGES))
    asked = _queries(folder, "posed", _tour(ROOM, seed=7))
    return _build_and_ask(folder, "posed", (*mapped.words, "--poses", mapped.poses, "--structure", "sfm"), asked)


def _street(folder: Path, seed: int, *, structure: str = "sfm") -> dict[str, Any]:
    """Images of a car that drives straight on; queries lie half way between them."""
    world = make_world("street", seed)
    poses = drive_route(world, plan_route(world), spacing_m=STREET_SPACING_M / 2, seed=seed)[: 2 * STREET_IMAGES]
    lap = _lap(world, poses, seed)
    mapped = _record(folder, f"street-{seed}-map", lap, range(0, len(lap), 2))
    asked = _record(folder, f"street-{seed}-queries", lap, range(1, len(lap), 4))
    words = (*mapped.words, "--poses", mapped.poses, "--structure", structure)
    return _build_and_ask(folder, f"street-{seed}-{structure}", words, asked)


def _hardly_overlapping(folder: Path) -> dict[str, Any]:
    """Images of a tour of several rooms, so far apart that few show what another shows."""
    lap = _lap(world := make_world("apartment", OTHER_ROOM), walk(world, FEW_IMAGES, OTHER_ROOM), OTHER_ROOM)
    mapped = _record(folder, "sparse-map", lap, range(len(lap)))
    return _build_and_ask(folder, "sparse", (*mapped.words, "--structure", "sfm"), None)


def _standing(folder: Path, *, structure: str = "sfm") -> dict[str, Any]:
    """Images from one place but for millimetres."""
    tour, rng = _tour(ROOM), np.random.default_rng(ROOM)
    pose = tour.map_from_camera[0]
    moves = rng.normal(0.0, STANDS_M / 2, (FEW_IMAGES, 3))
    lap = _lap(tour.world, [replace(pose, translation=pose.translation + move) for move in moves], ROOM)
    mapped = _record(folder, "still-map", lap, range(len(lap)))
    poses = ("--poses", mapped.poses) if structure == "given" else ()
    return _build_and_ask(folder, f"still-{structure}", (*mapped.words, *poses, "--structure", structure), None)


def _other_poses(folder: Path) -> dict[str, Any]:
    """The images of one tour with the poses of another."""
    mapped = _record(folder, "tour-map", (lap := _tour(ROOM)), range(0, len(lap), 2))
    other = folder / "other-poses.txt"
    poses = _tour(ROOM, seed=9).map_from_camera[::2]
    write_tum(other, Trajectory(make_stamps(len(poses), rate_hz=RATE_HZ / 2), tuple(poses)))
    return _build_and_ask(folder, "other", (*mapped.words, "--poses", other, "--structure", "sfm"), None)


def _tour(seed_of_world: int, *, seed: int = 0) -> Lap:
    world = make_world("room", seed_of_world)
    return _lap(world, walk(world, TOUR_IMAGES, seed, height_m=1.65), seed)


def _lap(world: Any, poses: Sequence[Pose], seed: int) -> Lap:
    return Lap(world, DEFAULT_CAMERA, DAY, tuple(poses), make_stamps(len(poses), rate_hz=RATE_HZ), seed)


def _queries(folder: Path, name: str, lap: Lap) -> _Recording:
    return _record(folder, f"{name}-queries", lap, range(1, len(lap), 8))


def _record(folder: Path, name: str, lap: Lap, numbers: Sequence[int]) -> _Recording:
    """Render images of a lap, once."""
    made = folder / name
    recording = _Recording(made / "images", made / "poses.txt", made / "camera.yaml")

    def make() -> None:
        recording.images.mkdir(parents=True)
        write_camera(recording.camera, lap.camera, name="camera")
        for number in tqdm(numbers, desc=name):
            cv2.imwrite(str(recording.images / lap.name(number)), lap.image(number))
        poses = [lap.map_from_camera[number] for number in numbers]
        write_tum(recording.poses, Trajectory(lap.stamps_ns[list(numbers)], tuple(poses)))

    make_once((made,), of={"world": lap.world.name, "seed": lap.seed, "numbers": list(numbers)}, make=make)
    return recording


def _build_and_ask(
    folder: Path, name: str, words: Sequence[str | Path], asked: _Recording | None, *, true: Path | None = None
) -> dict[str, Any]:
    """Build a map, or say how it was refused, then localize queries in it.

    Args:
        folder: of everything that is made.
        name: of the map.
        words: options of `vloc map build`.
        asked: the queries; None where the map should be refused.
        true: poses of the mapped images, for a map in a frame of its own, which is moved into theirs.
    """
    made = folder / f"{name}-map-built"
    command = [sys.executable, "-m", "vloc_ros.cli.main", "map", "build", *map(str, words), "--out", str(made)]
    print("   $ vloc", *command[3:], flush=True)
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        return {"code": done.returncode, "refusal": done.stderr.strip().splitlines()[-1]}
    figures: dict[str, Any] = {"code": 0, **_describe(made)}
    if asked is None:
        return figures
    if true is not None:
        aligned = folder / f"{name}-aligned"
        vloc("map", "align", made, "--trajectory", true, "--out", aligned)
        made = aligned
    figures["evaluation"] = evaluate(folder / f"{name}.json", "--map", made, *asked.words, "--poses", asked.poses)
    return figures


def _describe(made: Path) -> dict[str, Any]:
    """What `vloc map info` says of a map's images."""
    command = [sys.executable, "-m", "vloc_ros.cli.main", "map", "info", str(made), "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    return {"placed": len(found["keyframes"]), "metric": found["metric"], "provenance": found["provenance"]}
