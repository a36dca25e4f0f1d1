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

"""Results of a published benchmark: scores of a scene, the table of all, and what a server scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.evaluation.scores import score_results
from vloc_ros.evaluation.table import limit_text, median_text
from vloc_ros.storage.results import ResultRecord

_COLUMNS = ("scene", "poses", "map images", "queries", "localized")


def score_scene(
    records: Sequence[ResultRecord], truth: Sequence[Pose | None], groups: Sequence[str], *, map_bytes: int
) -> dict[str, Any]:
    """Scores of a scene as values for JSON.

    They are those of `score_results`, where the true poses are known, and per group how many are localized.

    Args:
        records: the results.
        truth: true poses; None where only a server has them.
        groups: of each query, as `day` and `night`.
        map_bytes: size of the map.
    """
    known = [pose for pose in truth if pose is not None]
    scores = score_results(records, known, map_bytes=map_bytes) if len(known) == len(records) else None
    queries, localized = Counter(groups), Counter(g for g, r in zip(groups, records, strict=True) if r.result.ok)
    return {
        "scores": scores,
        "localized": sum(localized.values()),
        "unusable": sum(not record.usable for record in records),
        "groups": {name: {"queries": queries[name], "localized": localized[name]} for name in queries if name},
    }


def format_results(results: Sequence[Mapping[str, Any]], *, limits: Sequence[str]) -> str:
    """The table of all scenes as aligned text, and what became of those without a result.

    Args:
        results: of the scenes; `status` is `done` or says why there is none.
        limits: names in `RECALL_LIMITS` that the benchmark publishes.
    """
    done = [result for result in results if result["status"] == "done"]
    rows = [[*_COLUMNS, *(limit_text(name) for name in limits), "median error"]] if done else []
    rows += [_row(result, limits) for result in done]
    for poses in dict.fromkeys(result["poses"] for result in done):
        rows += _means(poses, [r["scores"]["recall"] for r in done if r["poses"] == poses and r["scores"]], limits)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for result in done:
        lines += [
            f"{result['scene']}, {name}: {part['localized']} of {part['queries']} localized"
            for name, part in result["groups"].items()
        ]
    lines += [f"{r['scene']} ({r['poses']}): {r['status']}" for r in results if r["status"] != "done"]
    return "\n".join(lines)


def _means(poses: str, recalls: Sequence[Mapping[str, float]], limits: Sequence[str]) -> list[list[str]]:
    """The row of the mean over the scenes by one kind of poses, which papers report apart; none of a single scene."""
    if len(recalls) < 2:
        return []
    means = [f"{np.mean([recall[name] for recall in recalls]):.1%}" for name in limits]
    return [["mean", poses, "", "", "", *means, ""]]


def _row(result: Mapping[str, Any], limits: Sequence[str]) -> list[str]:
    scores = result["scores"]
    shares = [f"{scores['recall'][name]:.1%}" if scores else "-" for name in limits]
    counts = [f"{result[name]}" for name in ("map_images", "queries", "localized")]
    return [result["scene"], result["poses"], *counts, *shares, median_text(scores) if scores else "by the server"]


def format_submission(records: Sequence[ResultRecord], *, with_folders: bool) -> str:
    """Rows `IMAGE qw qx qy qz tx ty tz` of camera_from_world; images that were refused have no row.

    https://www.visuallocalization.net takes names without folders, the comparisons of 7-Scenes and 12-Scenes by
    Brachmann et al. (2021) take them with folders.
    """
    rows = []
    for record in records:
        if (pose := record.result.map_from_rig) is not None:
            camera_from_world = pose.inverse()
            x, y, z, w = camera_from_world.quaternion
            values = (w, x, y, z, *camera_from_world.translation)
            name = record.image if with_folders else record.image.rpartition("/")[2]
            rows.append(" ".join([name, *(f"{value:.9g}" for value in values)]))
    return "".join(f"{row}\n" for row in rows)
