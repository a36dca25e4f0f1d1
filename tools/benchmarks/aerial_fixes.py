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

"""Positions of drone images in an aerial map of simulated towns that no table was fitted to; images of elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.provenance import Rows, make_once

from training.data.aerial_views import (
    CONDITIONS,
    GROUND_SIZE_M,
    NO_ALTITUDE,
    DroneImage,
    bend,
    cut_view,
    fly,
    photograph_town,
)
from vloc_ros.assembly import build_tile_search
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.ground_view import AerialQuery
from vloc_ros.core.localization.tile_search import TileSearch
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import PosePrior
from vloc_ros.geo.aerial_map import make_aerial_map
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.progress import bar
from vloc_ros.simulation.world import make_aliased_world, make_world
from vloc_ros.storage.maps import read_map, write_map

# a position is of use within these of the truth, horizontally
WITHIN_M = (1.0, 2.0, 5.0)
ELSEWHERE, ALIKE = "other towns", "towns that look alike"
# standard deviation of a prior along each axis, of the true place or, of images of elsewhere, of any in the map
_PRIOR_STD_M, PRIORED = 15.0, "with a prior"
# apart from the towns of training.acceptance and training.cross_view
_SEED, _TOWNS, _FLIGHTS = 77000, 16, 2
# towns of the map lie in a row, this far apart; images of elsewhere are cut from the photographs of other towns
_APART_M, _OTHERS, _CUT, _ALIKE_TOWNS, _ALIKE = 1000.0, 4, 500, 4, 24
_CUT_PRIORED = 125


def aerial_fixes(out: Path) -> dict[str, Any]:
    """What is accepted, and how far off it is, by condition; the map is kept, and so is each row."""
    folder, rows = out / "aerial_fixes" / "map", Rows.of("aerial_fixes")
    of = {"seed": _SEED, "towns": _TOWNS, "apart_m": _APART_M}
    make_once((folder,), of=of, make=lambda: write_map(_make_map(), folder))
    aerial = read_map(folder)
    search = build_tile_search(LocalizerConfig(), aerial)

    def row(name: str, images: Iterable[DroneImage], **settings: float) -> list[dict[str, Any]]:
        answers = rows.once(
            name,
            of=json.dumps({**of, **settings}, sort_keys=True),
            measure=lambda: {"answers": _ask(search, images, name)},
        )["answers"]
        assert isinstance(answers, list)
        return answers

    figures: dict[str, Any] = {"tiles": sum(map(len, aerial.places.values())), "towns": _TOWNS}
    for condition, name in enumerate(CONDITIONS):
        figures[name] = summarize(row(name, _fly(condition), flights=_FLIGHTS))
    prior = {"prior_std_m": _PRIOR_STD_M}
    name = f"winter, {PRIORED}"
    figures[name] = summarize(row(name, _fly(CONDITIONS.index("winter")), flights=_FLIGHTS, **prior))
    for name, images, settings in (
        (ELSEWHERE, _elsewhere(_CUT), {"others": _OTHERS, "cut": _CUT}),
        (f"{ELSEWHERE}, {PRIORED}", _elsewhere(_CUT_PRIORED), {"others": _OTHERS, "cut": _CUT_PRIORED, **prior}),
        (ALIKE, _alike(), {"alike_towns": _ALIKE_TOWNS, "cut": _ALIKE}),
        (f"{ALIKE}, {PRIORED}", _alike(), {"alike_towns": _ALIKE_TOWNS, "cut": _ALIKE, **prior}),
    ):
        answers = row(name, images, **settings)
        figures[name] = {"queries": len(answers), "accepted": sum(answer["accepted"] for answer in answers)}
    return {**figures, "row_revisions": rows.revisions}


def summarize(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of some answers with a truth, the median error of those accepted, metres, and their NEES per axis."""
    accepted = [answer for answer in answers if answer["accepted"]]
    found: dict[str, Any] = {"queries": len(answers), "accepted": len(accepted)}
    for limit in WITHIN_M:
        found[f"within {limit:g} m"] = sum(answer["error_m"] <= limit for answer in accepted)
    if accepted:
        found["median_m"] = float(np.median([answer["error_m"] for answer in accepted]))
        found["worst_m"] = max(answer["error_m"] for answer in accepted)
        found["median_yaw_deg"] = float(np.median([answer["yaw_deg"] for answer in accepted]))
        found["nees"] = float(np.mean([answer["nees"] for answer in accepted]))
    found["s"] = float(np.median([answer["s"] for answer in answers]))
    return found


def _make_map() -> LandmarkMap:
    """One aerial map of all towns."""
    photographs = map(_photograph, range(_TOWNS))
    ground = [replace(one, left_m=one.left_m + number * _APART_M) for number, one in enumerate(photographs)]
    return make_aerial_map(
        ground, name="towns", datum=None, ground_sizes_m=(GROUND_SIZE_M, 2 * GROUND_SIZE_M), progress=bar
    )


@lru_cache(maxsize=_TOWNS + _OTHERS)
def _photograph(number: int, *, alike: bool = False) -> GroundImage:
    """The orthophoto of a town, or of one that has its buildings elsewhere, bent as mosaics are."""
    world, seed = make_world("town", _SEED + number), _SEED + number
    return bend(photograph_town(make_aliased_world(world, seed) if alike else world, seed=seed), seed)


def _fly(condition: int) -> Iterator[DroneImage]:
    """Images of every town of the map on another day."""
    for number in range(_TOWNS):
        world, ground = make_world("town", _SEED + number), _photograph(number)
        for k in range(_FLIGHTS):
            flown = fly(world, ground, condition, _SEED + 1000 * number + 100 * condition + k)
            yield flown.move(number * _APART_M)


def _elsewhere(count: int) -> Iterator[DroneImage]:
    """Images of other towns, so many of each."""
    for number in range(_TOWNS, _TOWNS + _OTHERS):
        for k in range(count):
            yield cut_view(_photograph(number), _SEED + 1000 * number + k)


def _alike() -> Iterator[DroneImage]:
    for number in range(_ALIKE_TOWNS):
        for k in range(_ALIKE):
            view = cut_view(_photograph(number, alike=True), _SEED + 1000 * number + 500 + k)
            yield view.move(number * _APART_M)  # where the town that it resembles lies


def _ask(search: TileSearch, images: Iterable[DroneImage], name: str) -> list[dict[str, Any]]:
    """What is answered to images in the conditions that a row is named by."""
    altitude, answers = name != CONDITIONS[NO_ALTITUDE], []
    for number, image in enumerate(bar(images, description=name)):
        query = image.query(altitude=altitude)
        if PRIORED in name:
            query = replace(
                query, prior=_draw_prior(image.map_from_camera, number, known=not name.startswith(ELSEWHERE))
            )
        answers.append(_answer(search, query, image.map_from_camera))
    return answers


def _draw_prior(truth: Pose, number: int, *, known: bool) -> PosePrior:
    """A position that is off by its standard deviation: of the truth, or of a place in any town of the map."""
    rng = np.random.default_rng([_SEED, 41, number])
    x, y = truth.translation[:2] + rng.normal(0.0, _PRIOR_STD_M, 2)
    x += 0.0 if known else _APART_M * rng.integers(_TOWNS)
    variances = [_PRIOR_STD_M**2, _PRIOR_STD_M**2, 1.0, 0.1, 0.1, 0.1]
    return PosePrior(Pose(np.eye(3), np.array([x, y, 0.0])), np.diag(variances))


def _answer(search: TileSearch, query: AerialQuery, truth: Pose) -> dict[str, Any]:
    """Whether a view is accepted, its error, and what it took."""
    start = time.perf_counter()
    result = search.localize(query)
    seconds = round(time.perf_counter() - start, 3)
    if result.map_from_rig is None:
        return {"accepted": False, "s": seconds}
    return {"accepted": True, "s": seconds, **_errors(result.map_from_rig, result.covariance, truth)}


def _errors(found: Pose, covariance: Array | None, truth: Pose) -> dict[str, float]:
    error = found.error_to(truth)
    assert covariance is not None
    return {
        "error_m": float(np.hypot(error[0], error[1])),
        "yaw_deg": float(np.degrees(abs(error[5]))),
        "nees": float(error @ np.linalg.solve(covariance, error)) / 6,
    }
