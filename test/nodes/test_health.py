from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vloc_ros.node_config import DiagnosticsConfig
from vloc_ros.nodes.diagnostic_monitor import ComponentStatus, DiagnosticMonitor, Level, NodeState
from vloc_ros.nodes.recent import Answered

S = 1_000_000_000
START = 77 * S
ACTIVE = NodeState("active", map_hash="abc", map_name="office", topic="/image", publishers=1, listeners=2)
FIX = Answered("OK", inliers=80, total_ms=50.0, stages_ms={"features": 40.0, "pose": 10.0})


def begun(**changes: Any) -> DiagnosticMonitor:
    health = DiagnosticMonitor()
    health.begin(DiagnosticsConfig(**changes), at_ns=START)
    return health


def drive(
    health: DiagnosticMonitor,
    seconds: float,
    *,
    answered: Answered = FIX,
    rate_hz: float = 10.0,
    age_s: float = 0.05,
    at: int = 0,
) -> int:
    """So many seconds of images, all answered alike; returns the time of the last."""
    times = [START + at + round((k + 1) * S / rate_hz) for k in range(round(seconds * rate_hz))]
    for now_ns in times:
        health.image(at_ns=now_ns, age_s=age_s)
        health.answer(answered, at_ns=now_ns)
    return times[-1]


def said(health: DiagnosticMonitor, name: str, now_ns: int, situation: NodeState = ACTIVE) -> ComponentStatus:
    return next(concern for concern in health.report(situation, now_ns=now_ns) if concern.name == name)


def test_a_robot_that_does_well_is_ok_in_everything() -> None:
    health = begun()
    now_ns = drive(health, 20.0)
    concerns = health.report(ACTIVE, now_ns=now_ns)
    assert [(concern.name, concern.level) for concern in concerns] == [
        ("localization", Level.OK),
        ("input", Level.OK),
        ("map", Level.OK),
    ]
    values = {name: value for concern in concerns for name, value in concern.values.items()}
    assert values["rate_hz"] == "10.00"
    assert values["age_s"] == "0.050"
    assert values["acceptance"] == "1.00"
    assert values["inliers"] == "80"
    assert (values["total_ms"], values["features_ms"], values["pose_ms"]) == ("50.0", "40.0", "10.0")
    assert (values["since_fix_s"], values["since_image_s"]) == ("0.0", "0.0")
    assert (values["images_received"], values["OK"], values["images_dropped"]) == (200, 200, 0)
    assert (values["map"], values["listeners"]) == ("abc", 2)


@pytest.mark.parametrize("state", ["unconfigured", "inactive", "finalized"])
def test_a_node_that_is_not_active_does_not_warn(state: str) -> None:
    health = begun()
    long_after = START + 1000 * S
    concerns = health.report(NodeState(state), now_ns=long_after)
    assert {concern.level for concern in concerns} == {Level.OK}
    assert all(state in concern.text and concern.values["state"] == state for concern in concerns)


@pytest.mark.parametrize(("rate_hz", "level"), [(2.1, Level.OK), (1.9, Level.WARN)])
def test_a_slow_camera_is_a_warning(rate_hz: float, level: Level) -> None:
    health = begun(min_rate_hz=2.0)
    now_ns = drive(health, 30.0, rate_hz=rate_hz)
    due_ns = now_ns + round(0.99 * S / rate_hz)
    for at_ns in (now_ns, due_ns):
        assert said(health, "input", at_ns).level == level
        assert float(str(said(health, "input", at_ns).values["rate_hz"])) == pytest.approx(rate_hz, abs=0.01)


def test_the_rate_sinks_when_images_stop_until_that_is_an_error() -> None:
    health = begun(min_rate_hz=8.0, image_timeout_s=5.0)
    now_ns = drive(health, 20.0)
    rates = [float(str(said(health, "input", now_ns + k * S).values["rate_hz"])) for k in range(9)]
    assert rates == sorted(rates, reverse=True)
    levels = [said(health, "input", now_ns + k * S).level for k in (0, 4, 5, 6)]
    assert levels == [Level.OK, Level.WARN, Level.WARN, Level.ERROR]
    assert "no image on /image for 6.0 s" in said(health, "input", now_ns + 6 * S).text


@pytest.mark.parametrize(("publishers", "hint"), [(0, "nobody publishes there"), (1, "QoS")])
def test_without_any_image_it_says_where_none_came_from(publishers: int, hint: str) -> None:
    health, situation = begun(image_timeout_s=5.0), replace(ACTIVE, publishers=publishers)
    assert said(health, "input", START + 4 * S, situation).level == Level.OK
    late = said(health, "input", START + 6 * S, situation)
    assert late.level == Level.ERROR
    assert hint in late.text


@pytest.mark.parametrize(("age_s", "level"), [(0.4, Level.OK), (0.6, Level.WARN), (-0.4, Level.OK), (-0.6, Level.WARN)])
def test_old_images_and_those_of_the_future_point_to_the_clocks(age_s: float, level: Level) -> None:
    health = begun(max_age_s=0.5)
    concern = said(health, "input", drive(health, 2.0, age_s=age_s))
    assert concern.level == level
    assert ("clocks" in concern.text) == (level == Level.WARN)


def test_images_that_are_of_no_use_are_an_error_when_it_lasts() -> None:
    health = begun(unusable_images=3)
    refused = Answered("NO_ODOMETRY", "odom is not known")
    now_ns = START
    levels = []
    for answered in (FIX, refused, refused, Answered("DROPPED"), refused, FIX):
        now_ns += S // 10
        health.image(at_ns=now_ns, age_s=0.0)
        health.answer(answered, at_ns=now_ns)
        levels.append(said(health, "input", now_ns).level)
    assert levels == [Level.OK, Level.WARN, Level.WARN, Level.WARN, Level.ERROR, Level.OK]
    health.answer(refused, at_ns=now_ns)
    assert "NO_ODOMETRY: odom is not known" in said(health, "input", now_ns).text


def test_a_bug_is_the_localizations_concern() -> None:
    health = begun(unusable_images=1)
    now_ns = drive(health, 0.1, answered=Answered("INTERNAL_ERROR", "IndexError"))
    assert said(health, "localization", now_ns).level == Level.ERROR
    assert said(health, "localization", now_ns).text.startswith("INTERNAL_ERROR: IndexError")
    assert said(health, "input", now_ns).level == Level.OK


def test_acceptance_is_that_of_the_window() -> None:
    health = begun(min_acceptance=0.5, window_s=10.0)
    refused = Answered("TOO_FEW_MATCHES", "3 matches")
    half = drive(health, 10.0)
    now_ns = drive(health, 6.0, answered=refused, at=half - START)
    concern = said(health, "localization", now_ns)
    assert concern.level == Level.WARN
    assert float(str(concern.values["acceptance"])) == pytest.approx(0.4, abs=0.01)
    assert "(TOO_FEW_MATCHES 60), expected at least 50%" in concern.text
    assert concern.values["last_refusal"] == "TOO_FEW_MATCHES: 3 matches"
    again = drive(health, 10.1, at=now_ns - START)
    assert said(health, "localization", again).level == Level.OK
    assert said(health, "localization", again).values["acceptance"] == "1.00"


def test_dropped_images_are_counted_but_not_held_against_acceptance() -> None:
    health = begun()
    now_ns = drive(health, 5.0)
    now_ns = drive(health, 2.0, answered=Answered("DROPPED"), rate_hz=100.0, at=now_ns - START)
    assert said(health, "localization", now_ns).values["acceptance"] == "1.00"
    assert said(health, "input", now_ns).values["images_dropped_lately"] == 200
    values = said(health, "input", now_ns + 60 * S).values
    assert (values["images_dropped"], values["images_dropped_lately"]) == (200, 0)


def test_the_first_refusals_are_no_warning_yet() -> None:
    health = begun()
    now_ns = drive(health, 0.4, answered=Answered("HELD", "waits for a second fix"))
    assert said(health, "localization", now_ns).level == Level.OK
    later = drive(health, 0.1, answered=Answered("HELD"), at=now_ns - START)
    assert said(health, "localization", later).level == Level.WARN


def test_a_camera_that_is_slow_has_its_acceptance_judged_after_a_window() -> None:
    health = begun(window_s=10.0, min_rate_hz=0.0)
    now_ns = drive(health, 10.0, answered=Answered("NO_FEATURES"), rate_hz=0.2)
    assert "expected at least 50%" in said(health, "localization", now_ns).text


@pytest.mark.parametrize(
    ("after_s", "level"), [(4.9, Level.OK), (5.1, Level.WARN), (29.9, Level.WARN), (30.1, Level.ERROR)]
)
def test_time_since_the_last_fix(after_s: float, level: Level) -> None:
    health = begun(fix_warn_s=5.0, fix_error_s=30.0)
    now_ns = drive(health, 1.0) + round(after_s * S)
    concern = said(health, "localization", now_ns)
    assert concern.level == level
    assert concern.values["since_fix_s"] == f"{after_s:.1f}"
    assert (f"no fix for {after_s:.1f} s" in concern.text) == (level > Level.OK)


def test_without_any_fix_the_time_counts_from_activation() -> None:
    health = begun(fix_warn_s=0.0, fix_error_s=30.0)
    assert said(health, "localization", START + 29 * S).level == Level.OK
    late = said(health, "localization", START + 31 * S)
    assert late.level == Level.ERROR
    assert "since_fix_s" not in late.values


def test_few_inliers_are_a_warning() -> None:
    health = begun(min_inliers=30)
    now_ns = drive(health, 5.0, answered=replace(FIX, inliers=29))
    assert said(health, "localization", now_ns).level == Level.WARN
    assert "median of 29 inliers" in said(health, "localization", now_ns).text


def test_over_budget_the_longest_stage_is_named() -> None:
    health = begun(budget_ms=49.0)
    concern = said(health, "localization", drive(health, 5.0))
    assert concern.level == Level.WARN
    assert "median of 50 ms per image, 40 ms of it features; expected at most 49 ms" in concern.text


def test_the_median_time_forgives_single_slow_images() -> None:
    health = begun(budget_ms=100.0)
    now_ns = drive(health, 1.0)
    now_ns = drive(health, 0.9, answered=replace(FIX, total_ms=5000.0), at=now_ns - START)
    assert said(health, "localization", now_ns).level == Level.OK


def test_zero_turns_thresholds_off() -> None:
    off = ("min_rate_hz", "image_timeout_s", "max_age_s", "min_acceptance", "budget_ms", "fix_warn_s", "fix_error_s")
    health = begun(min_inliers=0, **dict.fromkeys(off, 0.0))
    now_ns = drive(health, 20.0, rate_hz=0.5, age_s=1e6, answered=replace(FIX, total_ms=1e6, inliers=0))
    now_ns = drive(health, 20.0, rate_hz=0.5, answered=Answered("NO_FEATURES"), at=now_ns - START)
    assert {concern.level for concern in health.report(ACTIVE, now_ns=now_ns + 1000 * S)} == {Level.OK}


def test_a_missing_map_is_an_error_after_a_while() -> None:
    health, without = begun(map_timeout_s=10.0), replace(ACTIVE, map_hash="", map_name="")
    assert said(health, "map", START + 9 * S, without).level == Level.WARN
    late = said(health, "map", START + 11 * S, without)
    assert late.level == Level.ERROR
    assert late.values["map"] == "none"


def test_a_fault_is_an_error_in_its_own_concern_in_every_state() -> None:
    health = begun()
    health.fault("map", "no map")
    health.fault("node", "no node")
    for state in ("active", "inactive"):
        concerns = {c.name: (c.level, c.text) for c in health.report(replace(ACTIVE, state=state), now_ns=START)}
        assert concerns["map"] == (Level.ERROR, "no map")
        assert concerns["localization"] == (Level.ERROR, "no node")
        assert concerns["input"][0] == Level.OK


def test_a_new_activation_forgets_images_and_keeps_faults() -> None:
    health = begun()
    now_ns = drive(health, 5.0, answered=Answered("INTERNAL_ERROR", "a bug"))
    health.fault("map", "no map")
    health.begin(DiagnosticsConfig(), at_ns=now_ns)
    assert said(health, "localization", now_ns).level == Level.OK
    assert said(health, "input", now_ns).values["images_received"] == 0
    assert said(health, "map", now_ns).text == "no map"


def test_the_worst_comes_first() -> None:
    health = begun(fix_error_s=3.0)
    concern = said(health, "localization", drive(health, 5.0, answered=Answered("NO_CANDIDATES", total_ms=1.0)))
    assert concern.level == Level.ERROR
    assert concern.text.startswith("no fix for 5.0 s, expected one within 3 s; 0% of the last 50 images localized")


def test_a_silent_camera_of_a_rig_is_a_warning_that_names_it() -> None:
    health = DiagnosticMonitor()
    health.begin(DiagnosticsConfig(image_timeout_s=2.0), at_ns=0, cameras=["front", "rear"])
    for tick in range(30):
        health.image(at_ns=tick * S // 10, age_s=0.0, camera="front")
        if tick < 5:
            health.image(at_ns=tick * S // 10, age_s=0.0, camera="rear")
    concern = said(health, "input", 3 * S)
    assert concern.level is Level.WARN
    assert concern.text.startswith("no image of camera rear for 2.6 s")
    assert concern.values["images_received"] == 35
    health.image(at_ns=3 * S, age_s=0.0, camera="rear")
    assert said(health, "input", 3 * S).level is Level.OK


@pytest.mark.parametrize(
    ("moments", "level"),
    [
        ([("front",), ("rear",)] * 10, Level.WARN),
        ([("front",), ("rear",)] * 9 + [("front", "rear")], Level.OK),
        ([("front",)] * 20, Level.OK),  # the other one is silent, or left out
        ([("front",), ("rear",)] * 2, Level.OK),  # too few to say
    ],
)
def test_cameras_that_never_share_a_moment_are_a_warning(moments: list[tuple[str, ...]], level: Level) -> None:
    health = DiagnosticMonitor()
    health.begin(DiagnosticsConfig(), at_ns=START, cameras=["front", "rear"])
    now_ns = START
    for cameras in moments:
        now_ns += S // 10
        for camera in cameras:
            health.image(at_ns=now_ns, age_s=0.05, camera=camera)
        health.answer(replace(FIX, cameras=cameras), at_ns=now_ns)
    concern = said(health, "input", now_ns)
    assert concern.level is level
    assert ("front and rear" in concern.text and "rig_window_s" in concern.text) == (level is Level.WARN)
