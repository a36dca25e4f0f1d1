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

from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.tracking.moving_camera import ACCUMULATING
from vloc_ros.nodes.localizer.component_status import ComponentStatus, Level
from vloc_ros.nodes.localizer.recent import RecentResult
from vloc_ros.nodes.rclpy_support.conversion import key_values, status_name, time_message

_LOG_AGAIN_NS = 10_000_000_000
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
        is_accumulating=status.candidate == ACCUMULATING,
    )


class ChangeLog:
    """Logs a component when its level has changed, for whoever does not watch /diagnostics.

    A level that changes again and again is logged every `_LOG_AGAIN_NS` at most.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._logged: dict[str, tuple[Level, int]] = {}

    def record(self, components: Sequence[ComponentStatus], *, logged: Sequence[str], now_ns: int) -> None:
        """Log what has changed; `logged` are findings that are in the log already."""
        for component in components:
            level, at_ns = self._logged.get(component.name, (Level.OK, now_ns - _LOG_AGAIN_NS))
            if component.level == level or now_ns - at_ns < _LOG_AGAIN_NS:
                continue
            self._logged[component.name] = (component.level, now_ns)
            if not component.text.startswith(tuple(logged)):
                self._log(component.level, f"{component.name}: {component.text}")

    def _log(self, level: Level, text: str) -> None:
        # rclpy allows a line of code one severity
        if level is Level.ERROR:
            self._logger.error(text)
        elif level is Level.WARN:
            self._logger.warning(text)
        else:
            self._logger.info(text)


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
