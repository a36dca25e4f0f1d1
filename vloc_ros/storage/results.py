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

"""Result folders: `poses.txt` with the accepted poses, `results.jsonl` with all results, maybe `truth.txt`.

Rows of poses are TUM's; where the images have no times, they begin with the image's name in place of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.storage.atomic import StorageError, write_bytes_atomically
from vloc_ros.storage.output_folders import check_free
from vloc_ros.storage.regular_files import open_regular
from vloc_ros.storage.text import read_text
from vloc_ros.storage.trajectories import HEADER, format_pose, format_tum_row

POSES, TRUTH, RESULTS = "poses.txt", "truth.txt", "results.jsonl"
_NAMED_HEADER = HEADER.replace("timestamp[s]", "image")
_METRES, _UNKNOWN_SCALE = "tx ty tz[m]", "tx ty tz[scale unknown]"
# the first line of a truth.txt, by which our own is known from other people's
_TRUTH_HEADER = "# true poses of the images in results.jsonl"
_MAX_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class ResultRecord:
    """The result of one image.

    Attributes:
        image: file name of the image.
        stamp_ns: time of the image, integer nanoseconds; None where it is not known.
        result: the localization result. When read from a file it has no inlier arrays, only their number.
        usable: False when there was no query, since the image cannot be read or does not fit its camera; the reason of
            the result states which.
    """

    image: str
    stamp_ns: int | None
    result: LocalizationResult
    usable: bool = True


def replaces_results(folder: Path, *, with_truth: bool = False) -> bool:
    """Whether results, `with_truth` with true poses too, written to a folder would replace earlier ones.

    Raises:
        StorageError: the folder holds something else, such as images or a map, or a truth.txt of somebody's own.
    """
    folder = Path(folder)
    if with_truth and (folder / TRUTH).exists() and not _is_own_truth(folder / TRUTH):
        raise StorageError(
            f"{folder / TRUTH}: exists and was not written by `vloc evaluate`, which would replace it; move it away, "
            "or name another folder"
        )
    if _starts_with_result(folder / RESULTS):
        return True
    check_free(folder, kind="results")
    return False


def write_results(
    folder: Path,
    records: Iterable[ResultRecord],
    truth: Sequence[Pose] | None = None,
    *,
    metric: bool = True,
    truth_metric: bool = True,
) -> None:
    """Write the files into `folder`, each atomically, in the order of the records.

    Args:
        folder: new, empty, or of earlier results.
        records: the results.
        truth: true poses of the first of them, for `truth.txt`; without any that of earlier results is removed.
        metric: whether the lengths of the map are metres; the head of `poses.txt` says it.
        truth_metric: the same of the true poses and `truth.txt`.

    Raises:
        StorageError: the disk is full, the folder is not writable, or `replaces_results` refuses it.
    """
    folder, records = Path(folder), list(records)
    replaces_results(folder, with_truth=truth is not None)
    lines = [json.dumps(_values_of_record(record), allow_nan=False) for record in records]
    accepted = [(record, pose) for record in records if (pose := record.result.map_from_rig) is not None]
    write_bytes_atomically(folder / RESULTS, "".join(f"{line}\n" for line in lines).encode())
    rows = _format_rows(accepted, metric=metric)
    write_bytes_atomically(folder / POSES, rows.encode())
    if truth is not None:
        rows = _format_rows(list(zip(records[: len(truth)], truth, strict=True)), metric=truth_metric)
        write_bytes_atomically(folder / TRUTH, f"{_TRUTH_HEADER}\n{rows}".encode())
    elif _is_own_truth(folder / TRUTH):
        (folder / TRUTH).unlink()


def _is_own_truth(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.readline(_MAX_LINE_BYTES).rstrip() == _TRUTH_HEADER.encode()
    except OSError:
        return False


def _format_rows(posed: Sequence[tuple[ResultRecord, Pose]], *, metric: bool) -> str:
    """TUM's in the order of time, or with the image's name in place of a time that would only be made up."""
    header, named_header = (
        head if metric else head.replace(_METRES, _UNKNOWN_SCALE) for head in (HEADER, _NAMED_HEADER)
    )
    timed = [(record.stamp_ns, pose) for record, pose in posed if record.stamp_ns is not None]
    if len(timed) == len(posed):
        rows = [format_tum_row(stamp_ns, pose) for stamp_ns, pose in sorted(timed, key=lambda row: row[0])]
        return "\n".join([header, *rows, ""])
    rows = [f"{record.image} {format_pose(pose)}" for record, pose in posed]
    return "\n".join([named_header, *rows, ""])


def read_results(folder: Path) -> tuple[ResultRecord, ...]:
    """Read `results.jsonl` of a result folder, also one of an earlier version.

    Raises:
        InputError: the file is missing or a line is no result; the message names the line.
    """
    path = Path(folder) / RESULTS
    records = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            records.append(_record_from_values(json.loads(line)))
        except (InputError, AssertionError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: is no result of `vloc localize` ({error!r})") from None
    return tuple(records)


def _starts_with_result(path: Path) -> bool:
    """Whether a file holds results, of this version or another."""
    try:
        with open_regular(path) as file:
            first = json.loads(file.readline(_MAX_LINE_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and {"image", "stamp_ns", "status"} <= first.keys()


def _values_of_record(record: ResultRecord) -> dict[str, Any]:
    result, pose, covariance = record.result, record.result.map_from_rig, record.result.covariance
    return {
        "image": record.image,
        "stamp_ns": record.stamp_ns,
        "usable": record.usable,
        "status": result.status.value,
        "map_from_rig": None
        if pose is None
        else {"translation": pose.translation.tolist(), "quaternion": pose.quaternion.tolist()},
        "covariance": None if covariance is None else covariance.tolist(),
        "frame_id": result.frame_id,
        "matches": int(result.matches),
        "inliers": int(result.inliers),
        "confidence": round(float(result.confidence), 6),
        "candidate": result.candidate,
        "reason": result.reason,
        "keypoints": int(result.keypoints),
        "times_ms": {stage: round(float(ms), 4) for stage, ms in result.times_ms.items()},
    }


def _record_from_values(values: dict[str, Any]) -> ResultRecord:
    pose, covariance = values["map_from_rig"], values["covariance"]
    candidate = values["proposal" if "proposal" in values else "candidate"]  # the key of earlier versions
    result = LocalizationResult(
        status=Status(values["status"]),
        map_from_rig=None if pose is None else Pose.from_quaternion(pose["quaternion"], pose["translation"]),
        covariance=None if covariance is None else np.array(covariance, dtype=np.float64).reshape(6, 6),
        frame_id=str(values["frame_id"]),
        matches=int(values["matches"]),
        inliers=int(values["inliers"]),
        confidence=float(values.get("confidence", np.nan)),  # earlier versions had none
        candidate=str(candidate),
        reason=str(values["reason"]),
        keypoints=int(values["keypoints"]),
        times_ms={str(stage): float(ms) for stage, ms in values["times_ms"].items()},
    )
    stamp_ns = None if values["stamp_ns"] is None else int(values["stamp_ns"])
    return ResultRecord(str(values["image"]), stamp_ns, result, bool(values.get("usable", True)))
