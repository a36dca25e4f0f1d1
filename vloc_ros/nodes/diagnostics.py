"""What the localizer says about itself on /diagnostics."""

from __future__ import annotations

from collections import Counter, deque
from threading import Lock

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.conversion import key_values, status_name, time_message

_RECENT = 50
_BROKEN = (
    LocalizationStatus.NO_MAP,
    LocalizationStatus.NO_CALIBRATION,
    LocalizationStatus.NO_ODOMETRY,
    LocalizationStatus.STALE,
    LocalizationStatus.BAD_IMAGE,
    LocalizationStatus.INTERNAL_ERROR,
)


class Health:
    """Counts answers, and sums up the recent ones. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.clear()

    def clear(self) -> None:
        """Start over."""
        with self._lock:
            self._counts: Counter[str] = Counter()
            self._recent: deque[LocalizationStatus] = deque(maxlen=_RECENT)
            self._faults: dict[str, str] = {}

    def fault(self, about: str, reason: str) -> None:
        """What keeps the node from working, one thing for each subject; an empty reason takes it back."""
        with self._lock:
            self._faults[about] = reason

    def add(self, status: LocalizationStatus) -> None:
        """One answer."""
        with self._lock:
            self._counts[status_name(status.status)] += 1
            self._recent.append(status)

    def message(self, *, node: str, state: str, map_hash: str, listeners: int, stamp_ns: int) -> DiagnosticArray:
        """The state, the counts and the recent time per image; `listeners` to the status, so that a test can wait."""
        with self._lock:
            counts, recent, fault = (
                dict(self._counts),
                list(self._recent),
                "; ".join(filter(None, self._faults.values())),
            )
        level, text = _judgement(state, recent, fault)
        values: dict[str, object] = {"state": state, "map": map_hash or "none", "listeners": listeners, **counts}
        times = sorted(status.total_ms for status in recent if status.status != LocalizationStatus.DROPPED)
        if times:
            values["median_ms"] = f"{times[len(times) // 2]:.1f}"
        status = DiagnosticStatus(level=level, name=node, message=text, values=key_values(values))
        array = DiagnosticArray(status=[status])
        array.header.stamp = time_message(stamp_ns)
        return array


def _judgement(state: str, recent: list[LocalizationStatus], fault: str) -> tuple[bytes, str]:
    if fault:
        return DiagnosticStatus.ERROR, fault
    if state != "active":
        return DiagnosticStatus.OK, f"not active: {state}"
    if not recent:
        return DiagnosticStatus.WARN, "no image came yet"
    last = recent[-1]
    if last.status in _BROKEN:
        return DiagnosticStatus.ERROR, f"{status_name(last.status)}: {last.reason}"
    share = sum(status.status == LocalizationStatus.OK for status in recent) / len(recent)
    text = f"{share:.0%} of the last {len(recent)} images localized"
    return (DiagnosticStatus.OK if share >= 0.5 else DiagnosticStatus.WARN), text
