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

"""State of the mapper for /diagnostics: its status in, the levels of recording, disk and build out."""

from __future__ import annotations

from collections.abc import Iterator

from vloc_msgs.msg import MapperStatus
from vloc_ros.nodes.localizer.component_status import ComponentStatus, Finding, Level, make_status

_NEARLY_FULL = 0.9
_SILENT_S = 5.0
_STATE_NAMES = {MapperStatus.IDLE: "idle", MapperStatus.RECORDING: "recording", MapperStatus.PAUSED: "paused"}


def judge_mapper(status: MapperStatus, *, silent_s: float) -> list[ComponentStatus]:
    """Return the status of each component; `silent_s` is the time since the last image."""
    state = _STATE_NAMES[status.state]
    values: dict[str, object] = {"state": state, "recording": status.recording, "keyframes": status.keyframes}
    values |= {"images_received": status.images_received, "path_length_m": f"{status.path_length_m:.1f}"}
    values |= dict(zip(status.refusals, status.refusal_counts, strict=True))
    disk: dict[str, object] = {"disk_bytes": status.disk_bytes, "max_disk_bytes": status.max_disk_bytes}
    build: dict[str, object] = {"map": status.build_map, "step": status.build_step, "loaded": status.map_loaded}
    return [
        make_status("recording", list(_judge_recording(status, state, silent_s)), values),
        make_status("disk", [_judge_disk(status)], disk),
        make_status("build", [_judge_build(status)], build),
    ]


def _judge_recording(status: MapperStatus, state: str, silent_s: float) -> Iterator[Finding]:
    yield Level.OK, f"{state}, {status.keyframes} keyframes" if status.recording else state
    if status.reason:
        yield Level.ERROR, f"the recording cannot go on: {status.reason}"
    if status.state == MapperStatus.RECORDING:
        if silent_s > _SILENT_S:
            yield Level.ERROR, f"no image for {silent_s:.0f} s"
        if status.refusal:
            yield Level.WARN, f"no keyframe, {status.refusal}"


def _judge_disk(status: MapperStatus) -> Finding:
    share = status.disk_bytes / status.max_disk_bytes
    text = f"recordings take {share:.0%} of max_disk_mb"
    if share < _NEARLY_FULL:
        return Level.OK, text
    return Level.WARN, f"{text}; remove those that are not needed any more"


def _judge_build(status: MapperStatus) -> Finding:
    name = status.build_map
    if status.build_state == MapperStatus.BUILD_FAILED:
        return Level.ERROR, f"the map {name} was not built: {status.build_message}"
    if status.build_state == MapperStatus.BUILD_SUCCEEDED and status.build_message:
        return Level.WARN, f"the map {name} was built; {status.build_message}"
    texts = {
        MapperStatus.BUILD_NONE: "no map was built",
        MapperStatus.BUILD_RUNNING: f"the map {name} is being built",
        MapperStatus.BUILD_HANDING_OVER: f"the map server loads the map {name}",
        MapperStatus.BUILD_SUCCEEDED: f"the map {name} was built",
        MapperStatus.BUILD_CANCELLED: f"the build of the map {name} was cancelled",
    }
    return Level.OK, texts[status.build_state]
