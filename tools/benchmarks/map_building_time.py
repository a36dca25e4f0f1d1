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

"""How long a map takes to build, and how much memory: posed images, few and many, and a video with odometry."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import vloc, vloc_command
from benchmarks.provenance import ROOT, make_once
from benchmarks.real import scene

from vloc_ros.storage.maps import read_map

POSED_IMAGES, VIDEO_IMAGES = 1000, 300
# of worlds that nothing was fitted to
_BUILDING, _HOME = 3110, 3111
_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a build took.

    Attributes:
        wall_s: seconds of wall time, from the start of the command to its end.
        cpu_s: seconds of all cores.
        peak_mb: most resident memory, 10^6 bytes.
        images: in the map.
        points: in the map.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    images: int
    points: int


def map_building_time(out: Path) -> dict[str, Any]:
    """A build of each kind."""
    folder = out / "map_building_time"
    kitchen = scene("redkitchen")
    posed = ("--images", kitchen / "map/images", "--poses", kitchen / "map/poses_tum.txt")
    building = _record(folder / "building", "--pose-topic", "/truth", seed=_BUILDING, frames=POSED_IMAGES)
    video = _record(folder / "video", seed=_HOME, frames=VIDEO_IMAGES)
    cases = {
        "redkitchen, posed": (*posed, "--camera", kitchen / "camera_info.yaml"),
        "simulated apartment, posed": (*_images(building), "--poses", building / "poses.txt"),
        "simulated video, odometry 1 %": (*_images(video), "--poses", video / "odometry.txt", "--poses-drift"),
    }
    costs = {name: _build(folder / f"map-{number}", *words) for number, (name, words) in enumerate(cases.items())}
    return {"cases": {name: asdict(cost) for name, cost in costs.items()}}


def _record(folder: Path, *poses: str, seed: int, frames: int) -> Path:
    """The images of a lap through a simulated apartment, with their poses; made once."""
    bag = folder.with_name(f"{folder.name}-bag")
    world = ("--world", "apartment", "--seed", str(seed), "--frames", str(frames))

    def make() -> None:
        vloc("bag", "make", *world, "--drift", "1", "--out", bag)
        vloc("bag", "images", bag, *poses, "--out", folder)

    make_once((folder, bag), of={"seed": seed, "frames": frames}, make=make)
    return folder


def _images(recording: Path) -> tuple[str | Path, ...]:
    return "--images", recording / "images", "--camera", recording / "camera.yaml"


def _build(made: Path, *words: str | Path) -> _Cost:
    """Build a map, anew."""
    shutil.rmtree(made, ignore_errors=True)
    wall_s, cpu_s, peak_mb = measure_process(vloc_command("map", "build", *words, "--out", made))
    built = read_map(made)
    return _Cost(wall_s, cpu_s, peak_mb, len(built.keyframes), len(built.points))


def measure_process(command: Sequence[str]) -> tuple[float, float, float]:
    """Run a command that starts no other processes.

    Returns:
        seconds of wall time, seconds of all cores, most resident memory in 10^6 bytes.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    start, peak_kb = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    while True:
        # not ru_maxrss, which begins with the memory of the process that starts the command
        peak_kb = max(peak_kb, _peak_kb(process.pid))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(_PERIOD_S)
    wall_s, process.returncode = time.monotonic() - start, os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return wall_s, usage.ru_utime + usage.ru_stime, peak_kb * 1024 / 1e6


def _peak_kb(pid: int) -> int:
    """Most resident memory of a process so far; 0 of one that has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
