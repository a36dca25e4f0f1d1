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

"""Runs: the JSON files of `vloc evaluate --json`, scores over all queries and a row for each query."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.text import read_text

ROWS = "images"
_UNSCORED = ("unusable", "dropped", "not_answered")
_NEEDED = ("queries", "accepted", "false_accepts", "recall", "latency_ms", "map_bytes")
_AGAIN = "run `vloc evaluate --json` again with this version"


@dataclass(frozen=True, slots=True, eq=False)
class QueryRow:
    """How one query was answered. What is unknown is None, such as the error of a refused query or of a negative.

    Attributes:
        image: file name of the image.
        stamp_ns: time of the image, integer nanoseconds; None where it is not known.
        status: of the result.
        reason: why there is no pose; empty where there is one.
        candidate: where the pose came from.
        accepted: whether there is a pose.
        false_accept: accepted and farther than 50 cm or 5 degrees from the truth, or an accepted negative.
        translation_m: translation error, metres.
        rotation_deg: rotation error, degrees.
        position_std_m: square root of the trace of the estimated position covariance, metres.
        matches: number of 2D-3D matches.
        inliers: number of inliers among them.
        confidence: probability that the pose is right.
        latency_ms: milliseconds of all stages.
        frame_id: of the scene that the pose is in.
        map_from_rig: the accepted pose.
        truth: the true map_from_rig.
    """

    image: str
    stamp_ns: int | None
    status: str
    reason: str
    candidate: str
    accepted: bool
    false_accept: bool
    translation_m: float | None
    rotation_deg: float | None
    position_std_m: float | None
    matches: int
    inliers: int
    confidence: float | None
    latency_ms: float | None
    frame_id: str
    map_from_rig: Pose | None
    truth: Pose | None

    @property
    def key(self) -> tuple[str, int | None]:
        """What makes it the same query in another run."""
        return self.image, self.stamp_ns


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One evaluation of a set of queries.

    Attributes:
        name: for people.
        scores: over all queries, as `vloc_ros.evaluation.scores` makes them.
        rows: one per query that was scored: not those that cannot be used, or that nodes did not handle.
    """

    name: str
    scores: Mapping[str, Any]
    rows: tuple[QueryRow, ...]

    @property
    def negatives(self) -> bool:
        """Whether the images are of other places."""
        return all(row.truth is None for row in self.rows)


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read runs, each named by its file, and by its folder where two files have one name.

    Raises:
        InputError: a file is given twice, or `read_run` refuses it.
    """
    paths = [Path(path) for path in paths]
    files = [path.resolve() for path in paths]
    for path, file in zip(paths, files, strict=True):
        if files.count(file) > 1:
            raise InputError(f"{path}: is given twice, expected each run once")
    parts = next(n for n in range(1, 1000) if len({file.parts[-n:] for file in files}) == len(files))
    return [
        replace(read_run(path), name="/".join(file.with_suffix("").parts[-parts:]))
        for path, file in zip(paths, files, strict=True)
    ]


def read_run(path: Path) -> Run:
    """Read a run; it is named by its file.

    Raises:
        InputError: the file is missing, damaged, of another version, or no run.
    """
    try:
        values = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON ({error}), expected what `vloc evaluate --json` writes") from None
    missing = [key for key in _NEEDED if key not in values] if isinstance(values, dict) else list(_NEEDED)
    if missing:
        raise InputError(f"{path}: has no {missing[0]!r}, expected what `vloc evaluate --json` writes")
    if not isinstance(values.get(ROWS), list):
        raise InputError(f"{path}: has no rows of its images, as runs of earlier versions; {_AGAIN}")
    try:
        rows = tuple(row_from_values(row) for row in values[ROWS] if row["status"] not in _UNSCORED)
        run = Run(Path(path).stem, {key: value for key, value in values.items() if key != ROWS}, rows)
    except (InputError, AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: a row of its images is damaged or of another version ({error!r}); {_AGAIN}"
        ) from None
    if not rows or len({row.key for row in rows}) != len(rows):
        found = "has no usable image" if not rows else "has two images of one name and time"
        raise InputError(f"{path}: {found}, expected each image once; {_AGAIN}")
    return run


def row_from_values(values: Mapping[str, Any]) -> QueryRow:
    """A row from its values in JSON, which `vloc_ros.evaluation.query_rows` makes."""
    truth, accepted = _pose(values["truth"]), bool(values["accepted"])
    false_accept = values["false_accept"]
    return QueryRow(
        image=str(values["image"]),
        stamp_ns=None if values["stamp_ns"] is None else int(values["stamp_ns"]),
        status=str(values["status"]),
        reason=str(values["reason"]),
        candidate=str(values.get("candidate", "")),
        accepted=accepted,
        false_accept=accepted and truth is None if false_accept is None else bool(false_accept),
        translation_m=_number(values["translation_m"]),
        rotation_deg=_number(values["rotation_deg"]),
        position_std_m=_number(values["position_std_m"]),
        matches=int(values.get("matches", 0)),
        inliers=int(values.get("inliers", 0)),
        confidence=_number(values.get("confidence")),
        latency_ms=_number(values["latency_ms"]),
        frame_id=str(values.get("frame_id", "")),
        map_from_rig=_pose(values["map_from_rig"]),
        truth=truth,
    )


def _number(value: float | None) -> float | None:
    number = None if value is None else float(value)
    assert number is None or math.isfinite(number), f"{number} is not finite"
    return number


def _pose(values: Mapping[str, Any] | None) -> Pose | None:
    return None if values is None else Pose.from_quaternion(values["quaternion"], values["translation"])
