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

"""What /diagnostics says of the mapper."""

from __future__ import annotations

from typing import Any

import pytest

from vloc_msgs.msg import MapperStatus
from vloc_ros.nodes.localizer.component_status import Level
from vloc_ros.nodes.mapper.diagnostics import judge_mapper

RECORDING = {"state": MapperStatus.RECORDING, "recording": "r", "keyframes": 7}
FAILED, SUCCEEDED = MapperStatus.BUILD_FAILED, MapperStatus.BUILD_SUCCEEDED


@pytest.mark.parametrize(
    ("fields", "silent_s", "levels", "said"),
    [
        ({}, 0.0, "OK OK OK", "idle"),
        (RECORDING, 5.0, "OK OK OK", "recording, 7 keyframes"),
        (RECORDING, 5.1, "ERROR OK OK", "no image for 5 s"),
        ({"state": MapperStatus.PAUSED, "recording": "r"}, 9.0, "OK OK OK", "paused, 0 keyframes"),
        (RECORDING | {"refusal": "BLURRED: it is"}, 0.0, "WARN OK OK", "no keyframe, BLURRED: it is"),
        ({"refusal": "BLURRED: it is"}, 0.0, "OK OK OK", "idle"),
        (RECORDING | {"reason": "it was reset"}, 0.0, "ERROR OK OK", "cannot go on: it was reset"),
        ({"disk_bytes": 89}, 0.0, "OK OK OK", "89% of max_disk_mb"),
        ({"disk_bytes": 90}, 0.0, "OK WARN OK", "90% of max_disk_mb"),
        ({"build_state": FAILED, "build_map": "m", "build_message": "why"}, 0.0, "OK OK ERROR", "not built: why"),
        ({"build_state": MapperStatus.BUILD_HANDING_OVER, "build_map": "m"}, 0.0, "OK OK OK", "server loads the map m"),
        ({"build_state": SUCCEEDED, "build_map": "m"}, 0.0, "OK OK OK", "the map m was built"),
        ({"build_state": SUCCEEDED, "build_message": "not loaded"}, 0.0, "OK OK WARN", "built; not loaded"),
    ],
)
def test_each_component_has_a_level(fields: dict[str, Any], silent_s: float, levels: str, said: str) -> None:
    components = judge_mapper(MapperStatus(**{"max_disk_bytes": 100} | fields), silent_s=silent_s)
    assert [component.name for component in components] == ["recording", "disk", "build"]
    assert [component.level for component in components] == [Level[name] for name in levels.split()]
    assert any(said in component.text for component in components)


def test_refusals_are_values() -> None:
    status = MapperStatus(max_disk_bytes=100, refusals=["BLURRED", "NO_ODOMETRY"], refusal_counts=[3, 4])
    recording = judge_mapper(status, silent_s=0.0)[0]
    assert (recording.values["BLURRED"], recording.values["NO_ODOMETRY"]) == (3, 4)
