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

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.evaluation.live_processes import NodeError
from vloc_ros.evaluation.live_recording import LiveRecording, read_recording
from vloc_ros.evaluation.live_scores import (
    add_live_scores,
    carry_to_camera,
    format_checks,
    list_handled,
    list_statuses,
    make_records,
)
from vloc_ros.evaluation.query_rows import make_query_rows
from vloc_ros.evaluation.scores import score_results
from vloc_ros.evaluation.table import accuracy_rows
from vloc_ros.storage.results import ResultRecord

STAMPS = [100, 200, 300]
TOLERANCE_NS = 7
MAP_FROM_ODOM = Pose.from_rotation_vector([0.0, 0.0, 0.3], [1.0, 2.0, 0.0])
BASE_FROM_CAMERA = Pose.from_rotation_vector([0.2, 0.1, 0.0], [0.1, 0.0, 0.4])
TRUTH = [Pose.from_rotation_vector([0.0, 0.0, k * 0.1], [k * 1.0, 0.0, 0.0]) for k in range(3)]


@dataclass
class Tree:
    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose:
        assert (target, source) == ("odom", "base_link")
        return MAP_FROM_ODOM.inverse() @ TRUTH[STAMPS.index(stamp_ns)]


@dataclass
class Source:
    stamps_ns: list[int] = field(default_factory=lambda: STAMPS)
    base_frame: str = "base_link"
    odom_frame: str = "odom"
    base_from_camera: list[Pose] = field(default_factory=lambda: [BASE_FROM_CAMERA] * 3)
    transforms: Any = field(default_factory=Tree)
    truth: Any = field(default_factory=lambda: TRUTH)


def offline() -> list[ResultRecord]:
    results = [LocalizationResult(Status.OK, pose @ BASE_FROM_CAMERA, np.eye(6)) for pose in TRUTH]
    return [ResultRecord(str(s), s, r) for s, r in zip(STAMPS, results, strict=True)]


def rows(
    *, statuses: tuple[str, ...] = ("OK", "OK", "DROPPED"), shift: float = 0.0, tf_shift: float = 0.0
) -> list[Any]:
    found: list[Any] = []
    for stamp, name, pose in zip(STAMPS, statuses, TRUTH, strict=True):
        values = {"translation": (pose.translation + shift).tolist(), "quaternion": pose.quaternion.tolist()}
        common = {"received_ns": stamp + 5_000_000, "stamp_ns": stamp}
        details = {
            "reason": "",
            "matches": 9,
            "inliers": 8,
            "candidate": "p",
            "keypoints": 10,
            "times_ms": {"features": 1.0},
        }
        status = {
            "kind": "status",
            **common,
            "status": name,
            "map_frame": "map",
            "covariance": np.eye(6).ravel().tolist(),
        }
        found.append(status | values | details)
        if name == "OK":
            found.append({"kind": "pose", **common, **values})
            odom = {"translation": (MAP_FROM_ODOM.translation + tf_shift).tolist()}
            odom["quaternion"] = MAP_FROM_ODOM.quaternion.tolist()
            transform = {"kind": "tf", "parent": "map", "child": "odom", **common, **odom}
            found.append(transform | {"stamp_ns": stamp + TOLERANCE_NS})
    return found


def recording_of(tmp_path: Path, recorded: list[Any]) -> LiveRecording:
    played = [{"topic": "/image", "stamp_ns": s, "published_ns": s} for s in STAMPS]
    for name, lines in (("recorded", recorded), ("played", played)):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_recording(tmp_path / "recorded", tmp_path / "played", tolerance_ns=TOLERANCE_NS, image_topic="/image")


def scores_of(tmp_path: Path, recorded: list[Any]) -> dict[str, Any]:
    recording, source = recording_of(tmp_path, recorded), Source()
    handled = list_handled(list_statuses(recording, source))
    records = [make_records(recording, source)[i] for i in handled]
    scores = score_results(records, [TRUTH[i] for i in handled], map_bytes=1) | {"images": make_query_rows(records)}
    add_live_scores(scores, recording, source, offline())
    return scores


def test_consistent_results_pass(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, rows())
    live = scores["live"]
    assert live["passed"]
    assert (live["answered"], live["dropped"], live["compared"], live["tf_compared"]) == (3, 1, 2, 2)
    assert live["rate_hz"] == pytest.approx(1e7), "100 ns apart"
    assert max(live["max_difference"], live["max_tf_difference"]) < 1e-9
    assert live["publish_to_receive_ms"]["p50"] == pytest.approx(5.0)
    assert scores["accepted"] == scores["queries"] == 2
    assert "FAILED" not in "\n".join(format_checks(live))


def test_a_dropped_image_is_no_query_and_has_no_latency(tmp_path: Path) -> None:
    """Nobody looked at it: it is neither refused nor done in 0 ms."""
    recorded = rows(statuses=("OK", "DROPPED", "DROPPED"))
    for row in recorded:
        if row.get("status") == "DROPPED":
            row["times_ms"] = {}
    scores = scores_of(tmp_path, recorded)
    live = scores["live"]
    assert (live["images"], live["dropped"], live["handled"]) == (3, 2, 1)
    assert live["handled_hz"] == pytest.approx(live["rate_hz"] / 3)
    assert (scores["queries"], scores["accepted"], scores["refusals"]) == (1, 1, {})
    assert scores["latency_ms"]["total"]["p50"] == 1.0
    assert [(row["status"], row["latency_ms"]) for row in scores["images"]] == [("ok", 1.0)] + [("dropped", None)] * 2
    assert [row["image"] for row in scores["images"]] == ["0.000000100", "0.000000200", "0.000000300"]
    table = dict(accuracy_rows(scores))
    assert table["dropped"].startswith("2 of 3, ")
    assert "refused: dropped" not in table


def test_the_refusals_are_those_of_the_node(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, rows(statuses=("OK", "NO_TRANSFORM", "OK")))
    assert scores["refusals"] == {"no_transform": 1}
    assert scores["images"][1]["status"] == "no_transform"


def test_a_run_of_which_nothing_was_handled_says_so(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="none of 3 images, expected some: 3 dropped"):
        scores_of(tmp_path, rows(statuses=("DROPPED",) * 3))


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"shift": 2e-6}, "equals_offline"),
        ({"tf_shift": 2e-6}, "equals_tf"),
        ({"statuses": ("OK", "POSE_REJECTED", "OK")}, "equals_offline"),
    ],
)
def test_a_difference_fails(tmp_path: Path, changes: dict[str, Any], failed: str) -> None:
    live = scores_of(tmp_path, rows(**changes))["live"]
    assert not live["passed"]
    assert not live[failed]
    assert "FAILED" in "\n".join(format_checks(live))


def test_an_image_without_a_status_fails(tmp_path: Path) -> None:
    live = scores_of(tmp_path, [row for row in rows() if row["stamp_ns"] // 100 != 2])["live"]
    assert live["answered"] == 2
    assert not live["passed"]


def test_a_pose_without_its_transform_fails(tmp_path: Path) -> None:
    live = scores_of(tmp_path, [row for row in rows() if row["kind"] != "tf"])["live"]
    assert live["tf_missing"] == 2
    assert not live["equals_tf"]


def test_accepted_images_without_a_single_published_pose_fail_both_checks(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, [row for row in rows() if row["kind"] == "status"])
    live = scores["live"]
    assert (live["tf_compared"], live["unpublished"]) == (0, 2)
    assert not live["equals_tf"]
    assert not live["equals_offline"]
    json.dumps(scores, allow_nan=False)


def test_the_report_draws_what_was_published(tmp_path: Path) -> None:
    moved, points = 0.25, np.array([3, 4])
    drawn = [replace(r, result=replace(r.result, covariance=np.eye(6) * 9, inlier_points=points)) for r in offline()]
    shown, truth = carry_to_camera(recording_of(tmp_path, rows(shift=moved)), Source(), drawn)
    assert truth is not None
    assert [record.result.ok for record in shown] == [True, True, False]
    for record, map_from_camera in zip(shown[:2], truth, strict=False):
        assert record.result.map_from_rig is not None
        offset = record.result.map_from_rig.translation - map_from_camera.translation
        np.testing.assert_allclose(offset, moved, atol=1e-9)
        lever = map_from_camera.rotation @ BASE_FROM_CAMERA.inverse().translation
        assert record.result.covariance is not None
        spread = 1.0 + lever @ lever - lever**2
        np.testing.assert_allclose(np.diag(record.result.covariance)[:3], spread, atol=1e-9)
        np.testing.assert_array_equal(record.result.inlier_points, points)
