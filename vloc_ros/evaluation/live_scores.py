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

"""What the nodes published while a bag was played, compared with the offline results and with TF.

An image that the localizer never had, since a newer one came before it was free, says nothing of accuracy or latency:
it is counted as dropped, and is no query.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.evaluation.live_processes import NodeError
from vloc_ros.evaluation.live_recording import LiveRecording, PlayedBag, pose_of_row
from vloc_ros.evaluation.query_rows import make_unscored_row
from vloc_ros.storage.results import ResultRecord
from vloc_ros.storage.trajectories import format_stamp

POSE_TOLERANCE = 1e-6
_NS_PER_MS = 1e6
_PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}
_CORE_STATUSES = {status.name for status in Status} - {Status.HELD.name}
_DROPPED, _NOT_ANSWERED = "dropped", "not_answered"
_NOT_HANDLED = (_DROPPED, _NOT_ANSWERED)


def make_records(recording: LiveRecording, source: PlayedBag) -> list[ResultRecord]:
    """The published results as records of map_from_base; an image without one is a refusal that says so."""
    return [
        ResultRecord(format_stamp(stamp), stamp, _result(recording.statuses.get(stamp))) for stamp in source.stamps_ns
    ]


def list_statuses(recording: LiveRecording, source: PlayedBag) -> list[str]:
    """The status of every image: those of the localizer, its node's own, `dropped` and `not_answered`."""
    return [_status_name(recording.statuses.get(stamp)).lower() for stamp in source.stamps_ns]


def list_handled(statuses: Sequence[str]) -> list[int]:
    """Indices of the images that the localizer had.

    Raises:
        NodeError: it had none of them.
    """
    handled = [i for i, status in enumerate(statuses) if status not in _NOT_HANDLED]
    if not handled:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in Counter(statuses).items())
        raise NodeError(
            f"the localizer handled none of {len(statuses)} images, expected some: {counts}; take a bag of fewer "
            "images per second, fewer keypoints, or a faster machine"
        )
    return handled


def carry_to_camera(
    recording: LiveRecording, source: PlayedBag, offline: Sequence[ResultRecord]
) -> tuple[list[ResultRecord], list[Pose] | None]:
    """The published results and the ground truth for a report that draws into the images.

    A published result is of the base and has no inliers. Its pose and covariance are carried to the camera, and the
    inliers are those of the offline result for the same image.
    """
    published = make_records(recording, source)
    shown = [
        record if not record.result.ok else _record_of_camera(record, own.result, base_from_camera)
        for record, own, base_from_camera in zip(published, offline, source.base_from_camera, strict=True)
    ]
    if source.truth is None:
        return shown, None
    pairs = zip(source.truth, source.base_from_camera, strict=True)
    return shown, [map_from_base @ base_from_camera for map_from_base, base_from_camera in pairs]


def _record_of_camera(record: ResultRecord, offline: LocalizationResult, base_from_camera: Pose) -> ResultRecord:
    """A published result as one of the camera, with the inliers of the offline result for the same image."""
    map_from_base, covariance = record.result.map_from_rig, record.result.covariance
    assert map_from_base is not None
    assert covariance is not None
    result = replace(
        record.result,
        map_from_rig=map_from_base @ base_from_camera,
        covariance=carry_covariance(covariance, map_from_base, base_from_camera),
        inlier_xy=offline.inlier_xy,
        inlier_points=offline.inlier_points,
        inlier_views=offline.inlier_views,
    )
    return replace(record, result=result)


def add_live_scores(
    scores: dict[str, Any],
    recording: LiveRecording,
    source: PlayedBag,
    offline: Sequence[ResultRecord],
    *,
    in_sequence: bool = False,
) -> None:
    """Complete the scores of the handled images by those of a live run.

    They get a part `live` (drops, rates, latency and checks), the refusals by the node's own names, and rows for the
    images that were not handled.

    Args:
        scores: of `make_records`, of the handled images.
        recording: what the nodes published.
        source: the bag that was played.
        offline: the offline result for every image.
        in_sequence: results depend on earlier ones and on dropped images; they are not compared with the offline ones.
    """
    statuses = list_statuses(recording, source)
    handled = list_handled(statuses)
    names = Counter(statuses[i] for i in handled)
    scores["refusals"] = {name: count for name, count in names.most_common() if name != "ok"}
    for row, i in zip(scores["images"], handled, strict=True):
        row["status"] = statuses[i]
    records = make_records(recording, source)
    scores["images"] += [
        make_unscored_row(records[i].image, records[i].stamp_ns, status, records[i].result.reason)
        for i, status in enumerate(statuses)
        if status in _NOT_HANDLED
    ]
    scores["live"] = _describe_live(recording, source, offline, statuses, in_sequence=in_sequence)


def _describe_live(
    recording: LiveRecording,
    source: PlayedBag,
    offline: Sequence[ResultRecord],
    statuses: Sequence[str],
    *,
    in_sequence: bool,
) -> dict[str, Any]:
    not_compared: dict[str, Any] = {"compared": 0, "equals_offline": None}
    compared = not_compared if in_sequence else _compare_with_offline(recording, source, offline)
    checks = compared | _compare_with_tf(recording, source)
    not_answered, rate_hz = statuses.count(_NOT_ANSWERED), _rate_hz(source.stamps_ns)
    handled = len(list_handled(statuses))
    return {
        "images": len(statuses),
        "played": len(recording.published_ns),
        "rate_hz": rate_hz,
        "handled": handled,
        "handled_hz": None if rate_hz is None else rate_hz * handled / len(statuses),
        "answered": len(statuses) - not_answered,
        "dropped": statuses.count(_DROPPED),
        "publish_to_receive_ms": _latency(recording),
        **checks,
        "passed": checks["equals_offline"] is not False and checks["equals_tf"] and not not_answered,
    }


def format_checks(live: Mapping[str, Any]) -> list[str]:
    """The part `live` as lines for a terminal."""
    latency = live["publish_to_receive_ms"]
    lines = [
        f"images played {live['played']}, with a status {live['answered']} of {live['images']}",
        "publish to receive ms: "
        + ("no pose came" if latency is None else "  ".join(f"{name} {ms:.1f}" for name, ms in latency.items())),
        _offline_line(live),
        f"{_outcome(live['equals_tf'])}: {live['tf_compared']} published poses equal TF from map to base "
        f"({_format_largest(live['max_tf_difference'])}, {live['tf_missing']} without a transform)",
    ]
    return [*lines, *live.get("differences", [])]


def _offline_line(live: Mapping[str, Any]) -> str:
    if live["equals_offline"] is None:
        return "not compared with offline results: in sequence a result depends on the ones before"
    return (
        f"{_outcome(live['equals_offline'])}: {live['compared']} live results equal the offline ones to "
        f"{POSE_TOLERANCE:g} ({_format_largest(live['max_difference'])}, {live['other_status']} of another status, "
        f"{live['unpublished']} without a pose)"
    )


def _compare_with_offline(
    recording: LiveRecording, source: PlayedBag, offline: Sequence[ResultRecord]
) -> dict[str, Any]:
    """Every image that the localizer processed against its offline result, carried to the base."""
    compared, unpublished, distances, differences = 0, 0, [], []
    for record, stamp_ns, base_from_camera in zip(offline, source.stamps_ns, source.base_from_camera, strict=True):
        status = recording.statuses.get(stamp_ns)
        if status is None or status["status"] not in _CORE_STATUSES:
            continue
        compared += 1
        published = recording.poses.get(stamp_ns)
        if status["status"] != record.result.status.name:
            differences.append(
                f"  {format_stamp(stamp_ns)}: live {status['status']}, offline {record.result.status.name}"
            )
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
        "equals_offline": compared > 0 and not differences and not unpublished and _are_small(distances),
    }


def _compare_with_tf(recording: LiveRecording, source: PlayedBag) -> dict[str, Any]:
    """TF's map -> odom, composed with odom -> base of the bag, against the published pose.

    It fails without a single comparison, unless no image was accepted and so nothing was published.
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
        "equals_tf": missing == 0 and (bool(distances) or not accepted) and _are_small(distances),
    }


def _distance(expected: Pose, found: Pose) -> float:
    """The larger of metres and radians."""
    return max(expected.distance_to(found))


def _are_small(distances: Sequence[float]) -> bool:
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
        reason = f"{row['status']}: {row['reason']}" if row else "the nodes published no status"
        return LocalizationResult.refused(Status.NO_CANDIDATES, reason)
    accepted = row["status"] == Status.OK.name
    return LocalizationResult(
        status=Status[row["status"]],
        map_from_rig=pose_of_row(row) if accepted else None,
        covariance=np.array(row["covariance"]).reshape(6, 6) if accepted else None,
        frame_id=row["map_frame"] if accepted else "",
        matches=row["matches"],
        inliers=row["inliers"],
        confidence=row.get("confidence", np.nan),  # recordings of earlier versions have none
        candidate=row["candidate"],
        reason=row["reason"],
        keypoints=row["keypoints"],
        times_ms=row["times_ms"],
    )


def _status_name(row: Mapping[str, Any] | None) -> str:
    return _NOT_ANSWERED if row is None else str(row["status"])


def _format_largest(difference: float | None) -> str:
    return "no pose to compare" if difference is None else f"largest difference {difference:.2g}"


def _outcome(passed: bool) -> str:
    return "ok" if passed else "FAILED"
