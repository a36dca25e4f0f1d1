"""What the localizer says about itself on /diagnostics, as messages; `health` decides what to say."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.conversion import key_values, status_name, time_message
from vloc_ros.nodes.diagnostic_monitor import ComponentStatus, Level
from vloc_ros.nodes.recent import Answered

_LEVELS = {
    Level.OK: DiagnosticStatus.OK,
    Level.WARN: DiagnosticStatus.WARN,
    Level.ERROR: DiagnosticStatus.ERROR,
}


def answered_of(status: LocalizationStatus) -> Answered:
    """What counts of the status of an image."""
    return Answered(
        status=status_name(status.status),
        reason=status.reason,
        inliers=status.inliers,
        total_ms=status.total_ms,
        stages_ms=dict(zip(status.stages, status.stage_ms, strict=True)),
        cameras=tuple(status.cameras),
    )


def diagnostic_array(concerns: list[ComponentStatus], *, node: str, stamp_ns: int) -> DiagnosticArray:
    """One status for each concern, named `localizer: input` as diagnostic_updater does.

    `node` is the fully qualified name: it is the hardware_id, and its namespace goes before the names of the statuses,
    so that two robots stay apart.
    """
    array = DiagnosticArray()
    array.header.stamp = time_message(stamp_ns)
    array.status = [
        DiagnosticStatus(
            level=_LEVELS[concern.level],
            name=f"{node.lstrip('/')}: {concern.name}",
            message=concern.text,
            hardware_id=node,
            values=key_values(concern.values),
        )
        for concern in concerns
    ]
    return array


def values_of(array: DiagnosticArray, node: str) -> dict[str, str]:
    """All values that a node gave, whichever its concern; empty where it gave none."""
    statuses = [status for status in array.status if status.hardware_id.lstrip("/") == node.lstrip("/")]
    return {value.key: value.value for status in statuses for value in status.values}
