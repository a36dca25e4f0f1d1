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

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vloc_ros.node_config import DiagnosticsConfig
from vloc_ros.nodes.localizer.component_status import ComponentStatus, Level, NodeState
from vloc_ros.nodes.localizer.diagnostic_monitor import DiagnosticMonitor
from vloc_ros.nodes.localizer.recent import RecentResult

S = 1_000_000_000
START = 77 * S
ACTIVE = NodeState("active", map_hash="abc", map_name="office", topic="/image", publishers=1, listeners=2)
CAMERAS = {"front": "image of camera front", "rear": "image of camera rear"}
FIX = RecentResult("OK", inliers=80, total_s=0.05, stages_s={"features": 0.04, "pose": 0.01})


def start_monitor(**changes: Any) -> DiagnosticMonitor:
    monitor = DiagnosticMonitor()
    monitor.begin(DiagnosticsConfig(**changes), at_ns=START)
    return monitor


def record_images(
    monitor: DiagnosticMonitor,
    seconds: float,
    *,
    result: RecentResult = FIX,
    rate_hz: float = 10.0,
    age_s: float = 0.05,
    at: int = 0,
) -> int:
    """Record some seconds of images, all with the same result; return the time of the last."""
    times = [START + at + round((k + 1) * S / rate_hz) for k in range(round(seconds * rate_hz))]
    for now_ns in times:
        monitor.record_image(at_ns=now_ns, age_s=age_s)
        monitor.record_result(result, at_ns=now_ns)
    return times[-1]


def component_of(monitor: DiagnosticMonitor, name: str, now_ns: int, node_state: NodeState = ACTIVE) -> ComponentStatus:
    return next(component for component in monitor.report(node_state, now_ns=now_ns) if component.name == name)


def test_images_that_are_kept_for_a_cloud_count_for_no_share() -> None:
    monitor = start_monitor()
    kept = RecentResult("NO_FEATURES", "the camera has moved 0.9 m of the 3 m to its next cloud", is_accumulating=True)
    record_images(monitor, 4.0, result=kept)
    monitor.record_result(FIX, at_ns=START + 4 * S)
    now_ns = record_images(monitor, 0.5, result=kept, at=4 * S)
    report = component_of(monitor, "localization", now_ns)
    assert (report.level, report.values["acceptance"]) == (Level.OK, "1.00")
    assert "moved 0.9 m of the 3 m" in report.text


def test_a_localized_robot_is_ok_in_all_components() -> None:
    monitor = start_monitor()
    now_ns = record_images(monitor, 20.0)
    components = monitor.report(ACTIVE, now_ns=now_ns)
    assert [(component.name, component.level) for component in components] == [
        ("localization", Level.OK),
        ("input", Level.OK),
        ("map", Level.OK),
    ]
    values = {name: value for component in components for name, value in component.values.items()}
    assert values["rate_hz"] == "10.00"
    assert values["age_s"] == "0.050"
    assert values["acceptance"] == "1.00"
    assert values["inliers"] == "80"
    assert (values["total_s"], values["features_s"], values["pose_s"]) == ("0.0500", "0.0400", "0.0100")
    assert (values["since_fix_s"], values["since_image_s"]) == ("0.0", "0.0")
    assert (values["images_received"], values["OK"], values["images_dropped"]) == (200, 200, 0)
    assert (values["map"], values["listeners"]) == ("abc", 2)


@pytest.mark.parametrize("state", ["unconfigured", "inactive", "finalized"])
def test_a_node_that_is_not_active_does_not_warn(state: str) -> None:
    monitor = start_monitor()
    long_after = START + 1000 * S
    components = monitor.report(NodeState(state), now_ns=long_after)
    assert {component.level for component in components} == {Level.OK}
    assert all(state in component.text and component.values["state"] == state for component in components)


@pytest.mark.parametrize(("rate_hz", "level"), [(2.1, Level.OK), (1.9, Level.WARN)])
def test_a_slow_camera_is_a_warning(rate_hz: float, level: Level) -> None:
    monitor = start_monitor(min_rate_hz=2.0)
    now_ns = record_images(monitor, 30.0, rate_hz=rate_hz)
    due_ns = now_ns + round(0.99 * S / rate_hz)
    for at_ns in (now_ns, due_ns):
        assert component_of(monitor, "input", at_ns).level == level
        assert float(str(component_of(monitor, "input", at_ns).values["rate_hz"])) == pytest.approx(rate_hz, abs=0.01)


def test_the_rate_sinks_when_images_stop_until_that_is_an_error() -> None:
    monitor = start_monitor(min_rate_hz=8.0, image_timeout_s=5.0)
    now_ns = record_images(monitor, 20.0)
    rates = [float(str(component_of(monitor, "input", now_ns + k * S).values["rate_hz"])) for k in range(9)]
    assert rates == sorted(rates, reverse=True)
    levels = [component_of(monitor, "input", now_ns + k * S).level for k in (0, 4, 5, 6)]
    assert levels == [Level.OK, Level.WARN, Level.WARN, Level.ERROR]
    assert "no image on /image for 6.0 s" in component_of(monitor, "input", now_ns + 6 * S).text


@pytest.mark.parametrize(("publishers", "hint"), [(0, "it has no publisher"), (1, "QoS")])
def test_without_any_image_the_topic_and_a_hint_are_reported(publishers: int, hint: str) -> None:
    monitor, node_state = start_monitor(image_timeout_s=5.0), replace(ACTIVE, publishers=publishers)
    assert component_of(monitor, "input", START + 4 * S, node_state).level == Level.OK
    late = component_of(monitor, "input", START + 6 * S, node_state)
    assert late.level == Level.ERROR
    assert hint in late.text


@pytest.mark.parametrize(("age_s", "level"), [(0.4, Level.OK), (0.6, Level.WARN), (-0.4, Level.OK), (-0.6, Level.WARN)])
def test_old_and_future_images_point_to_the_clocks(age_s: float, level: Level) -> None:
    monitor = start_monitor(max_age_s=0.5)
    component = component_of(monitor, "input", record_images(monitor, 2.0, age_s=age_s))
    assert component.level == level
    assert ("clocks" in component.text) == (level == Level.WARN)


def test_several_unusable_images_in_a_row_are_an_error() -> None:
    monitor = start_monitor(unusable_images=3)
    refused = RecentResult("NO_ODOMETRY", "odom is not known")
    now_ns = START
    levels = []
    for result in (FIX, refused, refused, RecentResult("DROPPED"), refused, FIX):
        now_ns += S // 10
        monitor.record_image(at_ns=now_ns, age_s=0.0)
        monitor.record_result(result, at_ns=now_ns)
        levels.append(component_of(monitor, "input", now_ns).level)
    assert levels == [Level.OK, Level.WARN, Level.WARN, Level.WARN, Level.ERROR, Level.OK]
    monitor.record_result(refused, at_ns=now_ns)
    assert "NO_ODOMETRY: odom is not known" in component_of(monitor, "input", now_ns).text


def test_a_bug_is_an_error_of_localization() -> None:
    monitor = start_monitor(unusable_images=1)
    now_ns = record_images(monitor, 0.1, result=RecentResult("INTERNAL_ERROR", "IndexError"))
    assert component_of(monitor, "localization", now_ns).level == Level.ERROR
    assert component_of(monitor, "localization", now_ns).text.startswith("INTERNAL_ERROR: IndexError")
    assert component_of(monitor, "input", now_ns).level == Level.OK


def test_acceptance_is_that_of_the_window() -> None:
    monitor = start_monitor(min_acceptance=0.5, window_s=10.0)
    refused = RecentResult("TOO_FEW_MATCHES", "3 matches")
    half = record_images(monitor, 10.0)
    now_ns = record_images(monitor, 6.0, result=refused, at=half - START)
    component = component_of(monitor, "localization", now_ns)
    assert component.level == Level.WARN
    assert float(str(component.values["acceptance"])) == pytest.approx(0.4, abs=0.01)
    assert "(TOO_FEW_MATCHES 60), expected at least 50%" in component.text
    assert component.values["last_refusal"] == "TOO_FEW_MATCHES: 3 matches"
    again = record_images(monitor, 10.1, at=now_ns - START)
    assert component_of(monitor, "localization", again).level == Level.OK
    assert component_of(monitor, "localization", again).values["acceptance"] == "1.00"


def test_dropped_images_are_counted_but_not_held_against_acceptance() -> None:
    monitor = start_monitor()
    now_ns = record_images(monitor, 5.0)
    now_ns = record_images(monitor, 2.0, result=RecentResult("DROPPED"), rate_hz=100.0, at=now_ns - START)
    assert component_of(monitor, "localization", now_ns).values["acceptance"] == "1.00"
    assert component_of(monitor, "input", now_ns).values["images_dropped_lately"] == 200
    values = component_of(monitor, "input", now_ns + 60 * S).values
    assert (values["images_dropped"], values["images_dropped_lately"]) == (200, 0)


def test_the_first_refusals_are_no_warning_yet() -> None:
    monitor = start_monitor()
    now_ns = record_images(monitor, 0.4, result=RecentResult("HELD", "1 of 2 fixes"))
    assert component_of(monitor, "localization", now_ns).level == Level.OK
    later = record_images(monitor, 0.1, result=RecentResult("HELD"), at=now_ns - START)
    assert component_of(monitor, "localization", later).level == Level.WARN


def test_the_acceptance_of_a_slow_camera_is_evaluated_after_a_window() -> None:
    monitor = start_monitor(window_s=10.0, min_rate_hz=0.0)
    now_ns = record_images(monitor, 10.0, result=RecentResult("NO_FEATURES"), rate_hz=0.2)
    assert "expected at least 50%" in component_of(monitor, "localization", now_ns).text


@pytest.mark.parametrize(
    ("after_s", "level"), [(4.9, Level.OK), (5.1, Level.WARN), (29.9, Level.WARN), (30.1, Level.ERROR)]
)
def test_time_since_the_last_fix(after_s: float, level: Level) -> None:
    monitor = start_monitor(fix_warn_s=5.0, fix_error_s=30.0)
    now_ns = record_images(monitor, 1.0) + round(after_s * S)
    component = component_of(monitor, "localization", now_ns)
    assert component.level == level
    assert component.values["since_fix_s"] == f"{after_s:.1f}"
    assert (f"no fix for {after_s:.1f} s" in component.text) == (level > Level.OK)


def test_without_any_fix_the_time_counts_from_activation() -> None:
    monitor = start_monitor(fix_warn_s=0.0, fix_error_s=30.0)
    assert component_of(monitor, "localization", START + 29 * S).level == Level.OK
    late = component_of(monitor, "localization", START + 31 * S)
    assert late.level == Level.ERROR
    assert "since_fix_s" not in late.values


def test_few_inliers_are_a_warning() -> None:
    monitor = start_monitor(min_inliers=30)
    now_ns = record_images(monitor, 5.0, result=replace(FIX, inliers=29))
    assert component_of(monitor, "localization", now_ns).level == Level.WARN
    assert "median of 29 inliers" in component_of(monitor, "localization", now_ns).text


def test_over_budget_the_longest_stage_is_named() -> None:
    monitor = start_monitor(budget_s=0.049)
    component = component_of(monitor, "localization", record_images(monitor, 5.0))
    assert component.level == Level.WARN
    assert "median of 50 ms per image, 40 ms of it features; expected at most 49 ms" in component.text


def test_the_median_time_ignores_single_slow_images() -> None:
    monitor = start_monitor(budget_s=0.1)
    now_ns = record_images(monitor, 1.0)
    now_ns = record_images(monitor, 0.9, result=replace(FIX, total_s=5.0), at=now_ns - START)
    assert component_of(monitor, "localization", now_ns).level == Level.OK


def test_zero_turns_thresholds_off() -> None:
    off = ("min_rate_hz", "image_timeout_s", "max_age_s", "min_acceptance", "budget_s", "fix_warn_s", "fix_error_s")
    monitor = start_monitor(min_inliers=0, **dict.fromkeys(off, 0.0))
    now_ns = record_images(monitor, 20.0, rate_hz=0.5, age_s=1e6, result=replace(FIX, total_s=1e3, inliers=0))
    now_ns = record_images(monitor, 20.0, rate_hz=0.5, result=RecentResult("NO_FEATURES"), at=now_ns - START)
    assert {component.level for component in monitor.report(ACTIVE, now_ns=now_ns + 1000 * S)} == {Level.OK}


def test_a_missing_map_is_an_error_after_a_while() -> None:
    monitor, without = start_monitor(map_timeout_s=10.0), replace(ACTIVE, map_hash="", map_name="")
    assert component_of(monitor, "map", START + 9 * S, without).level == Level.WARN
    late = component_of(monitor, "map", START + 11 * S, without)
    assert late.level == Level.ERROR
    assert late.values["map"] == "none"


def test_a_fault_is_an_error_of_its_component_in_every_state() -> None:
    monitor = start_monitor()
    monitor.set_fault("map", "no map")
    monitor.set_fault("node", "no node")
    for state in ("active", "inactive"):
        components = {c.name: (c.level, c.text) for c in monitor.report(replace(ACTIVE, state=state), now_ns=START)}
        assert components["map"] == (Level.ERROR, "no map")
        assert components["localization"] == (Level.ERROR, "no node")
        assert components["input"][0] == Level.OK


def test_a_new_activation_discards_images_and_keeps_faults() -> None:
    monitor = start_monitor()
    now_ns = record_images(monitor, 5.0, result=RecentResult("INTERNAL_ERROR", "a bug"))
    monitor.set_fault("map", "no map")
    monitor.begin(DiagnosticsConfig(), at_ns=now_ns)
    assert component_of(monitor, "localization", now_ns).level == Level.OK
    assert component_of(monitor, "input", now_ns).values["images_received"] == 0
    assert component_of(monitor, "map", now_ns).text == "no map"


def test_the_worst_comes_first() -> None:
    monitor = start_monitor(fix_error_s=3.0)
    component = component_of(
        monitor, "localization", record_images(monitor, 5.0, result=RecentResult("NO_CANDIDATES", total_s=0.001))
    )
    assert component.level == Level.ERROR
    assert component.text.startswith("no fix for 5.0 s, expected one within 3 s; 0% of the last 50 images localized")


def test_a_silent_camera_of_a_rig_is_a_warning_that_names_it() -> None:
    monitor = DiagnosticMonitor()
    monitor.begin(DiagnosticsConfig(image_timeout_s=2.0), at_ns=0, watched=CAMERAS)
    for tick in range(30):
        monitor.record_image(at_ns=tick * S // 10, age_s=0.0, camera="front")
        if tick < 5:
            monitor.record_image(at_ns=tick * S // 10, age_s=0.0, camera="rear")
    component = component_of(monitor, "input", 3 * S)
    assert component.level is Level.WARN
    assert component.text.startswith("no image of camera rear for 2.6 s")
    assert component.values["images_received"] == 35
    monitor.record_image(at_ns=3 * S, age_s=0.0, camera="rear")
    assert component_of(monitor, "input", 3 * S).level is Level.OK


def test_a_sensor_without_answers_is_a_warning_beside_another_that_has_some() -> None:
    monitor = DiagnosticMonitor()
    monitor.begin(DiagnosticsConfig(image_timeout_s=2.0), at_ns=START, watched={"": "image", "*scans": "scan"})
    scan, dark = replace(FIX, sensor="lidar"), RecentResult("NO_FEATURES", "dark")
    for tick in range(10):
        monitor.record_image(at_ns=START + tick * S // 10, age_s=0.0)
        monitor.record_result(dark, at_ns=START + tick * S // 10)
        monitor.record_result(scan, at_ns=START + tick * S // 10)
    component = component_of(monitor, "localization", START + S)
    assert component.level == Level.WARN
    assert "0% of the last 10 images localized" in component.text
    assert "100% of the last 10 scans localized" in component.text
    component = component_of(monitor, "input", START + 5 * S // 2)
    assert (component.level, component.text.startswith("no scan for 2.5 s")) == (Level.WARN, True)


@pytest.mark.parametrize(
    ("image_sets", "level"),
    [
        ([("front",), ("rear",)] * 10, Level.WARN),
        ([("front",), ("rear",)] * 9 + [("front", "rear")], Level.OK),
        ([("front",)] * 20, Level.OK),  # the other one is silent, or left out
        ([("front",), ("rear",)] * 2, Level.OK),  # too few to decide
    ],
)
def test_cameras_that_are_never_synchronized_are_a_warning(image_sets: list[tuple[str, ...]], level: Level) -> None:
    monitor = DiagnosticMonitor()
    monitor.begin(DiagnosticsConfig(), at_ns=START, watched=CAMERAS)
    now_ns = START
    for cameras in image_sets:
        now_ns += S // 10
        for camera in cameras:
            monitor.record_image(at_ns=now_ns, age_s=0.05, camera=camera)
        monitor.record_result(replace(FIX, cameras=cameras), at_ns=now_ns)
    component = component_of(monitor, "input", now_ns)
    assert component.level is level
    assert ("front and rear" in component.text and "rig_window_s" in component.text) == (level is Level.WARN)


def record_arrivals(monitor: DiagnosticMonitor, *, infos: int, every: int, camera: str = "") -> int:
    """Record camera_infos at 10 Hz and an image for some of them; return the time of the last."""
    times = [START + k * S // 10 for k in range(infos)]
    for number, at_ns in enumerate(times):
        monitor.record_camera_info(at_ns=at_ns, camera=camera)
        if number % every == 0:
            monitor.record_image(at_ns=at_ns, age_s=0.0, camera=camera)
            monitor.record_result(FIX, at_ns=at_ns)
    return times[-1]


def test_images_that_do_not_arrive_are_a_warning() -> None:
    monitor = start_monitor()
    now_ns = record_arrivals(monitor, infos=40, every=4)
    component = component_of(monitor, "input", now_ns)
    assert component.level == Level.WARN
    assert component.text.startswith("10 of 40 images arrive")


@pytest.mark.parametrize(
    ("infos", "every", "changes"), [(40, 1, {}), (4, 4, {}), (40, 4, {"min_arrival": 0.0}), (1, 1, {})]
)
def test_images_that_arrive_are_no_warning(infos: int, every: int, changes: dict[str, Any]) -> None:
    monitor = start_monitor(**changes)
    assert component_of(monitor, "input", record_arrivals(monitor, infos=infos, every=every)).level == Level.OK


def test_a_latched_camera_info_says_nothing_about_losses() -> None:
    monitor = start_monitor()
    monitor.record_camera_info(at_ns=START)
    assert component_of(monitor, "input", record_images(monitor, 20.0)).level == Level.OK


def test_lost_images_are_those_of_a_camera() -> None:
    monitor = DiagnosticMonitor()
    monitor.begin(DiagnosticsConfig(), at_ns=START, watched=CAMERAS)
    record_arrivals(monitor, infos=40, every=1, camera="rear")
    now_ns = record_arrivals(monitor, infos=40, every=4, camera="front")
    component = component_of(monitor, "input", now_ns)
    assert component.level == Level.WARN
    assert component.text.startswith("10 of 40 images of camera front arrive")


def test_a_sensor_that_is_never_usable_is_an_error_beside_one_that_works() -> None:
    monitor = start_monitor(unusable_images=3)
    for tick in range(1, 4):
        monitor.record_image(at_ns=START + tick * S, age_s=0.0)
        monitor.record_result(RecentResult("NO_TRANSFORM", "of lidar", sensor="lidar"), at_ns=START + tick * S)
        monitor.record_result(FIX, at_ns=START + tick * S)
    component = component_of(monitor, "input", START + 3 * S)
    assert (component.level, "NO_TRANSFORM: of lidar" in component.text) == (Level.ERROR, True)


def test_few_inliers_of_one_sensor_are_a_warning_beside_many_of_another() -> None:
    monitor = start_monitor(min_inliers=30)
    for tick in range(1, 11):
        monitor.record_result(replace(FIX, inliers=5), at_ns=START + tick * S)
        monitor.record_result(replace(FIX, inliers=900, sensor="lidar"), at_ns=START + tick * S)
    component = component_of(monitor, "localization", START + 10 * S)
    assert (component.level, "median of 5 inliers" in component.text) == (Level.WARN, True)


def test_the_clock_of_one_sensor_and_the_rate_of_images_are_their_own() -> None:
    monitor = DiagnosticMonitor()
    watched = {"": "image", "*scans": "scan"}
    monitor.begin(DiagnosticsConfig(min_rate_hz=3.0), at_ns=START, watched=watched)
    for tick in range(1, 41):
        now_ns = START + tick * S // 10
        monitor.record_image(at_ns=now_ns, age_s=-37.0, camera="*scans")
        if tick % 5 == 0:
            monitor.record_image(at_ns=now_ns, age_s=0.02)
    component = component_of(monitor, "input", now_ns)
    assert component.level == Level.WARN
    assert "scans are -37.000 s old, expected" in component.text
    assert "2.0 Hz, expected at least 3 Hz" in component.text
    assert component.values["age_s"] == "-37.000"
