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

"""Tables about global descriptors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from statistics import fmean

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource, hits

_AT = [f"{letter}@{k}" for letter in "PR" for k in (1, 5, 20)]
_UNDISTILLED = "student without distillation"
_GAINS = (
    ("distillation", "student", _UNDISTILLED),
    ("rotary positions in space", "teacher", "teacher without rotary positions"),
    ("labels from points, not boxes", _UNDISTILLED, f"{_UNDISTILLED}, overlap of boxes"),
    ("hard negatives", _UNDISTILLED, f"{_UNDISTILLED}, random negatives"),
    ("listwise loss", _UNDISTILLED, f"{_UNDISTILLED}, no listwise loss"),
    ("residual branch", _UNDISTILLED, f"{_UNDISTILLED}, transformer alone"),
    ("training, beyond its initialization", _UNDISTILLED, f"{_UNDISTILLED}, initialization only"),
)
_KITCHEN, _CORRIDOR, _BUILDING, _ABLATIONS, _COST = (
    f"global_descriptors_{part}" for part in ("kitchen", "corridor", "building", "ablations", "cost")
)


def ranked(figures: Mapping[str, Figures], *, section: str, light: str, limits: tuple[str, ...] = ()) -> Table:
    """The models that were measured in a light, or by another rule of what a positive is."""
    rows = []
    for title, found in figures[section][light].items():
        scores, localization = found["ranking"], found.get("localization")
        localized = [hits(localization, limit) if localization else "" for limit in limits]
        wrong = [str(localization["false_accepts"]) if localization else ""] if limits else []
        shares = [f"{scores[name]:.3f}" for name in _AT]
        rows.append([title, str(scores["dimension"]), *shares, *localized, *wrong])
    named = [limit.replace("cm_", " cm ").replace("deg", "°") for limit in limits]
    header = ["model", "dimensions", *_AT, *[f"localized, {limit}" for limit in named], *(["wrong"] if limits else [])]
    return Table(header, rows)


def gains(figures: Mapping[str, Figures]) -> Table:
    """Gains seed by seed."""
    f = figures[_ABLATIONS]
    rows = [
        [f"{what}, {light}", " ".join(gained), *[_gain([pair[name] for pair in gained.values()]) for name in _AT]]
        for what, with_it, without in _GAINS
        for light in ("day", "night")
        if (gained := _differences(_seeds(f, with_it, light), _seeds(f, without, light)))
    ]
    return Table(["gain of", "seeds", *_AT], rows)


def ablations(figures: Mapping[str, Figures]) -> Table:
    """Models, with the range over their seeds."""
    f = figures[_ABLATIONS]
    titles = list(dict.fromkeys(name.partition("/")[0] for name in f if "/" in name))
    rows = [
        [f"{title}, {light}", " ".join(found), *[_spread(found, name) for name in _AT]]
        for title in titles
        for light in ("day", "night")
        if (found := _seeds(f, title, light))
    ]
    return Table(["model", "seeds", *_AT], rows)


def cost(figures: Mapping[str, Figures]) -> Table:
    """Operations, bytes and times of each network."""
    rows = [
        [
            name,
            f"{m['height']}x{m['width']}",
            f"{m['parameters']:.2f}",
            f"{m['gmac']:.3f}",
            str(m["bytes"]),
            f"{m['torch_ms']:.1f}",
            f"{m['onnx_ms']:.1f}" if "onnx_ms" in m else "",
            f"{m['onnx_per_torch']:.2f}" if "onnx_ms" in m else "",
        ]
        for name, m in figures[_COST]["models"].items()
    ]
    header = ["network", "image", "M parameters", "GMAC", "bytes", "torch, ms", "ONNX Runtime, ms", "ONNX / torch"]
    return Table(header, rows)


def _seeds(f: Figures, title: str, light: str) -> dict[str, Figures]:
    """Scores by seed."""
    named = {name.partition("/")[2]: found for name, found in f.items() if name.partition("/")[0] == title}
    return {seed: found[light] for seed, found in named.items() if light in found}


def _differences(with_it: dict[str, Figures], without: dict[str, Figures]) -> dict[str, dict[str, float]]:
    """Differences of scores by seed."""
    both = [seed for seed in with_it if seed in without]
    return {seed: {name: with_it[seed][name] - without[seed][name] for name in _AT} for seed in both}


def _spread(found: dict[str, Figures], name: str) -> str:
    values = [scores[name] for scores in found.values()]
    return f"{fmean(values):.3f}" + (f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else "")


def _gain(values: list[float]) -> str:
    return f"{fmean(values):+.3f}" + (f" ({min(values):+.3f} to {max(values):+.3f})" if len(values) > 1 else "")


def _ranked(section: str, light: str, *limits: str) -> TableSource:
    return TableSource((section,), partial(ranked, section=section, light=light, limits=limits))


TABLES = {
    "descriptors_kitchen": _ranked(_KITCHEN, "day", "5cm_5deg", "25cm_2deg"),
    "descriptors_kitchen_strict": _ranked(_KITCHEN, "strict"),
    "descriptors_corridor": _ranked(_CORRIDOR, "day"),
    "descriptors_building_day": _ranked(_BUILDING, "day", "25cm_2deg"),
    "descriptors_building_night": _ranked(_BUILDING, "night", "25cm_2deg"),
    "descriptor_gains": TableSource((_ABLATIONS,), gains),
    "descriptor_ablations": TableSource((_ABLATIONS,), ablations),
    "descriptor_cost": TableSource((_COST,), cost),
}
