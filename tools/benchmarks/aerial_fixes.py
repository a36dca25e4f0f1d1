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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.acceptance import keypoint_model
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
from vloc_ros.geo.aerial_map import make_aerial_map
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model
from vloc_ros.progress import bar
from vloc_ros.simulation.world import make_aliased_world, make_world
from vloc_ros.storage.maps import read_map, write_map

# a position is of use within these of the truth, horizontally
WITHIN_M = (1.0, 2.0, 5.0)
ELSEWHERE, ALIKE = "other towns", "towns that look alike"
# apart from the towns of training.acceptance and training.cross_view
_SEED, _TOWNS, _FLIGHTS = 77000, 16, 2
# towns of the map lie in a row, this far apart; images of elsewhere are cut from the photographs of other towns
_APART_M, _OTHERS, _ALIKE_TOWNS, _ALIKE = 1000.0, 4, 4, 24
# images cut from each of the others, by the extractor of the map; learned keypoints need a heading, or eight views
_CUT, _HEADING_STD_RAD = {"rootsift": 500, "xfeat": 125}, 0.1
_TITLES = {"rootsift": "", "xfeat": ", XFeat"}


class _Row(NamedTuple):
    """Queries of one kind: their name, images, settings, what is known of them, and whether the map shows them."""

    name: str
    images: Callable[[], Iterable[DroneImage]]
    of: dict[str, Any]
    altitude: bool
    heading: bool
    mapped: bool = True


def aerial_fixes(out: Path) -> dict[str, Any]:
    """What is accepted, and how far off it is, by extractor and condition; the maps are kept, and so is each row."""
    figures, rows = dict[str, Any](towns=_TOWNS), Rows.of("aerial_fixes")
    for extractor in _CUT:
        folder, model = out / "aerial_fixes" / f"map-{extractor}", keypoint_model(out, extractor)
        of = {"seed": _SEED, "towns": _TOWNS, "apart_m": _APART_M, "extractor": extractor}
        make_once((folder,), of=of, make=partial(_write_map, folder, model))
        aerial = read_map(folder)
        search = build_tile_search(LocalizerConfig(), aerial)
        figures.setdefault("tiles", sum(map(len, aerial.places.values())))
        for row in _rows(extractor):
            settings = json.dumps({**of, **row.of}, sort_keys=True)
            answers = rows.once(row.name, of=settings, measure=partial(_ask, search, row))["answers"]
            accepted = sum(answer["accepted"] for answer in answers)
            counts = {"queries": len(answers), "accepted": accepted}
            figures[row.name] = summarize(answers) if row.mapped else counts
    return {**figures, "row_revisions": rows.revisions}


def _rows(extractor: str) -> Iterator[_Row]:
    title, cut, flown = _TITLES[extractor], _CUT[extractor], {"flights": _FLIGHTS}
    heading = extractor != "rootsift"
    for condition, name in enumerate(CONDITIONS):
        yield _Row(f"{name}{title}", partial(_fly, condition), flown, condition != NO_ALTITUDE, heading)
    if heading:
        night = CONDITIONS.index("night")
        yield _Row(f"night, no heading{title}", partial(_fly, night), flown, True, False)
    elsewhere, alike = {"others": _OTHERS, "cut": cut}, {"alike_towns": _ALIKE_TOWNS, "cut": _ALIKE}
    yield _Row(f"{ELSEWHERE}{title}", partial(_elsewhere, cut), elsewhere, True, heading, mapped=False)
    yield _Row(f"{ALIKE}{title}", _alike, alike, True, heading, mapped=False)


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


def _write_map(folder: Path, model: Path | None) -> None:
    """One aerial map of all towns."""
    photographs = map(_photograph, range(_TOWNS))
    ground = [replace(one, left_m=one.left_m + number * _APART_M) for number, one in enumerate(photographs)]
    keypoint_model = None if model is None else read_keypoint_model(model)
    landmark_map = make_aerial_map(
        ground,
        name="towns",
        datum=None,
        ground_sizes_m=(GROUND_SIZE_M, 2 * GROUND_SIZE_M),
        extractor=None if keypoint_model is None else keypoint_model_config(keypoint_model),
        keypoint_model=keypoint_model,
        progress=bar,
    )
    write_map(landmark_map, folder)


@lru_cache(maxsize=_TOWNS + _OTHERS)
def _photograph(number: int, *, alike: bool = False) -> GroundImage:
    """The orthophoto of a town, or of one that has its buildings elsewhere, bent as mosaics are."""
    world, seed = make_world("town", _SEED + number), _SEED + number
    return bend(photograph_town(make_aliased_world(world, seed) if alike else world, seed=seed), seed)


@lru_cache(maxsize=len(CONDITIONS))
def _fly(condition: int) -> list[DroneImage]:
    """Images of every town of the map on another day."""
    flown = []
    for number in range(_TOWNS):
        world, ground = make_world("town", _SEED + number), _photograph(number)
        seeds = (_SEED + 1000 * number + 100 * condition + k for k in range(_FLIGHTS))
        flown += [fly(world, ground, condition, seed).move(number * _APART_M) for seed in seeds]
    return flown


def _elsewhere(cut: int) -> Iterator[DroneImage]:
    for number in range(_TOWNS, _TOWNS + _OTHERS):
        for k in range(cut):
            yield cut_view(_photograph(number), _SEED + 1000 * number + k)


def _alike() -> Iterator[DroneImage]:
    for number in range(_ALIKE_TOWNS):
        for k in range(_ALIKE):
            yield cut_view(_photograph(number, alike=True), _SEED + 1000 * number + 500 + k)


def _ask(search: TileSearch, row: _Row) -> dict[str, Any]:
    rng = np.random.default_rng(_SEED)
    answers = []
    for image in bar(row.images(), description=row.name):
        error_rad = float(rng.normal(0.0, _HEADING_STD_RAD)) if row.heading else None
        query = image.query(altitude=row.altitude, heading_error_rad=error_rad)
        answers.append(_answer(search, query, image.map_from_camera))
    return {"answers": answers}


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
