"""The chapter of BENCHMARK.md about which poses are accepted, and its figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.provenance import FIGURES
from benchmarks.tables import Figures, table
from scipy.stats import beta

PREFIX = "acceptance_"
WORLDS = f"{PREFIX}worlds"
SECTIONS = (f"{PREFIX}rootsift", f"{PREFIX}xfeat", WORLDS)
_NEGATIVES = {"foreign": "other places", "aliased": "places that look alike", "misplaced": "a wrong prior",
              "furnished alike": "rooms furnished alike"}  # fmt: skip
_FIGURE = "acceptance.png"


def acceptance(figures: dict[str, Figures]) -> str:
    """What each extractor accepts, by condition."""
    photographs = {name.removeprefix(PREFIX): of_one for name, of_one in figures.items() if name != WORLDS}
    worlds = figures.get(WORLDS, {})
    rows = [
        [f"{scene}, {condition}", *(_counts(f["scenes"][scene][condition]) for f in photographs.values())]
        for scene, conditions in next(iter(photographs.values()), {"scenes": {}})["scenes"].items()
        for condition in conditions
    ]
    for scene in next(iter(photographs.values()), {"other_places": {}})["other_places"]:
        accepted = [_accepted(f["other_places"][scene]) for f in photographs.values()]
        rows.append([f"{scene}'s map, photographs of other places", *accepted])
    if worlds and photographs:
        draw(photographs, worlds)
        rows += [
            [f"simulated, {title}", *(_accepted_in_worlds(worlds[name], kind) for name in photographs)]
            for kind, title in _NEGATIVES.items()
        ]
        rows.append(["calibration error, simulated", *(_calibration(worlds[name]) for name in photographs)])
    text = (
        f'`make bench SECTIONS="{" ".join(figures)}"`. Each query of the photographs by day, relit as at dusk and at '
        "night, in a twentieth and a fiftieth of the light with photon noise, read noise and vignetting of three sensors "
        "(`vloc_ros.simulation.lighting`), and blurred by a motion along a line (pixels at 640 pixels of width). Accepted "
        "within 5 cm and 5°, in brackets its 95 % interval (Clopper and Pearson 1934); less precise: up to 0.5 m and 5°; "
        "wrong: more than that. Of other places everything that is accepted is wrong. The acceptance tables are fitted, "
        "and their thresholds chosen, in simulated worlds alone (`python -m training.acceptance`).\n"
    )
    if worlds:
        text += (
            "\nThe simulated rows are of worlds that served neither. Rooms furnished alike and not in the map differ from "
            "the mapped one in a tenth to a half of what hangs and lies in them.\n\n"
            f"![accepted right poses against the rate of false accepts, and reliability](docs/figures/{_FIGURE})\n"
        )
    return text + "\n" + table(["images", *photographs], rows)


def _counts(f: Figures) -> str:
    right, wrong, imprecise, queries = (f.get(name, 0) for name in ("right", "wrong", "imprecise", "queries"))
    low, high = interval(right, queries)
    more = f", {imprecise} less precise" if imprecise else ""
    return f"{right}/{queries} ({low:.0%} to {high:.0%}){more}, {wrong} wrong"


def _accepted(f: Figures) -> str:
    return f"{f.get('wrong', 0)} of {f['queries']} accepted"


def _accepted_in_worlds(f: Figures, kind: str) -> str:
    return f"{f[kind]['accepted']} of {f[kind]['queries']} accepted"


def _calibration(f: Figures) -> str:
    low, high = f["calibration_error_interval"]
    return f"{f['calibration_error']:.3f} ({low:.3f} to {high:.3f})"


def interval(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Clopper and Pearson 1934)."""
    low = float(beta.ppf(0.025, hits, of - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, of - hits)) if hits < of else 1.0


def draw(photographs: dict[str, Figures], worlds: dict[str, Figures]) -> None:
    """Receiver operating characteristic of each extractor, and reliability."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * (len(photographs) + 1), 4.8), layout="constrained")
    *panels, reliability = figure.subplots(1, len(photographs) + 1)
    for axes, (name, f) in zip(panels, photographs.items(), strict=True):
        _draw_curves(axes, f, worlds[name], title=name)
        bins = worlds[name]["reliability"]
        reliability.plot(bins["confidence"], bins["share"], "o-", label=name)
    reliability.plot([0, 1], [0, 1], color="0.7")
    reliability.set(xlabel="confidence", ylabel="share that is right, of as many wrong ones", title="simulated worlds")
    reliability.legend()
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / _FIGURE, dpi=90)


def _draw_curves(axes: Any, f: Figures, of_worlds: Figures, *, title: str) -> None:
    """Accepted right poses of redkitchen in groups of conditions, against accepted images of other places."""
    negatives = np.sort(of_worlds["scores"]["foreign"])[::-1]
    queries, accepted = of_worlds["foreign"]["queries"], of_worlds["foreign"]["accepted"]
    ranks = np.arange(1, len(negatives) + 1)
    groups: dict[str, list[Figures]] = {}
    for condition, of_one in f["scenes"]["redkitchen"].items():
        groups.setdefault(condition.split(", sensor")[0], []).append(of_one)
    for name, members in groups.items():
        right = np.concatenate([one["scores"]["right"] for one in members])
        total = sum(one["queries"] for one in members)
        (line,) = axes.plot(ranks / queries, [(right >= score).sum() / total for score in negatives], label=name)
        shown = (right >= of_worlds["threshold"]).sum() / total
        axes.plot([0.5 / queries], [shown], "o", color=line.get_color())
    axes.set(
        xscale="log", xlim=(1e-4, 0.3), ylim=(0, 1.02), title=f"{title}, redkitchen",
        xlabel=f"share of {queries} simulated images of other places accepted\n(dots: as shipped, {accepted})",
        ylabel="share of queries accepted and right",
    )  # fmt: skip
    axes.legend(fontsize=7, loc="lower right")
