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

"""Tables about engines: what a precision loses and costs, and what TensorRT-RTX builds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource

_SECTION = "engines"


def built(figures: Mapping[str, Figures]) -> Table:
    """Seconds and bytes of the engines for each target, and of one for all; of a matcher the sums over its stages."""
    targets = [*figures[_SECTION]["targets"].split(", "), "all"]
    rows = []
    for name, precision, one in _rows(figures):
        if "built" not in one:
            continue
        made = [one["built"][target] for target in targets]
        cells = [f"{each['s']:.1f} s, {each['bytes'] / 1e6:.2f} MB" for each in made]
        rows.append([name, precision, str(one["plans"]), f"{one['graph_bytes'] / 1e6:.2f}", *cells])
    return Table(["model", "precision", "engines", "ONNX, MB", *targets[:-1], "all in one"], rows)


def losses(figures: Mapping[str, Figures]) -> Table:
    """What each precision loses, by the tool and in the task, and what ONNX Runtime takes for it."""
    rows = []
    for name, precision, one in _rows(figures):
        if "loss" not in one:
            continue
        loss = "; ".join(f"{title} {value:.3f}" for title, value in one["loss"].items())
        verdict = "" if precision == "fp32" else "recommended" if one["recommended"] else "not recommended"
        times = [f"{one[key]:.0f}" if key in one else "" for key in ("wall_ms", "cpu_ms")]
        rows.append([name, precision, loss, verdict, _describe_task(one["task"]), *times])
    return Table(["model", "precision", "on held-out inputs", "the tool says", "in its task", "ms", "CPU ms"], rows)


def _describe_task(task: Figures) -> str:
    if "r1" in task:
        return f"R@1 {task['r1']:.1%} of {task['queries']}"
    if "auc" in task:
        auc = ", ".join(f"{value:.1f}" for value in task["auc"])
        return f"AUC {auc}; {task['matches']:.0f} matches, {task['precision']:.1%} right"
    error_m = task["median_translation_m"]
    error = "" if error_m is None else f", {100 * error_m:.2f} cm"
    return f"{task['accepted']} of {task['queries']}{error}"


def first_pose(figures: Mapping[str, Figures]) -> Table:
    """Seconds from the start of a process, medians."""
    rows = []
    for kind, runs in figures[_SECTION].get("first_pose", {}).items():
        rows.append([kind, *(f"{median(run[step] for run in runs):.2f}" for step in runs[0])])
    return Table(["", "Python", "libraries", "map and model", "first pose", "CPU time of all"], rows)


def _rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, str, Figures]]:
    for name, precisions in figures[_SECTION]["models"].items():
        for precision, one in precisions.items():
            yield name, precision, one


TABLES = {
    "engines_built": TableSource((_SECTION,), built),
    "engines_losses": TableSource((_SECTION,), losses),
    "engines_first_pose": TableSource((_SECTION,), first_pose),
}
