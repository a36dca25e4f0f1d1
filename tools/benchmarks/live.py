"""Figures through the real nodes, over DDS, at the bag's own rate."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks import real
from benchmarks.command import evaluated, vloc

MOUNT = ("0.2", "0.0", "0.5", "0", "5", "0")
WORLD, SEED, RATE_HZ = "room", 120, "10"


def _live(out: Path, bag: Path, folder: Path) -> dict[str, Any]:
    words = ("--map", folder, "--bag", bag, "--truth-topic", "/truth", "--live")
    return evaluated(out / f"{bag.name}.evaluation.json", *words)


def redkitchen(out: Path) -> dict[str, Any]:
    """The 80 query photographs as a bag with drifting odometry, at the recording's own rate."""
    data, folder, bag = real.scene("redkitchen"), out / "maps" / "redkitchen", out / "redkitchen-bag"
    if not folder.is_dir():
        folder, _ = real.build(out, "redkitchen")
    shutil.rmtree(bag, ignore_errors=True)
    query = ("--images", data / "query/images", "--poses", data / "query/poses_tum.txt")
    vloc("bag", "make", *query, "--camera", data / "camera_info.yaml", "--mount", *MOUNT, "--drift", "1", "--out", bag)
    return _live(out, bag, folder)


def simulated(out: Path) -> dict[str, Any]:
    """A simulated robot: the first lap makes the map, the second is played."""
    map_bag, bag, folder = out / "room-map-bag", out / "room-bag", out / "maps" / "room"
    for path in (map_bag, bag, folder):
        shutil.rmtree(path, ignore_errors=True)
    world = ("--world", WORLD, "--seed", str(SEED), "--rate", RATE_HZ)
    vloc("bag", "make", *world, "--frames", "100", "--out", map_bag)
    vloc("map", "build", "--bag", map_bag, "--pose-topic", "/truth", "--out", folder)
    vloc("bag", "make", *world, "--lap", "2", "--frames", "100", "--drift", "1", "--out", bag)
    return _live(out, bag, folder)
