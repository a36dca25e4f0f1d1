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

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource

_SECTION = "engines"


def built(figures: Mapping[str, Figures]) -> Table:
    """Seconds and bytes of each engine."""
    rows = [
        [name, precision, f"{one['build_s']:.1f}", f"{one['graph_bytes'] / 1e6:.2f}", f"{one['plan_bytes'] / 1e6:.2f}"]
        for name, precision, one in _rows(figures)
    ]
    return Table(["model", "precision", "s to build", "ONNX graph, MB", "plan, MB"], rows)


def losses(figures: Mapping[str, Figures]) -> Table:
    """What each precision loses, and what ONNX Runtime takes for it."""
    rows = []
    for name, precision, one in _rows(figures):
        loss = one["loss"]
        same = loss.get("keypoints in both", loss.get("same image first"))
        shown = ["" if value is None else f"{value:.3f}" for value in (same, loss.get("median descriptor cosine"))]
        verdict = "" if precision == "fp32" else "recommended" if one["recommended"] else "not recommended"
        kitchen, corridor = one.get("redkitchen"), one.get("corridor_r1")
        found = (
            f"{kitchen['accepted']} of {kitchen['queries']}, {100 * kitchen['median_translation_m']:.2f} cm"
            if kitchen
            else ""
        )
        recall = "" if corridor is None else f"{corridor:.1%}"
        rows.append([name, precision, *shown, verdict, found, recall, f"{one['wall_ms']:.0f}", f"{one['cpu_ms']:.0f}"])
    header = ["model", "precision", "same keypoints, or nearest image", "descriptor cosine", "the tool says"]
    return Table([*header, "redkitchen", "corridor R@1", "ms", "CPU ms"], rows)


def _rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, str, Figures]]:
    for name, precisions in figures[_SECTION]["models"].items():
        for precision, one in precisions.items():
            yield name, precision, one


TABLES = {
    "engines_built": TableSource((_SECTION,), built),
    "engines_losses": TableSource((_SECTION,), losses),
}
