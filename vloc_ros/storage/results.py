"""Result folders: `poses.txt` with the accepted poses (TUM), `results.jsonl` with every answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.output_folders import check_free
from vloc_ros.storage.regular_files import open_regular
from vloc_ros.storage.text import read_text
from vloc_ros.storage.trajectories import HEADER, tum_row

POSES, RESULTS = "poses.txt", "results.jsonl"
_LONGEST_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class ResultRecord:
    """The answer for one image.

    Attributes:
        image: its file name.
        stamp_ns: its time, integer nanoseconds.
        result: the answer. Read back from a file it has no inlier arrays, only their number.
        usable: False where nothing could be asked, and the reason says why: the image cannot be read, or does not fit
            its camera.
    """

    image: str
    stamp_ns: int
    result: LocalizationResult
    usable: bool = True


def replaces_results(folder: Path) -> bool:
    """Whether results that are written there replace earlier ones.

    Raises:
        StorageError: something else is there, such as images or a map.
    """
    folder = Path(folder)
    if _begins_with_a_result(folder / RESULTS):
        return True
    check_free(folder, kind="results")
    return False


def write_results(folder: Path, records: Iterable[ResultRecord]) -> None:
    """Write both files into `folder`, in the order of the records, each in one step.

    Raises:
        StorageError: the disk is full, the folder is not writable, or `replaces_results` refuses it.
    """
    folder, records = Path(folder), list(records)
    replaces_results(folder)
    lines = [json.dumps(_values(record), allow_nan=False) for record in records]
    rows = [tum_row(r.stamp_ns, r.result.map_from_rig) for r in records if r.result.map_from_rig is not None]
    write_bytes_atomically(folder / RESULTS, "".join(f"{line}\n" for line in lines).encode())
    write_bytes_atomically(folder / POSES, "\n".join([HEADER, *rows, ""]).encode())


def read_results(folder: Path) -> tuple[ResultRecord, ...]:
    """Read `results.jsonl` of a result folder.

    Raises:
        InputError: the file is missing or a line is no result; the message names the line.
    """
    path = Path(folder) / RESULTS
    records = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            records.append(_record(json.loads(line)))
        except (InputError, AssertionError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: is no result of `vloc localize` ({error!r})") from None
    return tuple(records)


def _begins_with_a_result(path: Path) -> bool:
    """Whether it is what an earlier run wrote, of this version or another."""
    try:
        with open_regular(path) as file:
            first = json.loads(file.readline(_LONGEST_LINE_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and {"image", "stamp_ns", "status"} <= first.keys()


def _values(record: ResultRecord) -> dict[str, Any]:
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
        "proposal": result.proposal,
        "reason": result.reason,
        "keypoints": int(result.keypoints),
        "times_ms": {stage: round(float(ms), 4) for stage, ms in result.times_ms.items()},
    }


def _record(values: dict[str, Any]) -> ResultRecord:
    pose, covariance = values["map_from_rig"], values["covariance"]
    result = LocalizationResult(
        status=Status(values["status"]),
        map_from_rig=None if pose is None else Pose.from_quaternion(pose["quaternion"], pose["translation"]),
        covariance=None if covariance is None else np.array(covariance, dtype=np.float64).reshape(6, 6),
        frame_id=str(values["frame_id"]),
        matches=int(values["matches"]),
        inliers=int(values["inliers"]),
        proposal=str(values["proposal"]),
        reason=str(values["reason"]),
        keypoints=int(values["keypoints"]),
        times_ms={str(stage): float(ms) for stage, ms in values["times_ms"].items()},
    )
    return ResultRecord(str(values["image"]), int(values["stamp_ns"]), result, bool(values.get("usable", True)))
