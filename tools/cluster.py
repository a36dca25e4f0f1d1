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

"""What `vloc map build --workers ray` costs and saves: maps of simulated images, built without Ray and with it.

    python tools/cluster.py                                   300 images, poses known
    python tools/cluster.py --images 300 1000 3000 --structure sfm
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python tools/cluster.py --images 100

For each number of images it builds three maps: in one process; by two workers of a Ray cluster on this machine; and by
two workers of which one is killed in each stage that they do. It prints wall time and processor time of every stage,
and how far the maps are apart. The exit code is 1 where poses, points or descriptors are not equal bit for bit; the
covariance is where this process has one thread too, as in the last line. The images are laps of 300 through an
apartment, 320x240, kept in out/cluster. Ray has to be installed: pip install 'vloc_ros[ray]'.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.local_cluster import busy_workers, processor_s, running_cluster

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedImage
from vloc_ros.datasets.simulated_recordings import record_simulated_lap
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.ray_workers import connect_to_ray
from vloc_ros.mapping.sfm.scale import UNKNOWN_SCALE
from vloc_ros.mapping.workers import THIS_PROCESS, Workers
from vloc_ros.progress import bar
from vloc_ros.storage.images import read_image

OUT = Path(__file__).resolve().parent.parent / "out" / "cluster"
CAMERA = Camera("OPENCV", 320, 240, (262.5, 262.5, 161.0, 119.0, -0.12, 0.03, 0.0005, -0.0003))
WORLD, SEED, LAP_FRAMES = "apartment", 7, 300
WORKERS = 2
KILL_AFTER_S = 1.0


@dataclass
class Stages:
    """Wall and processor seconds of each stage; what lies between two is the beginning of the second."""

    root: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    current: str = ""

    def __post_init__(self) -> None:
        self._of_workers = dict[int, float]()
        self._last = self._now()

    def progress(self, items: Iterable[Any], *, description: str, total: int | None = None) -> Iterator[Any]:
        """A `vloc_ros.core.sources.Progress`."""
        self.take(f"before {description}")
        self.current = description
        yield from bar(items, description=description, total=total)
        self.current = ""
        self.take(description)

    def take(self, name: str) -> None:
        """Count what was spent since the last time."""
        now = self._now()
        spent = self.seconds.setdefault(name, [0.0, 0.0])
        for k in range(2):
            spent[k] += now[k] - self._last[k]
        self._last = now

    def sample(self) -> None:
        """Note what the processes of the cluster have used; those that have ended keep what was noted last."""
        self._of_workers.update(processor_s(self.root) if self.root else {})

    def _now(self) -> tuple[float, float]:
        self.sample()
        return time.monotonic(), time.process_time() + sum(self._of_workers.values())


def main() -> int:
    """Build and compare; 0 where all maps of the same images are the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[300], metavar="N")
    parser.add_argument("--structure", choices=("given", "sfm"), default="given", help="sfm: without poses")
    parser.add_argument("--runs", choices=("whole", "killed"), nargs="+", default=["whole", "killed"])
    args = parser.parse_args()
    same = [_compare(count, args.runs, posed=args.structure == "given") for count in args.images]
    return 0 if all(same) else 1


def _compare(count: int, runs: Sequence[str], *, posed: bool) -> bool:
    images = list(simulated_images(count, posed=posed))
    alone, stages = build(images, THIS_PROCESS, root=0, posed=posed)
    report(f"{count} images, one process", stages, count)
    same = True
    with running_cluster(WORKERS) as root, connect_to_ray() as workers:
        for run in runs:
            with ExitStack() as stack:
                killing = stack if run == "killed" else None
                found, stages = build(images, workers, root=root, posed=posed, killing=killing)
            report(f"{count} images, {WORKERS} workers, {run}", stages, count)
            same &= is_same(alone, found)
    return same


def simulated_images(count: int, *, posed: bool) -> Iterator[PosedImage]:
    """The first so many images of the laps, rendered where they are not there yet."""
    OUT.mkdir(parents=True, exist_ok=True)
    for first in range(0, count, LAP_FRAMES):
        lap = record_simulated_lap(WORLD, frames=LAP_FRAMES, seed=SEED, lap_seed=first // LAP_FRAMES, camera=CAMERA)
        for number, frame in enumerate(lap.frames[: count - first], first):
            path = OUT / f"{number:05}.png"
            if not path.exists():
                cv2.imwrite(str(path), frame.pixels())
            pose = frame.map_from_camera if posed else None
            yield PosedImage(path.name, partial(read_image, path), CAMERA, pose, number * 10**9)


def build(
    images: Sequence[PosedImage], workers: Workers, *, root: int, posed: bool, killing: ExitStack | None = None
) -> tuple[LandmarkMap, Stages]:
    """A map and what its stages took."""
    stages = Stages(root)
    if killing is not None:
        killing.enter_context(workers_killed(stages))
    scale = None if posed else UNKNOWN_SCALE
    built = build_map(
        images, name="laps", config=MappingConfig(), scale=scale, progress=stages.progress, workers=workers
    )
    stages.take("end")
    return built, stages


def report(title: str, stages: Stages, count: int) -> None:
    """Print a row for each stage."""
    print(f"\n{title}\n{'':32}  wall s   CPU s  CPU ms an image", flush=True)
    rows = [*stages.seconds.items(), ("all", np.sum(list(stages.seconds.values()), axis=0))]
    for name, (wall, processor) in rows:
        print(f"{name:32}{wall:8.1f}{processor:8.1f}{1000 * processor / count:10.1f}", flush=True)


def is_same(first: LandmarkMap, second: LandmarkMap) -> bool:
    """Print how far apart two maps are; whether poses, points and descriptors are equal bit for bit."""
    if len(first.points) != len(second.points) or first.keyframes.names != second.keyframes.names:
        print(f"DIFFERENT: {len(first.points)} and {len(second.points)} points")
        return False
    pairs = {
        "positions": (first.keyframes.translations, second.keyframes.translations),
        "rotations": (first.keyframes.rotations, second.keyframes.rotations),
        "points": (first.points, second.points),
        "descriptors": (first.codes, second.codes),
        "covariance": (first.scene().calibration.scale, second.scene().calibration.scale),
    }
    apart = {name: float(np.abs(np.subtract(*both, dtype=np.float64)).max()) for name, both in pairs.items()}
    print("largest differences:", ", ".join(f"{name} {value:.3g}" for name, value in apart.items()), flush=True)
    return not any(value for name, value in apart.items() if name != "covariance")


@contextmanager
def workers_killed(stages: Stages) -> Iterator[None]:
    """In each stage that workers do, kill the first of them that works a second after its beginning."""
    done = threading.Event()

    def watch() -> None:
        hit, since = set[str](), ("", time.monotonic())
        while not done.wait(0.05):
            if stages.current != since[0]:
                since = stages.current, time.monotonic()
            working = busy_workers(stages.root)
            if working and since[0] and since[0] not in hit and time.monotonic() - since[1] > KILL_AFTER_S:
                stages.sample()
                os.kill(working[0], signal.SIGKILL)
                hit.add(since[0])
                print(f"killed process {working[0]} in the stage {since[0]}", flush=True)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
