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

"""Messages on /diagnostics; `diagnostic_monitor` decides their content."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.localizer.component_status import ComponentStatus, Level
from vloc_ros.nodes.localizer.recent import RecentResult
from vloc_ros.nodes.rclpy_support.conversion import key_values, status_name, time_message

_LEVELS = {
    Level.OK: DiagnosticStatus.OK,
    Level.WARN: DiagnosticStatus.WARN,
    Level.ERROR: DiagnosticStatus.ERROR,
}


def summarize_status(status: LocalizationStatus) -> RecentResult:
    """Return the part of a status that diagnostics need."""
    return RecentResult(
        status=status_name(status.status),
        reason=status.reason,
        inliers=status.inliers,
        total_s=status.total_time_s,
        stages_s=dict(zip(status.stages, status.stage_times_s, strict=True)),
        cameras=tuple(status.cameras),
        sensor=status.sensor,
    )


def diagnostic_array(components: list[ComponentStatus], *, node: str, stamp_ns: int) -> DiagnosticArray:
    """Return one status for each component, named `vloc_localizer: input` as diagnostic_updater does.

    `node` is the fully qualified name. It is the hardware_id, and its namespace is a prefix of the status names, so
    that those of two robots differ.
    """
    array = DiagnosticArray()
    array.header.stamp = time_message(stamp_ns)
    array.status = [
        DiagnosticStatus(
            level=_LEVELS[component.level],
            name=f"{node.lstrip('/')}: {component.name}",
            message=component.text,
            hardware_id=node,
            values=key_values(component.values),
        )
        for component in components
    ]
    return array


def values_of(array: DiagnosticArray, node: str) -> dict[str, str]:
    """Return all values of a node, over its components; empty if there are none."""
    statuses = [status for status in array.status if status.hardware_id.lstrip("/") == node.lstrip("/")]
    return {value.key: value.value for status in statuses for value in status.values}
