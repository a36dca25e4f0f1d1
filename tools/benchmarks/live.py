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

"""Figures through the real nodes, over DDS, at the bag's own rate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks import real
from benchmarks.command import evaluate, run_tool, vloc

MOUNT = ("0.2", "0.0", "0.5", "0", "5", "0")
WORLD, SEED, RATE_HZ, FAST_HZ = "room", 120, "10", "30"


def _live(out: Path, bag: Path, folder: Path, *options: str) -> dict[str, Any]:
    words = ("--map", folder, "--bag", bag, "--truth-topic", "/truth", "--live", *options)
    return evaluate(out / f"{bag.name}{''.join(options)}.evaluation.json", *words)


def redkitchen(out: Path) -> dict[str, Any]:
    """The 80 query photographs as a bag with drifting odometry, at the recording's own rate."""
    bag, folder = _redkitchen_bag(out)
    return _live(out, bag, folder)


def simulated(out: Path) -> dict[str, Any]:
    """A simulated robot: the first lap makes the map, the second is played."""
    bag, folder = _simulated_bag(out, RATE_HZ, 100)
    return _live(out, bag, folder)


def tracking(out: Path) -> dict[str, Any]:
    """Single images against images in sequence, where the last fix is a prior."""
    bags: dict[str, Any] = {}
    for name, (bag, folder) in {
        "redkitchen": _redkitchen_bag(out),
        f"simulated, {FAST_HZ} Hz": _simulated_bag(out, FAST_HZ, 300),
    }.items():
        bags[name] = {"single images": _live(out, bag, folder), "sequence": _live(out, bag, folder, "--sequence")}
    return {"bags": bags}


def rates(out: Path) -> dict[str, Any]:
    """Raw and compressed images of two sizes and rates, from a simulated robot to a localizer."""
    table = out / "live-rates.json"
    table.unlink(missing_ok=True)
    run_tool("live_rates.py", "--json", table, codes=(0, 1))  # 1: too few images have a status or odometry in some row
    if not table.is_file():
        raise RuntimeError("tools/live_rates.py ended before it had measured all rows")
    return {"rows": json.loads(table.read_text())}


def _redkitchen_bag(out: Path) -> tuple[Path, Path]:
    data, folder, bag = real.scene("redkitchen"), out / "maps" / "redkitchen", out / "redkitchen-bag"
    if not folder.is_dir():
        folder, _ = real.build(out, "redkitchen")
    shutil.rmtree(bag, ignore_errors=True)
    query = ("--images", data / "query/images", "--poses", data / "query/poses_tum.txt")
    vloc("bag", "make", *query, "--camera", data / "camera_info.yaml", "--mount", *MOUNT, "--drift", "1", "--out", bag)
    return bag, folder


def _simulated_bag(out: Path, rate_hz: str, frames: int) -> tuple[Path, Path]:
    map_bag, bag, folder = out / "room-map-bag", out / f"room-{rate_hz}hz-bag", out / "maps" / "room"
    for path in (map_bag, bag, folder):
        shutil.rmtree(path, ignore_errors=True)
    world = ("--world", WORLD, "--seed", str(SEED))
    vloc("bag", "make", *world, "--rate", RATE_HZ, "--frames", "100", "--out", map_bag)
    vloc("map", "build", "--bag", map_bag, "--pose-topic", "/truth", "--out", folder)
    played = ("--rate", rate_hz, "--lap", "2", "--frames", str(frames), "--drift", "1")
    vloc("bag", "make", *world, *played, "--out", bag)
    return bag, folder
