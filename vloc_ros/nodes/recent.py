"""What came within the last seconds, and what the answers among it amount to. Knows neither ROS nor a clock."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, TypeVar

T = TypeVar("T")

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Answered:
    """What was said about one image.

    Attributes:
        status: `OK`, `DROPPED`, `NO_FEATURES`, ... as in LocalizationStatus.
        reason: why there is no pose.
        inliers: of the pose.
        total_ms: from the worker taking the image to its answer.
        stages_ms: milliseconds by stage.
        cameras: of a rig, those that it was about.
    """

    status: str
    reason: str = ""
    inliers: int = 0
    total_ms: float = 0.0
    stages_ms: dict[str, float] = field(default_factory=dict)
    cameras: tuple[str, ...] = ()


def always_apart(answers: list[Answered], *, at_least: int) -> list[str]:
    """The cameras that came so often, none of them ever with another one; none when they do come together."""
    if any(len(answered.cameras) > 1 for answered in answers):
        return []
    times = Counter(camera for answered in answers for camera in answered.cameras)
    often = sorted(camera for camera, count in times.items() if count >= at_least)
    return often if len(often) > 1 else []


class Recent(Generic[T]):
    """What came within the last seconds, with its time."""

    def __init__(self, window_s: float) -> None:
        self._window_ns = window_s * _NS_PER_S
        self._items: deque[tuple[int, T]] = deque()

    def add(self, at_ns: int, item: T) -> None:
        """Take in what came now."""
        self._items.append((at_ns, item))
        self._forget_before(at_ns - self._window_ns)

    def since(self, now_ns: int) -> list[tuple[int, T]]:
        """Those of the window that ends now."""
        self._forget_before(now_ns - self._window_ns)
        return list(self._items)

    def _forget_before(self, first_ns: float) -> None:
        while self._items and self._items[0][0] < first_ns:
            self._items.popleft()


def localized_share(answers: list[Answered], fixes: list[Answered]) -> str:
    """How many of the answers are fixes, in words, and what the others are."""
    if not answers:
        return "no image was answered lately"
    refused = Counter(answered.status for answered in answers if answered.status != "OK")
    why = ", ".join(f"{status} {count}" for status, count in refused.most_common())
    text = f"{len(fixes) / len(answers):.0%} of the last {len(answers)} images localized"
    return f"{text} ({why})" if why else text


def median_inliers(fixes: list[Answered]) -> float:
    """Of the fixes; there is at least one."""
    return median(fix.inliers for fix in fixes)


def median_total_ms(answers: list[Answered]) -> float:
    """Of the answers; there is at least one."""
    return median(answered.total_ms for answered in answers)


def median_stages_ms(answers: list[Answered]) -> dict[str, float]:
    """The median by stage, of the images that came that far."""
    times_ms: dict[str, list[float]] = {}
    for answered in answers:
        for stage, ms in answered.stages_ms.items():
            times_ms.setdefault(stage, []).append(ms)
    return {stage: median(all_ms) for stage, all_ms in times_ms.items()}
