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

"""How an aerial map grows: what ten thousand tiles take to build, to store and to search."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from benchmarks.command import vloc
from benchmarks.large_town import LargeTown
from benchmarks.provenance import Rows, make_once

from vloc_ros.assembly import build_tile_search
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.localization.tile_search import TileSearch
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.tile_encoder import AERIAL
from vloc_ros.geo.xyz_folders import open_xyz_folder
from vloc_ros.storage.maps import map_bytes, read_map

# Web Mercator tiles each way of the towns that are mapped, the largest last: a thousand tiles of the map, and ten
SIDES = (21, 68)
_SEED, _QUERIES, _WITHIN_M = 83_000, 40, 2.0
T = TypeVar("T")


def aerial_size(out: Path) -> dict[str, Any]:
    """Figures of each size; each row is kept."""
    folder, rows = out / "aerial_size", Rows.of("aerial_size")
    sizes = {}
    for side in SIDES:
        measure = partial(_measure, folder / str(side), side)
        sizes[str(side)] = rows.once(f"{side}", of=json.dumps([_SEED, side, _QUERIES]), measure=measure)
    return {"sizes": sizes, "row_revisions": rows.revisions}


@cache
def _town() -> LargeTown:
    """All of the town, of which the smaller maps show a part."""
    return LargeTown.draw(SIDES[-1], _SEED)


def _measure(out: Path, side: int) -> dict[str, Any]:
    """Build a map of the tiles of a part of the town, load it, and locate images in it."""
    town = _town()
    tiles, folder = out / "xyz", out / "map"
    make_once((tiles,), of={"seed": _SEED, "side": side}, make=partial(town.write, tiles, tiles=side))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = vloc("map", "aerial", "build", folder, "--xyz", tiles)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as cache:  # a robot that has not seen the map
        kept = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = cache
        try:
            first_s, aerial = _timed(lambda: read_map(folder))
            again_s, aerial = _timed(lambda: read_map(folder))
            ready_s, search = _timed(lambda: build_tile_search(LocalizerConfig(), aerial))
            figures = _locate(search, aerial, tiles, town)
        finally:
            os.environ.pop("XDG_CACHE_HOME") if kept is None else os.environ.update(XDG_CACHE_HOME=kept)
    places = aerial.places[AERIAL]
    return {
        "tiles": len(places),
        "square_km": float(np.prod(np.ptp(places.translations[:, :2], axis=0))) / 1e6,
        "bytes": map_bytes(folder),
        "build_s": seconds,
        "build_cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "build_resident_mb": after.ru_maxrss / 1024,
        "first_load_s": first_s,
        "load_s": again_s,
        "ready_s": ready_s,
        **figures,
    }


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    done = work()
    return time.perf_counter() - start, done


def _locate(search: TileSearch, aerial: LandmarkMap, tiles: Path, town: LargeTown) -> dict[str, Any]:
    """Times and answers to images of places in the map, with their altitude and without it."""
    folder, datum = open_xyz_folder(tiles), aerial.scenes[0].datum
    assert datum is not None
    images = [town.fly(folder, datum, _SEED + k) for k in range(_QUERIES)]
    found: dict[str, Any] = {"queries": _QUERIES}
    for name, altitude in (("altitude", True), ("no altitude", False)):
        answers = [_timed(partial(search.localize, image.query(altitude=altitude))) for image in images]
        errors = [
            float(np.linalg.norm(result.map_from_rig.error_to(image.map_from_camera)[:2]))
            for image, (_, result) in zip(images, answers, strict=True)
            if result.map_from_rig is not None
        ]
        found[name] = {
            "median_s": float(np.median([seconds for seconds, _ in answers])),
            "slowest_s": max(seconds for seconds, _ in answers),
            "accepted": len(errors),
            "within 2 m": sum(error <= _WITHIN_M for error in errors),
            "worst_m": max(errors, default=0.0),
        }
    return found
