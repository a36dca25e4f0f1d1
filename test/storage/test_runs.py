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

"""Runs are read as `vloc evaluate --json` wrote them, and refused with the reason where they are something else."""

import json

import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.storage.runs import read_run, read_runs

POSE = {"translation": [1.0, 2.0, 3.0], "quaternion": [0.0, 0.0, 0.0, 1.0]}


def row(image="a.png", **changes) -> dict:
    values = {
        "image": image,
        "stamp_ns": None,
        "status": "ok",
        "accepted": True,
        "reason": "",
        "map_from_rig": POSE,
        "frame_id": "map",
        "candidate": "whole_map",
        "matches": 40,
        "inliers": 30,
        "confidence": 0.9,
        "latency_ms": 50.0,
        "truth": POSE,
        "translation_m": 0.01,
        "rotation_deg": 0.1,
        "position_std_m": 0.01,
        "false_accept": False,
    }
    return values | changes


def values_of(*rows: dict, **changes) -> dict:
    values = {
        "queries": len(rows),
        "accepted": sum(bool(r.get("accepted")) for r in rows),
        "false_accepts": 0,
        "median_translation_m": 0.01,
        "median_rotation_deg": 0.1,
        "recall": dict.fromkeys(("2cm_2deg", "5cm_5deg", "25cm_2deg", "50cm_5deg", "5m_10deg"), 1.0),
        "latency_ms": {"total": {"p50": 50.0, "p95": 60.0, "p99": 70.0}},
        "map_bytes": 1000,
        "images": list(rows),
    }
    return values | changes


def written(tmp_path, values, name="run.json"):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_rows_are_read_and_those_without_a_result_left_out(tmp_path):
    unusable = {**dict.fromkeys(row()), "image": "b.png", "status": "unusable", "accepted": False, "reason": "cut"}
    run = read_run(written(tmp_path, values_of(row(), unusable)))
    assert [r.image for r in run.rows] == ["a.png"]
    assert run.rows[0].map_from_rig.translation.tolist() == [1.0, 2.0, 3.0]
    assert (run.name, run.negatives) == ("run", False)


def test_an_accepted_negative_is_a_false_accept(tmp_path):
    errors = dict.fromkeys(("translation_m", "rotation_deg", "false_accept", "truth"))
    refused = {"accepted": False, "status": "ambiguous", "map_from_rig": None}
    run = read_run(written(tmp_path, values_of(row(**errors), row("b.png", **errors, **refused))))
    assert [r.false_accept for r in run.rows] == [True, False]
    assert run.negatives


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("{", "is no JSON"),
        ("[]", "has no 'queries'"),
        ({"queries": 3}, "has no 'accepted'"),
        ({k: v for k, v in values_of(row()).items() if k != "images"}, "earlier versions"),
        (values_of({k: v for k, v in row().items() if k != "accepted"}), "damaged or of another version"),
        (values_of(row(translation_m="far")), "damaged"),
        (values_of(row(map_from_rig={"translation": [0, 0, 0], "quaternion": [0, 0, 0, 0]})), "damaged"),
        (values_of(row(latency_ms=1e999)), "damaged"),
        (values_of(row(), row()), "two images of one name and time"),
        (values_of(), "no usable image"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path, values, expected):
    with pytest.raises(InputError, match=expected):
        read_run(written(tmp_path, values))


def test_runs_are_named_by_as_much_of_their_paths_as_differs(tmp_path):
    paths = [written(tmp_path, values_of(row()), name) for name in ("a/run.json", "b/run.json")]
    assert [run.name for run in read_runs(paths)] == ["a/run", "b/run"]
    with pytest.raises(InputError, match="given twice"):
        read_runs([paths[0], paths[0]])
