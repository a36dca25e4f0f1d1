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

"""Figures of an evaluation of cross-view retrieval: recall, confusion of regions, examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from training.cross_view.layout import ViewImages
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.images import read_image

matplotlib.use("Agg")
from matplotlib import pyplot

_CELL_PX, _BORDER_PX, _RETRIEVED, _ROWS = 128, 5, 5, 4
_RIGHT_BGR, _WRONG_BGR, _PLAIN_BGR = (80, 170, 60), (60, 60, 210), (120, 120, 120)


def draw_recall(path: Path, curves: Mapping[str, Array]) -> None:
    """Recall among the first K, a line for each index."""
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for name, curve in curves.items():
        axes.plot(np.arange(1, len(curve) + 1), curve, label=name)
    axes.set(xlabel="K", ylabel="recall@K", xscale="log", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def draw_confusion(path: Path, names: Array, true: Array, found: Array) -> None:
    """Shares of the queries of each region by the region of what was retrieved first."""
    counts = np.zeros((len(names), len(names)))
    kept = np.isin(true, names)
    np.add.at(counts, (np.searchsorted(names, true[kept]), np.searchsorted(names, found[kept])), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(12.0, 3.0 + 0.3 * len(names))
    figure, axes = pyplot.subplots(figsize=(side, side))
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set(xlabel="retrieved region", ylabel="true region")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    _save(figure, path)


def draw_examples(path: Path, queries: ViewImages, gallery: ViewImages, similarity: Array) -> None:
    """Some queries whose first view is wrong and some whose is right: a query and what it retrieves, framed by colour.

    Raises:
        InputError: the file cannot be written.
    """
    right = queries.is_shown_by(gallery)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :_RETRIEVED]
    first = right[np.arange(len(right)), order[:, 0]]
    chosen = np.concatenate([np.flatnonzero(first == is_right)[:_ROWS] for is_right in (True, False)])
    rows = []
    for query in chosen:
        cells = [_frame(queries.paths[query], _PLAIN_BGR)]
        cells += [_frame(gallery.paths[g], _RIGHT_BGR if right[query, g] else _WRONG_BGR) for g in order[query]]
        rows.append(np.hstack(cells))
    if not cv2.imwrite(str(path), np.vstack(rows)):
        raise InputError(f"{path}: cannot be written; check the folder")


def _frame(path: Path, colour: tuple[int, int, int]) -> Array:
    image = read_image(path)
    image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    inner = cv2.resize(image, (_CELL_PX, _CELL_PX), interpolation=cv2.INTER_AREA)
    border = [_BORDER_PX] * 4
    return np.asarray(cv2.copyMakeBorder(inner, *border, cv2.BORDER_CONSTANT, value=colour))


def _save(figure: pyplot.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
