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

"""Plots of the benchmark, drawn from its figures. Each file holds a hash of the figures that it was drawn from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.provenance import Figures, Section
from benchmarks.tables.acceptance import PREFIX, SECTIONS, WORLDS

# bars and lines of the same meaning have the same colour in all plots
_RIGHT, _WRONG, _REFUSED = "#4477aa", "#cc3311", "#dddddd"
_HASH = re.compile(r"figures ([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Plot:
    """How a plot is made.

    Attributes:
        sections: whose figures it shows.
        draw: draws the figures of the sections by name.
    """

    sections: tuple[str, ...]
    draw: Callable[[Mapping[str, Figures]], Any]

    def hash(self, sections: Mapping[str, Section]) -> str:
        """Hash of the figures that it shows."""
        figures = {name: sections[name].figures for name in self.sections}
        return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()[:16]


def draw_plots(folder: Path, sections: Mapping[str, Section]) -> list[Path]:
    """Draw those plots whose figures changed; the written files."""
    import matplotlib

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "vloc", "font.size": 9})
    written = []
    for name in outdated_plots(folder, sections):
        plot, path = PLOTS[name], folder / f"{name}.svg"
        figure = plot.draw({section: sections[section].figures for section in plot.sections})
        metadata = {"Date": None, "Description": f"figures {plot.hash(sections)}"}
        figure.savefig(path, metadata=metadata)
        written.append(path)
    return written


def outdated_plots(folder: Path, sections: Mapping[str, Section]) -> list[str]:
    """The plots that were not drawn from these figures; those of sections that were not measured are left out."""
    names = [name for name, plot in PLOTS.items() if all(section in sections for section in plot.sections)]
    return [name for name in names if _drawn_from(folder / f"{name}.svg") != PLOTS[name].hash(sections)]


def _drawn_from(path: Path) -> str | None:
    found = _HASH.search(path.read_text()) if path.is_file() else None
    return found[1] if found else None


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def draw_similar_rooms(figures: Mapping[str, Figures]) -> Any:
    """Right, wrong and refused by method, in buildings of more and more rooms."""
    sizes = [size for size in figures["growth"]["sizes"] if size["copies"] == 1]
    order = list(dict.fromkeys(name for size in reversed(sizes) for name in size["methods"]))[::-1]
    figure = _figure(5.5, 2.9)
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        groups = {order.index(name): method["all"] for name, method in size["methods"].items()}
        left = np.zeros(len(groups))
        for part, colour in (("right", _RIGHT), ("wrong", _WRONG), ("refused", _REFUSED)):
            shares = np.array([100 * group.get(part, 0) / group["queries"] for group in groups.values()])
            axes.barh(list(groups), shares, left=left, color=colour, label=part)
            left += shares
        axes.set(title=f"{size['rooms']} rooms", xlim=(0, 100), xlabel="% of queries")
    panels[0].set_yticks(range(len(order)), [name.replace(", ", ",\n") for name in order])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_light(figures: Mapping[str, Figures]) -> Any:
    """Share of redkitchen's queries that is accepted and right, by light and motion blur, for each extractor."""
    figure = _figure(5.5, 2.9)
    axes = figure.subplots()
    for number, name in enumerate(figures):
        conditions = _pool_sensors(figures[name]["scenes"]["redkitchen"])
        right = [sum(one.get("right", 0) for one in group) for group in conditions.values()]
        queries = [sum(one["queries"] for one in group) for group in conditions.values()]
        places = np.arange(len(conditions)) + 0.4 * (number - 0.5)
        axes.bar(places, 100 * np.array(right) / queries, 0.38, label=name.removeprefix(PREFIX))
    names = [title.replace("motion blur of ", "blur ").replace(" of the light", " light") for title in conditions]
    axes.set_xticks(np.arange(len(names)), names, rotation=30, ha="right")
    axes.set(ylabel="% within 5 cm and 5°", ylim=(0, 105), title="redkitchen")
    axes.legend(loc="lower left")
    return figure


def draw_compression(figures: Mapping[str, Figures]) -> Any:
    """Recall by the bytes of a map."""
    figure = _figure(7.5, 2.6)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, name in zip(panels, ("redkitchen", "castle"), strict=True):
        curve = figures["compression"][name]
        for chosen, style in (("ranked", "o-"), ("at random", "s--")):
            rows = [row for row in curve if row["chosen"] in ("all", chosen)]
            kilobytes = [row["bytes"] / 1e3 for row in rows]
            axes.plot(kilobytes, [100 * row["recall"]["5cm_5deg"] for row in rows], style, label=chosen)
        hloc = figures["compression"]["hloc"][name]["bytes"] / 1e6
        axes.set(title=f"{name} (hloc: {hloc:.1f} MB)", xlabel="map, kB", ylim=(0, 105))
    panels[0].set_ylabel("% within 5 cm and 5°")
    panels[0].legend(loc="lower right")
    return figure


def draw_acceptance(figures: Mapping[str, Figures]) -> Any:
    """Receiver operating characteristic of each extractor, and reliability."""
    photographs = {name.removeprefix(PREFIX): f for name, f in figures.items() if name != WORLDS}
    figure = _figure(4.2 * (len(photographs) + 1), 4.0)
    *panels, reliability = figure.subplots(1, len(photographs) + 1)
    for axes, (name, f) in zip(panels, photographs.items(), strict=True):
        of_worlds = figures[WORLDS][name]
        _draw_curves(axes, f, of_worlds, title=name)
        bins = of_worlds["reliability"]
        reliability.plot(bins["confidence"], bins["share"], "o-", label=name)
    reliability.plot([0, 1], [0, 1], color="0.7")
    reliability.set(xlabel="confidence", ylabel="share that is right, of as many wrong ones", title="simulated worlds")
    reliability.legend()
    return figure


def _draw_curves(axes: Any, f: Figures, of_worlds: Figures, *, title: str) -> None:
    """Accepted right poses of redkitchen in groups of conditions, against accepted images of other places."""
    negatives = np.sort(of_worlds["scores"]["foreign"])[::-1]
    queries, accepted = of_worlds["foreign"]["queries"], of_worlds["foreign"]["accepted"]
    # dense enough for a logarithmic axis
    ranks = np.unique(np.geomspace(1, len(negatives), 80).astype(int))
    for name, members in _pool_sensors(f["scenes"]["redkitchen"]).items():
        right = np.concatenate([one["scores"]["right"] for one in members])
        total = sum(one["queries"] for one in members)
        shares = [(right >= score).sum() / total for score in negatives[ranks - 1]]
        (line,) = axes.plot(ranks / queries, shares, label=name)
        shown = (right >= of_worlds["threshold"]).sum() / total
        axes.plot([0.5 / queries], [shown], "o", color=line.get_color())
    axes.set(
        xscale="log", xlim=(1e-4, 0.3), ylim=(0, 1.02), title=f"{title}, redkitchen",
        xlabel=f"share of {queries} simulated images of other places accepted\n(dots: as shipped, {accepted})",
        ylabel="share of queries accepted and right",
    )  # fmt: skip
    axes.legend(fontsize=7, loc="lower right")


def _pool_sensors(conditions: Mapping[str, Figures]) -> dict[str, list[Figures]]:
    """The conditions, those of all sensors together."""
    groups: dict[str, list[Figures]] = {}
    for condition, of_one in conditions.items():
        groups.setdefault(condition.split(", sensor")[0], []).append(of_one)
    return groups


PLOTS = {
    "similar_rooms": Plot(("growth",), draw_similar_rooms),
    "light": Plot(tuple(name for name in SECTIONS if name != WORLDS), draw_light),
    "compression": Plot(("compression",), draw_compression),
    "acceptance": Plot(SECTIONS, draw_acceptance),
}
