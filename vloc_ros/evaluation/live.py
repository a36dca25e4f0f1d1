"""What the nodes published while a bag was played: scored, and held against the offline answers and against TF."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.evaluation.scores import score, score_absent
from vloc_ros.storage.results import ResultRecord
from vloc_ros.storage.text import read_text

POSE_TOLERANCE = 1e-6
_NS_PER_MS = 1e6
_PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}
_CORE_STATUSES = {status.name for status in Status} - {Status.HELD.name}
NOT_ANSWERED = "NOT_ANSWERED"


class Transforms(Protocol):
    """What looks up transforms of a recording."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose | None:
        """target_from_source at a time."""


class Source(Protocol):
    """What was played."""

    stamps_ns: list[int]
    base_frame: str
    odom_frame: str
    base_from_camera: list[Pose]
    transforms: Transforms
    truth: list[Pose] | None


@dataclass(frozen=True, slots=True, eq=False)
class LiveRecording:
    """What was heard.

    Attributes:
        statuses: by image stamp, as the recorder writes them.
        poses: received pose by image stamp: (received_ns, pose).
        map_transforms: by image stamp: what TF said from map to its child.
        published_ns: when the player sent each image, monotonic.
    """

    statuses: Mapping[int, Mapping[str, Any]]
    poses: Mapping[int, tuple[int, Pose]]
    map_transforms: Mapping[int, Pose]
    published_ns: Mapping[int, int]


def read_recording(recorded: Path, played: Path, *, tolerance_ns: int, image_topic: str) -> LiveRecording:
    """Read the files of recorder and player; map transforms are stamped `tolerance_ns` after their image."""
    rows = [json.loads(line) for line in read_text(recorded).splitlines()]
    sent = [json.loads(line) for line in read_text(played).splitlines()]
    statuses = {row["stamp_ns"]: row for row in rows if row["kind"] == "status"}
    frames = {row["map_frame"] for row in statuses.values() if row["map_frame"]}
    return LiveRecording(
        statuses=statuses,
        poses={row["stamp_ns"]: (row["received_ns"], _pose(row)) for row in rows if row["kind"] == "pose"},
        map_transforms={
            row["stamp_ns"] - tolerance_ns: _pose(row)
            for row in rows
            if row["kind"] == "tf" and row["parent"] in frames
        },
        published_ns={row["stamp_ns"]: row["published_ns"] for row in sent if row["topic"] == image_topic},
    )


def records_of(recording: LiveRecording, source: Source) -> list[ResultRecord]:
    """The published answers as records of map_from_base; an image without one is a refusal that says so."""
    return [ResultRecord(str(stamp), stamp, _result(recording.statuses.get(stamp))) for stamp in source.stamps_ns]


def seen_by_camera(
    recording: LiveRecording, source: Source, offline: Sequence[ResultRecord]
) -> tuple[list[ResultRecord], list[Pose] | None]:
    """The answers and true poses for a report that draws into the images.

    What is published is of the base and has no inliers: its pose and covariance are carried to the camera, and the
    inliers are those of the offline answer to the same image.
    """
    heard = records_of(recording, source)
    shown = [
        record if not record.result.ok else _at_camera(record, asked.result, base_from_camera)
        for record, asked, base_from_camera in zip(heard, offline, source.base_from_camera, strict=True)
    ]
    if source.truth is None:
        return shown, None
    pairs = zip(source.truth, source.base_from_camera, strict=True)
    return shown, [map_from_base @ base_from_camera for map_from_base, base_from_camera in pairs]


def _at_camera(heard: ResultRecord, asked: LocalizationResult, base_from_camera: Pose) -> ResultRecord:
    """A published answer as one of the camera, with the inliers of the offline answer to the same image."""
    map_from_base, covariance = heard.result.map_from_rig, heard.result.covariance
    assert map_from_base is not None
    assert covariance is not None
    result = replace(
        heard.result,
        map_from_rig=map_from_base @ base_from_camera,
        covariance=carry_covariance(covariance, map_from_base, base_from_camera),
        inlier_xy=asked.inlier_xy,
        inlier_points=asked.inlier_points,
        inlier_views=asked.inlier_views,
    )
    return replace(heard, result=result)


def live_scores(
    recording: LiveRecording,
    source: Source,
    offline: Sequence[ResultRecord],
    *,
    map_bytes: int,
    frame_id: str = "",
    in_sequence: bool = False,
) -> dict[str, Any]:
    """The scores of the published answers, with a part `live`: statuses, drops, latency and checks.

    Answers `in_sequence` depend on earlier ones and on the images dropped, so that no offline answer must equal them.
    """
    records = records_of(recording, source)
    if source.truth is None:
        scores = score_absent(records, map_bytes=map_bytes)
    else:
        scores = score(records, source.truth, map_bytes=map_bytes, frame_id=frame_id)
    names = Counter(_name(recording.statuses.get(stamp)) for stamp in source.stamps_ns)
    scores["refusals"] = {name.lower(): count for name, count in names.most_common() if name != "OK"}
    compared = {"compared": 0, "equals_offline": None} if in_sequence else _against_offline(recording, source, offline)
    checks = compared | _against_tf(recording, source)
    scores["live"] = {
        "images": len(source.stamps_ns),
        "played": len(recording.published_ns),
        "rate_hz": _rate_hz(source.stamps_ns),
        "answered": len(source.stamps_ns) - names[NOT_ANSWERED],
        "dropped": names["DROPPED"],
        "publish_to_receive_ms": _latency(recording),
        **checks,
        "passed": checks["equals_offline"] is not False and checks["equals_tf"] and not names[NOT_ANSWERED],
    }
    return scores


def check_lines(live: Mapping[str, Any]) -> list[str]:
    """The part `live` for a terminal."""
    latency = live["publish_to_receive_ms"]
    lines = [
        f"images played {live['played']}, answered {live['answered']} of {live['images']}, dropped {live['dropped']}",
        "publish to receive ms: "
        + ("no pose came" if latency is None else "  ".join(f"{name} {ms:.1f}" for name, ms in latency.items())),
        _offline_line(live),
        f"{_verdict(live['equals_tf'])}: {live['tf_compared']} published poses equal TF from map to base "
        f"({_largest(live['max_tf_difference'])}, {live['tf_missing']} without a transform)",
    ]
    return [*lines, *live.get("differences", [])]


def _offline_line(live: Mapping[str, Any]) -> str:
    if live["equals_offline"] is None:
        return "not held against offline answers: in sequence an answer depends on the ones before"
    return (
        f"{_verdict(live['equals_offline'])}: {live['compared']} live answers equal the offline ones to "
        f"{POSE_TOLERANCE:g} ({_largest(live['max_difference'])}, {live['other_status']} of another status, "
        f"{live['unpublished']} without a pose)"
    )


def _against_offline(recording: LiveRecording, source: Source, offline: Sequence[ResultRecord]) -> dict[str, Any]:
    """Every image that the localizer answered against the offline answer, carried to the base."""
    compared, unpublished, distances, differences = 0, 0, [], []
    for record, base_from_camera in zip(offline, source.base_from_camera, strict=True):
        status = recording.statuses.get(record.stamp_ns)
        if status is None or status["status"] not in _CORE_STATUSES:
            continue
        compared += 1
        published = recording.poses.get(record.stamp_ns)
        if status["status"] != record.result.status.name:
            differences.append(f"  {record.stamp_ns}: live {status['status']}, offline {record.result.status.name}")
        elif record.result.map_from_rig is not None and published is None:
            unpublished += 1
        elif record.result.map_from_rig is not None and published is not None:
            distances.append(_distance(record.result.map_from_rig @ base_from_camera.inverse(), published[1]))
    return {
        "compared": compared,
        "other_status": len(differences),
        "unpublished": unpublished,
        "max_difference": max(distances, default=None),
        "differences": differences[:10],
        "equals_offline": compared > 0 and not differences and not unpublished and _all_small(distances),
    }


def _against_tf(recording: LiveRecording, source: Source) -> dict[str, Any]:
    """map -> odom of TF, composed with odom -> base of the bag, against the published pose.

    Without a single comparison it fails, unless no image was accepted, so that there was nothing to publish.
    """
    missing, distances = 0, []
    for stamp_ns in source.stamps_ns:
        if stamp_ns not in recording.poses:
            continue
        map_from_child = recording.map_transforms.get(stamp_ns)
        child_from_base: Pose | None = Pose.identity()
        if source.odom_frame:
            child_from_base = source.transforms.lookup(source.odom_frame, source.base_frame, stamp_ns)
        if map_from_child is None or child_from_base is None:
            missing += 1
            continue
        distances.append(_distance(map_from_child @ child_from_base, recording.poses[stamp_ns][1]))
    accepted = any(row["status"] == Status.OK.name for row in recording.statuses.values())
    return {
        "tf_compared": len(distances),
        "tf_missing": missing,
        "max_tf_difference": max(distances, default=None),
        "equals_tf": missing == 0 and (bool(distances) or not accepted) and _all_small(distances),
    }


def _distance(expected: Pose, found: Pose) -> float:
    """The larger of metres and radians."""
    return max(expected.distance_to(found))


def _all_small(distances: Sequence[float]) -> bool:
    return all(distance <= POSE_TOLERANCE for distance in distances)


def _rate_hz(stamps_ns: Sequence[int]) -> float | None:
    """Images per second, by the median time between two; None for one image."""
    between_ns = float(np.median(np.diff(sorted(stamps_ns)))) if len(stamps_ns) > 1 else 0.0
    return 1e9 / between_ns if between_ns > 0 else None


def _latency(recording: LiveRecording) -> dict[str, float] | None:
    """Milliseconds from the player sending an image to the recorder having its pose."""
    times = [
        (received_ns - recording.published_ns[stamp]) / _NS_PER_MS
        for stamp, (received_ns, _) in recording.poses.items()
        if stamp in recording.published_ns
    ]
    return {name: float(np.percentile(times, q)) for name, q in _PERCENTILES.items()} if times else None


def _result(row: Mapping[str, Any] | None) -> LocalizationResult:
    if row is None or row["status"] not in _CORE_STATUSES:
        reason = f"{row['status']}: {row['reason']}" if row else "the nodes never answered"
        return LocalizationResult.refused(Status.NO_CANDIDATES, reason)
    accepted = row["status"] == Status.OK.name
    return LocalizationResult(
        status=Status[row["status"]],
        map_from_rig=_pose(row) if accepted else None,
        covariance=np.array(row["covariance"]).reshape(6, 6) if accepted else None,
        frame_id=row["map_frame"] if accepted else "",
        matches=row["matches"],
        inliers=row["inliers"],
        proposal=row["proposal"],
        reason=row["reason"],
        keypoints=row["keypoints"],
        times_ms=row["times_ms"],
    )


def _name(row: Mapping[str, Any] | None) -> str:
    return NOT_ANSWERED if row is None else str(row["status"])


def _pose(row: Mapping[str, Any]) -> Pose:
    return Pose.from_quaternion(row["quaternion"], row["translation"])


def _largest(difference: float | None) -> str:
    return "no pose to compare" if difference is None else f"largest difference {difference:.2g}"


def _verdict(passed: bool) -> str:
    return "ok" if passed else "FAILED"
