"""How the localizer fares: counts and times in, levels and values out. Knows neither ROS nor a clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from statistics import median
from threading import Lock

from vloc_ros.node_config import DiagnosticsConfig
from vloc_ros.nodes.recent import (
    Answered,
    Recent,
    always_apart,
    localized_share,
    median_inliers,
    median_stages_ms,
    median_total_ms,
)

_NS_PER_S = 1_000_000_000
# fewer answers than this say nothing about a share, unless a whole window has no more
_FEW = 5
# what an image was refused for without being looked at, by what is at fault
_UNUSABLE = {
    "NO_CALIBRATION": "input",
    "NO_ODOMETRY": "input",
    "STALE": "input",
    "BAD_IMAGE": "input",
    "INTERNAL_ERROR": "localization",
}


class Level(IntEnum):
    """As in diagnostic_msgs."""

    OK = 0
    WARN = 1
    ERROR = 2


Finding = tuple[Level, str]


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a node knows of itself when it is asked.

    Attributes:
        state: `active`, or another state of its lifecycle.
        map_hash: of the map in use; empty without one.
        map_name: of the same.
        topic: where images are to come from.
        publishers: how many publish there.
        listeners: how many listen to the status.
    """

    state: str
    map_hash: str = ""
    map_name: str = ""
    topic: str = "image"
    publishers: int = 0
    listeners: int = 0


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One thing that may be well or not: its name, how it is, in words and in values."""

    name: str
    level: Level
    text: str
    values: dict[str, object]


class DiagnosticMonitor:
    """Takes in what happens, at times of a monotonic clock, and judges it. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._faults: dict[str, str] = {}
        self.begin(DiagnosticsConfig(), at_ns=0)

    def begin(self, config: DiagnosticsConfig, *, at_ns: int, cameras: Sequence[str] = ()) -> None:
        """Forget all images; faults stay until they are taken back. `cameras` are those of a rig."""
        with self._lock:
            self._config, self._begun_ns = config, at_ns
            self._ages_s: Recent[float] = Recent(config.window_s)
            self._answers: Recent[Answered] = Recent(config.window_s)
            self._counts: Counter[str] = Counter()
            self._received = 0
            self._image_ns = self._fix_ns = at_ns
            self._image_of_ns = dict.fromkeys(cameras, at_ns)
            self._refusal = ""
            self._at_fault, self._in_a_row = "", 0

    def fault(self, about: str, reason: str) -> None:
        """What keeps the node from working, one thing for each subject; an empty reason takes it back."""
        with self._lock:
            self._faults[about] = reason

    def image(self, *, at_ns: int, age_s: float, camera: str = "") -> None:
        """An image came, so long after it was taken; of a rig with the name of its camera."""
        with self._lock:
            self._received += 1
            self._image_ns = self._image_of_ns[camera] = at_ns
            self._ages_s.add(at_ns, age_s)

    def answer(self, answered: Answered, *, at_ns: int) -> None:
        """An image was answered."""
        with self._lock:
            self._counts[answered.status] += 1
            self._answers.add(at_ns, answered)
            if answered.status == "DROPPED":
                return
            if answered.status == "OK":
                self._fix_ns = at_ns
            else:
                self._refusal = f"{answered.status}: {answered.reason}"
            at_fault = _UNUSABLE.get(answered.status, "")
            self._in_a_row = self._in_a_row + 1 if at_fault and at_fault == self._at_fault else 1
            self._at_fault = at_fault

    def report(self, situation: NodeState, *, now_ns: int) -> list[ComponentStatus]:
        """What to say now: localization, input and map."""
        with self._lock:
            faults = {about: reason for about, reason in self._faults.items() if reason}
            of_map, of_node = faults.pop("map", ""), "; ".join(faults.values())
            return [
                self._localization(situation, of_node, now_ns),
                self._input(situation, now_ns),
                self._map(situation, of_map, now_ns),
            ]

    def _localization(self, situation: NodeState, fault: str, now_ns: int) -> ComponentStatus:
        values: dict[str, object] = {"state": situation.state, "listeners": situation.listeners}
        if fault or situation.state != "active":
            return _idle("localization", situation, fault, values)
        answers = [answered for _, answered in self._answers.since(now_ns) if answered.status != "DROPPED"]
        fixes = [answered for answered in answers if answered.status == "OK"]
        findings = [
            *self._about_usability("localization"),
            *self._about_fixes(answers, fixes, now_ns),
            *self._about_times(answers),
        ]
        if self._counts["OK"]:
            values["since_fix_s"] = f"{(now_ns - self._fix_ns) / _NS_PER_S:.1f}"
        if fixes:
            values["inliers"] = f"{median_inliers(fixes):g}"
        if answers:
            values["acceptance"] = f"{len(fixes) / len(answers):.2f}"
            values["total_ms"] = f"{median_total_ms(answers):.1f}"
        values |= {f"{stage}_ms": f"{ms:.1f}" for stage, ms in median_stages_ms(answers).items()}
        values |= dict(sorted(self._counts.items()))
        if self._refusal:
            values["last_refusal"] = self._refusal
        return _concern("localization", findings, values)

    def _about_fixes(self, answers: list[Answered], fixes: list[Answered], now_ns: int) -> Iterator[Finding]:
        config = self._config
        telling = len(answers) >= _FEW or now_ns - self._begun_ns >= config.window_s * _NS_PER_S
        if telling and len(fixes) < config.min_acceptance * len(answers):
            yield Level.WARN, f"{localized_share(answers, fixes)}, expected at least {config.min_acceptance:.0%}"
        else:
            yield Level.OK, localized_share(answers, fixes)
        since_s = (now_ns - self._fix_ns) / _NS_PER_S
        for level, limit_s in ((Level.ERROR, config.fix_error_s), (Level.WARN, config.fix_warn_s)):
            if limit_s and since_s > limit_s:
                yield level, f"no fix for {since_s:.1f} s, expected one within {limit_s:g} s"
                break
        if fixes and median_inliers(fixes) < config.min_inliers:
            yield Level.WARN, f"median of {median_inliers(fixes):g} inliers, expected at least {config.min_inliers}"

    def _about_times(self, answers: list[Answered]) -> Iterator[Finding]:
        budget_ms = self._config.budget_ms
        if not answers or not budget_ms or median_total_ms(answers) <= budget_ms:
            return
        stages_ms = median_stages_ms(answers)
        longest = max(stages_ms, key=lambda stage: stages_ms[stage], default="")
        most = f", {stages_ms[longest]:.0f} ms of it {longest}" if longest else ""
        yield (
            Level.WARN,
            f"median of {median_total_ms(answers):.0f} ms per image{most}; expected at most {budget_ms:g} ms",
        )

    def _about_usability(self, concern: str) -> Iterator[Finding]:
        if self._at_fault == concern:
            lasting = self._in_a_row >= self._config.unusable_images
            yield (Level.ERROR if lasting else Level.WARN), self._refusal

    def _input(self, situation: NodeState, now_ns: int) -> ComponentStatus:
        values: dict[str, object] = {"state": situation.state}
        if situation.state != "active":
            return _idle("input", situation, "", values)
        images = self._ages_s.since(now_ns)
        rate_hz = self._rate_hz([at_ns for at_ns, _ in images], now_ns)
        age_s = median(age_s for _, age_s in images) if images else None
        findings = [
            *self._about_usability("input"),
            *self._about_arrival(situation, rate_hz, now_ns),
            *self._about_cameras(now_ns),
            *self._about_age(age_s),
        ]
        values |= {"topic": situation.topic, "publishers": situation.publishers}
        if rate_hz is not None:
            values["rate_hz"] = f"{rate_hz:.2f}"
        if age_s is not None:
            values["age_s"] = f"{age_s:.3f}"
        if self._received:
            values["since_image_s"] = f"{(now_ns - self._image_ns) / _NS_PER_S:.1f}"
        dropped = sum(answered.status == "DROPPED" for _, answered in self._answers.since(now_ns))
        values |= {"images_received": self._received, "images_dropped": self._counts["DROPPED"]}
        values["images_dropped_lately"] = dropped
        return _concern("input", findings, values)

    def _about_arrival(self, situation: NodeState, rate_hz: float | None, now_ns: int) -> Iterator[Finding]:
        config, silent_s = self._config, (now_ns - self._image_ns) / _NS_PER_S
        if config.image_timeout_s and silent_s > config.image_timeout_s:
            hint = "does image_reliability fit the camera's QoS?" if situation.publishers else "nobody publishes there"
            yield Level.ERROR, f"no image on {situation.topic} for {silent_s:.1f} s; {hint}"
        elif not self._received:
            yield Level.OK, f"no image came yet on {situation.topic}"
        elif rate_hz is not None and rate_hz < config.min_rate_hz:
            yield Level.WARN, f"{rate_hz:.1f} Hz, expected at least {config.min_rate_hz:g} Hz"
        else:
            yield Level.OK, "the first image came" if rate_hz is None else f"{rate_hz:.1f} Hz"

    def _about_cameras(self, now_ns: int) -> Iterator[Finding]:
        limit_s = self._config.image_timeout_s
        for camera, image_ns in self._image_of_ns.items():
            silent_s = (now_ns - image_ns) / _NS_PER_S
            if camera and limit_s and silent_s > limit_s:
                yield Level.WARN, f"no image of camera {camera} for {silent_s:.1f} s"
        apart = always_apart([answered for _, answered in self._answers.since(now_ns)], at_least=_FEW)
        if apart:
            hint = "are their stamps within rig_window_s, and do they come within rig_wait_s?"
            yield Level.WARN, f"images of {' and '.join(apart)} are never of one moment; {hint}"

    def _about_age(self, age_s: float | None) -> Iterator[Finding]:
        limit_s = self._config.max_age_s
        if age_s is None:
            return
        text = f"images are {age_s:.3f} s old"
        if not limit_s or abs(age_s) <= limit_s:
            yield Level.OK, text
            return
        hint = "are the clocks of camera and robot synchronised, or use_sim_time missing?"
        yield Level.WARN, f"{text}, expected at most {limit_s:g} s; {hint}"

    def _map(self, situation: NodeState, fault: str, now_ns: int) -> ComponentStatus:
        values: dict[str, object] = {"state": situation.state, "map": situation.map_hash or "none"}
        if situation.map_name:
            values["name"] = situation.map_name
        if fault or situation.state != "active":
            return _idle("map", situation, fault, values)
        if situation.map_hash:
            return ComponentStatus("map", Level.OK, f"{situation.map_name} {situation.map_hash}".strip(), values)
        late = now_ns - self._begun_ns > self._config.map_timeout_s * _NS_PER_S
        text = "no map is loaded; is map_server active and has it one?"
        return ComponentStatus("map", Level.ERROR if late else Level.WARN, text, values)

    def _rate_hz(self, times_ns: list[int], now_ns: int) -> float | None:
        """Of the images in the window; None where it is too early to say."""
        if len(times_ns) >= 2:
            gap_ns = (times_ns[-1] - times_ns[0]) / (len(times_ns) - 1)
            # silence counts from when the next image is due, so that the rate sinks when they stop
            span_ns = max(times_ns[-1], now_ns - gap_ns) - times_ns[0]
            return (len(times_ns) - 1) / max(span_ns, 1) * _NS_PER_S
        if now_ns - self._begun_ns < self._config.window_s * _NS_PER_S:
            return None
        return len(times_ns) / self._config.window_s


def _concern(name: str, findings: list[Finding], values: dict[str, object]) -> ComponentStatus:
    """Worst first; it gives the level."""
    worst_first = sorted(findings, key=lambda finding: -finding[0])
    return ComponentStatus(name, worst_first[0][0], "; ".join(text for _, text in worst_first), values)


def _idle(name: str, situation: NodeState, fault: str, values: dict[str, object]) -> ComponentStatus:
    """Broken, or with nothing to do."""
    return ComponentStatus(name, Level.ERROR if fault else Level.OK, fault or f"not active: {situation.state}", values)
