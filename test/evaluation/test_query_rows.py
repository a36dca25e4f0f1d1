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

"""Rows of JSON, one per image: what is not known is null, never infinite or NaN."""

import json
from dataclasses import replace

import pytest
from test_scores import accepted, off_by, refused

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.evaluation.query_rows import make_query_rows, make_unscored_row
from vloc_ros.evaluation.scores import compute_errors


def test_rows_hold_outcome_error_and_latency_of_every_image() -> None:
    records = [
        replace(accepted(off_by(0.03, 2.0), times_ms={"features": 4.0, "pose": 1.0}), image="a.png", stamp_ns=7),
        accepted(off_by(0.6, 0.0)),
        refused(),
    ]
    truth = [Pose.identity()] * 3
    near, far, none = make_query_rows(records, truth=truth, errors=compute_errors(records, truth))
    assert (near["image"], near["stamp_ns"], near["status"], near["latency_ms"]) == ("a.png", 7, "ok", 5.0)
    assert (near["translation_m"], near["rotation_deg"]) == (pytest.approx(0.03), pytest.approx(2.0))
    assert near["map_from_rig"]["translation"] == pytest.approx([0.0, 0.03, 0.0])
    assert [row["false_accept"] for row in (near, far, none)] == [False, True, False]
    assert (none["accepted"], none["translation_m"], none["latency_ms"], none["reason"]) == (False, None, None, "why")
    json.dumps([near, far, none], allow_nan=False)


def test_rows_of_negatives_and_of_images_without_a_result_have_no_errors() -> None:
    (row,) = make_query_rows([accepted(off_by(0.03, 2.0))])
    unscored = make_unscored_row("b.png", None, "unusable", "cut short")
    assert row["truth"] is None
    assert {row["translation_m"], row["false_accept"], unscored["translation_m"], unscored["latency_ms"]} == {None}
    assert not unscored["accepted"]
