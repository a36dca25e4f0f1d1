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

"""State of the localizer for diagnostics: counts and times in, levels and values out. Needs neither ROS nor a clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from statistics import median
from threading import Lock

from vloc_ros.node_config import DiagnosticsConfig
from vloc_ros.nodes.localizer.component_status import (
    ComponentStatus,
    Finding,
    Level,
    NodeState,
    make_idle_status,
    make_status,
)
from vloc_ros.nodes.localizer.recent import (
    Arrivals,
    Recent,
    RecentResult,
    describe_localized_share,
    divide_by_sensor,
    find_unsynchronized_cameras,
    median_inliers,
    median_stages_s,
    median_total_s,
)

_NS_PER_S = 1_000_000_000
# with fewer results than this no share is evaluated, unless a whole window has no more
_FEW = 5
_LOSSES = (
    "use image_transport compressed, or raise net.core.rmem_max: see QoS in docs/ros-interface.md; 0 for "
    "diagnostics.min_arrival if camera_info has another rate"
)
# statuses of images that were refused before localization, with the component at fault
_UNUSABLE = {
    "NO_CALIBRATION": "input",
    "NO_TRANSFORM": "input",
    "NO_ODOMETRY": "input",
    "STALE": "input",
    "BAD_IMAGE": "input",
    "INTERNAL_ERROR": "localization",
}


class DiagnosticMonitor:
    """Records events with times of a monotonic clock, and evaluates them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._faults: dict[str, str] = {}
        self.begin(DiagnosticsConfig(), at_ns=0)

    def begin(self, config: DiagnosticsConfig, *, at_ns: int, watched: Mapping[str, str] | None = None) -> None:
        """Discard all images, but not the faults.

        `watched` are the sensors of which none may be silent, by their names, and what each of them sends.
        """
        with self._lock:
            self._config, self._begun_ns = config, at_ns
            self._ages_s: Recent[tuple[str, float]] = Recent(config.window_s)  # with what arrived: images or scans
            self._results: Recent[RecentResult] = Recent(config.window_s)
            self._counts: Counter[str] = Counter()
            self._received = 0
            self._image_ns = self._fix_ns = at_ns
            self._watched = dict(watched or {})
            self._image_of_ns = dict.fromkeys(self._watched, at_ns)
            self._arrivals = Arrivals(config.window_s)
            self._refusal = ""
            # of each sensor: the component at fault with its last results, how many in a row, and why
            self._at_fault: dict[str, tuple[str, int, str]] = {}

    def set_fault(self, subject: str, reason: str) -> None:
        """Set the fault of a subject, which keeps the node from working; an empty reason clears it."""
        with self._lock:
            self._faults[subject] = reason

    def record_image(self, *, at_ns: int, age_s: float, camera: str = "") -> None:
        """Record the arrival of an image and its age; `camera` is its name in a rig."""
        with self._lock:
            self._received += 1
            self._image_ns = self._image_of_ns[camera] = at_ns
            self._ages_s.add(at_ns, ("scans" if self._watched.get(camera) == "scan" else "images", age_s))
            self._arrivals.add_image(camera, at_ns)

    def record_camera_info(self, *, at_ns: int, camera: str = "") -> None:
        """Record the arrival of a camera_info, which a driver sends with every image."""
        with self._lock:
            self._arrivals.add_camera_info(camera, at_ns)

    def record_result(self, result: RecentResult, *, at_ns: int) -> None:
        """Record the result of an image."""
        with self._lock:
            self._counts[result.status] += 1
            self._results.add(at_ns, result)
            if result.status == "DROPPED":
                return
            if result.status == "OK":
                self._fix_ns = at_ns
            else:
                self._refusal = f"{result.status}: {result.reason}"
            at_fault = _UNUSABLE.get(result.status, "")
            before, in_a_row, _ = self._at_fault.get(result.sensor, ("", 0, ""))
            in_a_row = in_a_row + 1 if at_fault == before else 1
            self._at_fault[result.sensor] = at_fault, in_a_row, f"{result.status}: {result.reason}"

    def report(self, node_state: NodeState, *, now_ns: int) -> list[ComponentStatus]:
        """Return the status of each component: localization, input and map."""
        with self._lock:
            faults = {subject: reason for subject, reason in self._faults.items() if reason}
            of_map, of_node = faults.pop("map", ""), "; ".join(faults.values())
            return [
                self._report_localization(node_state, of_node, now_ns),
                self._report_input(node_state, now_ns),
                self._report_map(node_state, of_map, now_ns),
            ]

    def _report_localization(self, node_state: NodeState, fault: str, now_ns: int) -> ComponentStatus:
        values: dict[str, object] = {"state": node_state.state, "listeners": node_state.listeners}
        if fault or node_state.state != "active":
            return make_idle_status("localization", node_state, fault, values, warnings=node_state.warnings)
        taken = [result for _, result in self._results.since(now_ns) if result.status != "DROPPED"]
        results = [result for result in taken if not result.is_accumulating]
        fixes = [result for result in results if result.status == "OK"]
        findings = [
            *self._check_usability("localization"),
            *self._check_fixes(results, fixes, now_ns),
            *((Level.OK, result.reason) for result in taken[-1:] if result.is_accumulating),
            *self._check_times(results),
            *((Level.WARN, warning) for warning in node_state.warnings),
        ]
        if self._counts["OK"]:
            values["since_fix_s"] = f"{(now_ns - self._fix_ns) / _NS_PER_S:.1f}"
        if fixes:
            values["inliers"] = f"{median_inliers(fixes):g}"
        if results:
            values["acceptance"] = f"{len(fixes) / len(results):.2f}"
            values["total_s"] = f"{median_total_s(results):.4f}"
        values |= {f"{stage}_s": f"{seconds:.4f}" for stage, seconds in median_stages_s(results).items()}
        values |= dict(sorted(self._counts.items()))
        if self._refusal:
            values["last_refusal"] = self._refusal
        return make_status("localization", findings, values)

    def _check_fixes(self, results: list[RecentResult], fixes: list[RecentResult], now_ns: int) -> Iterator[Finding]:
        config = self._config
        for of_sensor in divide_by_sensor(results):
            share, count = describe_localized_share(of_sensor), sum(one.status == "OK" for one in of_sensor)
            enough = len(of_sensor) >= _FEW or now_ns - self._begun_ns >= config.window_s * _NS_PER_S
            if enough and count < config.min_acceptance * len(of_sensor):
                yield Level.WARN, f"{share}, expected at least {config.min_acceptance:.0%}"
            else:
                yield Level.OK, share
        since_s = (now_ns - self._fix_ns) / _NS_PER_S
        for level, limit_s in ((Level.ERROR, config.fix_error_s), (Level.WARN, config.fix_warn_s)):
            if limit_s and since_s > limit_s:
                yield level, f"no fix for {since_s:.1f} s, expected one within {limit_s:g} s"
                break
        for of_sensor in divide_by_sensor(fixes):
            if of_sensor and median_inliers(of_sensor) < config.min_inliers:
                inliers = f"{median_inliers(of_sensor):g} inliers"
                of_scans = " of scans" if of_sensor[0].sensor == "lidar" else ""
                yield Level.WARN, f"median of {inliers}{of_scans}, expected at least {config.min_inliers}"

    def _check_times(self, results: list[RecentResult]) -> Iterator[Finding]:
        budget_s = self._config.budget_s
        if not results or not budget_s or median_total_s(results) <= budget_s:
            return
        stages_s = median_stages_s(results)
        longest = max(stages_s, key=lambda stage: stages_s[stage], default="")
        most = f", {1e3 * stages_s[longest]:.0f} ms of it {longest}" if longest else ""
        yield (
            Level.WARN,
            f"median of {1e3 * median_total_s(results):.0f} ms per image{most}; expected at most {1e3 * budget_s:g} ms",
        )

    def _check_usability(self, component: str) -> Iterator[Finding]:
        for _, (at_fault, in_a_row, refusal) in sorted(self._at_fault.items()):
            if at_fault == component:
                yield (Level.ERROR if in_a_row >= self._config.unusable_images else Level.WARN), refusal

    def _report_input(self, node_state: NodeState, now_ns: int) -> ComponentStatus:
        values: dict[str, object] = {"state": node_state.state}
        if node_state.state != "active":
            return make_idle_status("input", node_state, "", values)
        arrived = list(self._ages_s.since(now_ns))
        rate_hz = self._rate_hz([at_ns for at_ns, (kind, _) in arrived if kind == "images"], now_ns)
        kinds = sorted({kind for _, (kind, _) in arrived})
        ages_s = {kind: median(age_s for _, (one, age_s) in arrived if one == kind) for kind in kinds}
        age_s = max(ages_s.values(), key=abs, default=None)
        findings = [
            *self._check_usability("input"),
            *self._check_arrival(node_state, rate_hz, now_ns),
            *self._check_losses(now_ns),
            *self._check_silence(now_ns),
            *(finding for kind in kinds for finding in self._check_age(kind, ages_s[kind])),
        ]
        values |= {"topic": node_state.topic, "publishers": node_state.publishers}
        if rate_hz is not None:
            values["rate_hz"] = f"{rate_hz:.2f}"
        if age_s is not None:
            values["age_s"] = f"{age_s:.3f}"
        if self._received:
            values["since_image_s"] = f"{(now_ns - self._image_ns) / _NS_PER_S:.1f}"
        dropped = sum(result.status == "DROPPED" for _, result in self._results.since(now_ns))
        values |= {"images_received": self._received, "images_dropped": self._counts["DROPPED"]}
        values["images_dropped_lately"] = dropped
        return make_status("input", findings, values)

    def _check_arrival(self, node_state: NodeState, rate_hz: float | None, now_ns: int) -> Iterator[Finding]:
        config, silent_s = self._config, (now_ns - self._image_ns) / _NS_PER_S
        if config.image_timeout_s and silent_s > config.image_timeout_s:
            hint = "does image_reliability fit the camera's QoS?" if node_state.publishers else "it has no publisher"
            yield Level.ERROR, f"no image on {node_state.topic} for {silent_s:.1f} s; {hint}"
        elif not self._received:
            yield Level.OK, f"no image received yet on {node_state.topic}"
        elif rate_hz is not None and rate_hz < config.min_rate_hz:
            yield Level.WARN, f"{rate_hz:.1f} Hz, expected at least {config.min_rate_hz:g} Hz"
        else:
            yield Level.OK, "the first image was received" if rate_hz is None else f"{rate_hz:.1f} Hz"

    def _check_losses(self, now_ns: int) -> Iterator[Finding]:
        for camera, arrived, sent in self._arrivals.counts(now_ns):
            if arrived and sent >= _FEW and arrived < self._config.min_arrival * sent:
                of_camera = f" of camera {camera}" if camera else ""
                yield Level.WARN, f"{arrived} of {sent} images{of_camera} arrive, by their camera_info; {_LOSSES}"

    def _check_silence(self, now_ns: int) -> Iterator[Finding]:
        limit_s = self._config.image_timeout_s
        for name, what in self._watched.items():
            silent_s = (now_ns - self._image_of_ns[name]) / _NS_PER_S
            if limit_s and silent_s > limit_s:
                yield Level.WARN, f"no {what} for {silent_s:.1f} s"
        apart = find_unsynchronized_cameras([result for _, result in self._results.since(now_ns)], at_least=_FEW)
        if apart:
            hint = "are their stamps within rig_window_s, and do they arrive within rig_wait_s?"
            yield Level.WARN, f"images of {' and '.join(apart)} are never synchronized; {hint}"

    def _check_age(self, kind: str, age_s: float) -> Iterator[Finding]:
        limit_s = self._config.max_age_s
        text = f"{kind} are {age_s:.3f} s old"
        if not limit_s or abs(age_s) <= limit_s:
            yield Level.OK, text
            return
        hint = "are the clocks of sensor and robot synchronised, or use_sim_time missing?"
        yield Level.WARN, f"{text}, expected at most {limit_s:g} s; {hint}"

    def _report_map(self, node_state: NodeState, fault: str, now_ns: int) -> ComponentStatus:
        values: dict[str, object] = {"state": node_state.state, "map": node_state.map_hash or "none"}
        if node_state.map_name:
            values["name"] = node_state.map_name
        if fault or node_state.state != "active":
            return make_idle_status("map", node_state, fault, values)
        if node_state.map_hash:
            return ComponentStatus("map", Level.OK, f"{node_state.map_name} {node_state.map_hash}".strip(), values)
        late = now_ns - self._begun_ns > self._config.map_timeout_s * _NS_PER_S
        text = "no map is loaded; is the map server active, and has it loaded a map?"
        return ComponentStatus("map", Level.ERROR if late else Level.WARN, text, values)

    def _rate_hz(self, times_ns: list[int], now_ns: int) -> float | None:
        """Return the rate of the images in the window; None if it is not known yet."""
        if len(times_ns) >= 2:
            gap_ns = (times_ns[-1] - times_ns[0]) / (len(times_ns) - 1)
            # silence counts from when the next image is expected, so that the rate falls when images stop
            span_ns = max(times_ns[-1], now_ns - gap_ns) - times_ns[0]
            return (len(times_ns) - 1) / max(span_ns, 1) * _NS_PER_S
        if now_ns - self._begun_ns < self._config.window_s * _NS_PER_S:
            return None
        return len(times_ns) / self._config.window_s
