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

"""Fixes that odometry carries are published; a jump waits until it is confirmed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.tracking.fix import Fix
from vloc_ros.core.tracking.fix_filter import FixFilter, GateResult, GatingDecision
from vloc_ros.core.tracking.track import carry_fix

AGREES, HELD, JUMPED = GateResult.AGREES, GateResult.HELD, GateResult.JUMPED
CONFIG = FixFilterConfig()
STEP_NS = 100_000_000
# the odometry frame differs from the map frame
ODOM_FROM_MAP = Pose.from_rotation_vector([0.0, 0.0, 0.7], [3.0, -1.0, 0.0])


def _pose(x: float, y: float = 0.0, yaw: float = 0.0) -> Pose:
    return Pose.from_rotation_vector([0.0, 0.0, yaw], [x, y, 0.0])


def _fix(map_from_base: Pose, std: float = 0.005, *, frame_id: str = "map", confidence: float = 0.9) -> Fix:
    return Fix(map_from_base, np.eye(6) * std**2, frame_id, confidence)


class Robot:
    """Feeds a filter with the fixes of a robot on a straight path."""

    def __init__(self, config: FixFilterConfig = CONFIG, *, step_m: float = 0.05, odometry: bool = True) -> None:
        self.filter = FixFilter(config)
        self.step_m, self.odometry, self.count = step_m, odometry, 0
        self.carried = Pose.identity()

    def step(self, fix: Fix | None = None) -> GateResult:
        """Move on by one image and gate the true fix, or another one."""
        self.count += 1
        true = self.carried @ _pose(self.step_m * self.count)
        odom_from_base = ODOM_FROM_MAP @ _pose(self.step_m * self.count)
        decision = self.filter.gate(fix or _fix(true), odom_from_base if self.odometry else None, self.count * STEP_NS)
        self.first = decision.first
        return decision.result


def test_the_second_fix_in_a_row_is_the_first_to_be_published() -> None:
    robot = Robot()
    assert [robot.step() for _ in range(4)] == [HELD, AGREES, AGREES, AGREES]


@pytest.mark.parametrize("enabled", [True, False])
def test_a_fix_is_the_first_until_one_is_accepted_and_again_after_a_reset(enabled: bool) -> None:
    robot = Robot(replace(CONFIG, enabled=enabled))
    firsts = []
    for resets in (False, False, False, True, False, False):
        if resets:
            robot.filter.reset()
        robot.step()
        firsts.append(robot.first)
    assert firsts == ([True, True, False] if enabled else [True, False, False]) * 2


def test_a_carried_fix_keeps_the_uncertainty_of_the_maps_frame() -> None:
    of_frame = np.diag([0.25, 0.25, 0, 0, 0, 0])
    fix = replace(_fix(_pose(1.0)), covariance=_fix(_pose(1.0)).covariance + of_frame, frame_covariance=of_frame)
    carried = carry_fix(fix, CONFIG, _pose(10.0), 0, _pose(10.05), 10**8)
    assert carried.map_from_base.translation[0] == pytest.approx(1.05)
    assert 0.5 < np.sqrt(carried.covariance[0, 0]) < 0.52
    np.testing.assert_array_equal(carried.frame_covariance, of_frame)


def test_a_single_wrong_fix_is_held_and_changes_nothing() -> None:
    robot = Robot()
    robot.step(), robot.step()
    assert robot.step(_fix(_pose(4.0, 2.0, 1.0))) is HELD
    assert [robot.step() for _ in range(3)] == [AGREES] * 3


def test_wrong_fixes_that_do_not_agree_with_each_other_are_all_held() -> None:
    robot = Robot()
    robot.step(), robot.step()
    assert {robot.step(_fix(_pose(float(x), 3.0))) for x in range(10, 40)} == {HELD}


def test_a_kidnapped_robot_is_followed_after_three_fixes() -> None:
    robot = Robot()
    for _ in range(5):
        robot.step()
    robot.carried = _pose(7.0, 4.0, 2.0)
    assert [robot.step() for _ in range(5)] == [HELD, HELD, JUMPED, AGREES, AGREES]


def test_a_standing_robot_needs_more_confirmations_since_its_images_are_alike() -> None:
    robot = Robot(step_m=0.0)
    for _ in range(3):
        robot.step()
    robot.carried = _pose(7.0, 4.0)
    results = [robot.step() for _ in range(12)]
    assert results == [HELD] * 9 + [JUMPED, AGREES, AGREES]


def test_a_slow_robot_has_moved_after_some_frames() -> None:
    robot = Robot(step_m=0.011)
    robot.step(), robot.step()
    robot.carried = _pose(7.0, 4.0)
    assert [robot.step() for _ in range(6)].index(JUMPED) == 5


def test_odometry_that_jumps_carries_nothing_and_does_not_widen_the_gate() -> None:
    robot = Robot()
    robot.step(), robot.step()
    odometry = [_pose(50.0 + 0.05 * k) for k in range(10)]
    gate = robot.filter.gate
    assert gate(_fix(_pose(30.0)), odometry[3], 3 * STEP_NS).result is HELD
    assert gate(_fix(_pose(0.2)), odometry[4], 4 * STEP_NS).result is AGREES
    assert gate(_fix(_pose(0.25)), odometry[5], 5 * STEP_NS).result is AGREES


def test_an_uncertain_fix_agrees_where_it_is_expected_and_is_held_at_another_place() -> None:
    robot = Robot()
    robot.step(), robot.step()
    assert robot.step(_fix(_pose(0.65, 0.5), std=0.3)) is HELD
    assert robot.step(_fix(_pose(0.25, 0.1), std=0.3)) is AGREES
    # and the uncertain fix has not replaced the certain one
    assert robot.step(_fix(_pose(0.75, 0.5), std=0.05)) is HELD


def test_of_two_sensors_the_more_certain_fix_stays_until_odometry_has_made_it_the_less_certain_one() -> None:
    robot, metres = Robot(step_m=0.1), np.arange(40) * 0.1
    gate = robot.filter.gate

    def by_lidar(k: int) -> bool:
        odom_from_base = ODOM_FROM_MAP @ _pose(metres[k])
        decision = gate(_fix(_pose(metres[k]), std=0.03), odom_from_base, k * STEP_NS, sensor="lidar")
        assert decision.result is AGREES
        return decision.less_certain

    for k in (0, 1):  # the camera's
        decision = gate(_fix(_pose(metres[k])), ODOM_FROM_MAP @ _pose(metres[k]), k * STEP_NS, sensor="camera")
    assert not decision.less_certain
    less_certain = [by_lidar(k) for k in range(2, 40)]
    assert less_certain[0]
    assert not less_certain[-1]
    assert less_certain == sorted(less_certain, reverse=True)
    assert not gate(_fix(_pose(4.0)), ODOM_FROM_MAP @ _pose(4.0), 40 * STEP_NS, sensor="camera").less_certain


@pytest.mark.parametrize(
    ("y", "sensor", "stays"), [(0.0, "lidar", True), (5.0, "lidar", False), (0.0, "camera", False)]
)
def test_the_pose_of_another_sensor_stays_only_where_a_fix_agrees_with_it(y: float, sensor: str, stays: bool) -> None:
    fix_filter = FixFilter(replace(CONFIG, enabled=False))
    fix_filter.gate(_fix(_pose(0.0)), ODOM_FROM_MAP, 0, sensor="camera")
    decision = fix_filter.gate(_fix(_pose(0.0, y), std=0.2), ODOM_FROM_MAP, STEP_NS, sensor=sensor)
    assert (decision.result, decision.less_certain) == (AGREES, stays)
    expected = fix_filter.carry(ODOM_FROM_MAP, STEP_NS)
    assert expected is not None
    assert expected.map_from_base.translation[1] == pytest.approx(y)


def test_sensors_that_contradict_each_other_from_the_start_do_not_keep_each_other_from_a_fix() -> None:
    gate, results = Robot().filter.gate, []
    for k in range(8):
        odom_from_base = ODOM_FROM_MAP @ _pose(0.1 * k)
        for sensor, y in (("lidar", 7.0), ("camera", 0.0)):
            decision = gate(_fix(_pose(0.1 * k, y)), odom_from_base, k * STEP_NS, sensor=sensor)
            results.append((sensor, decision.result))
    assert [sensor for sensor, result in results if result is AGREES] == ["lidar"] * 7
    assert not any(result is JUMPED for _, result in results)


def _drive_with_contradicting_camera(*, lidar_every: int, lidar_until: int) -> list[tuple[int, GateResult]]:
    """Results of a camera 5 m off, by step; scans agree at every so many steps of 0.1 s, up to one of them."""
    gate, results = Robot().filter.gate, []
    for k in range(120):
        odom_from_base = ODOM_FROM_MAP @ _pose(0.1 * k)
        if k < 2 or (k % lidar_every == 0 and k <= lidar_until):
            gate(_fix(_pose(0.1 * k)), odom_from_base, k * STEP_NS, sensor="lidar")
        if k >= 2:
            decision = gate(_fix(_pose(0.1 * k, 5.0)), odom_from_base, k * STEP_NS, sensor="camera")
            results.append((k, decision.result))
    return results


@pytest.mark.parametrize("lidar_every", [1, 3, 30])  # 30: scans between are refused
def test_a_sensor_that_contradicts_the_one_that_agrees_does_not_take_over_by_its_rate(lidar_every: int) -> None:
    assert {result for _, result in _drive_with_contradicting_camera(lidar_every=lidar_every, lidar_until=120)} == {
        HELD
    }


def test_a_sensor_that_contradicts_takes_over_once_the_other_one_is_silent() -> None:
    results = _drive_with_contradicting_camera(lidar_every=3, lidar_until=30)
    assert [k for k, result in results if result is JUMPED] == [80]


def test_a_kidnapped_robot_is_followed_at_once_where_both_sensors_agree() -> None:
    gate, jumps = Robot().filter.gate, []
    for k in range(10):
        fix, odom_from_base = _fix(_pose(0.1 * k, 5.0 if k >= 6 else 0.0)), ODOM_FROM_MAP @ _pose(0.1 * k)
        for sensor in ("lidar", "camera"):
            if gate(fix, odom_from_base, k * STEP_NS, sensor=sensor).result is JUMPED:
                jumps.append(k)
    assert jumps == [7]


def test_fixes_of_two_sensors_confirm_each_other() -> None:
    gate = Robot().filter.gate
    assert gate(_fix(_pose(9.0)), ODOM_FROM_MAP, 0, sensor="camera").result is HELD
    assert gate(_fix(_pose(0.0)), ODOM_FROM_MAP, 0, sensor="lidar").result is HELD
    assert gate(_fix(_pose(0.01)), ODOM_FROM_MAP, 0, sensor="camera").result is AGREES


def test_a_frozen_image_is_not_followed_while_the_robot_drives() -> None:
    for step_m in (0.01, 0.08):
        robot = Robot(step_m=step_m)  # the faster one drives until it is lost
        robot.step(), robot.step()
        frozen = [robot.step(_fix(_pose(0.0))) for _ in range(300)]
        accepted = frozen.index(HELD)
        assert accepted * step_m < 0.3
        assert set(frozen[accepted:]) == {HELD}


def test_fixes_that_creep_away_from_a_standing_robot_are_not_followed() -> None:
    robot = Robot(step_m=0.0)
    robot.step(), robot.step()
    results = [robot.step(_fix(_pose(0.02 * k))) for k in range(100)]
    assert results.index(HELD) * 0.02 < 0.3
    assert set(results[results.index(HELD) :]) == {HELD}


def test_scatter_does_not_count_as_motion() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        robot = Robot(step_m=0.0)
        robot.step(), robot.step()
        scattered = [robot.step(_fix(_pose(*rng.normal((7.0, 4.0), 0.03)))) for _ in range(10)]
        assert JUMPED not in scattered[:9]


def test_odometry_that_was_reset_carries_on_from_there() -> None:
    robot = Robot()
    robot.step(), robot.step()
    carry, gate = robot.filter.carry, robot.filter.gate
    for k in range(3, 200):  # no fix for twenty seconds, at a new origin
        carry(_pose(50.0 + 0.01 * k), k * STEP_NS)
    assert gate(_fix(_pose(80.0)), _pose(52.0), 200 * STEP_NS).result is HELD
    assert gate(_fix(_pose(0.1 + 1.97)), _pose(52.01), 201 * STEP_NS).result is AGREES


def test_odometry_that_was_reset_where_the_robot_stands_does_not_turn_it() -> None:
    fixes = FixFilter(CONFIG)
    for k in range(3):
        fixes.gate(_fix(_pose(5.0, 5.0)), _pose(0.2, 0.0, 3.0), k * STEP_NS)
    turned = fixes.carry(_pose(0.0), 3 * STEP_NS)
    assert turned is not None
    np.testing.assert_allclose(turned.map_from_base.matrix, _pose(5.0, 5.0).matrix, atol=1e-12)


def test_without_odometry_for_long_it_takes_two_fixes_again() -> None:
    robot = Robot(odometry=False, step_m=0.05)
    robot.step(), robot.step()
    robot.count += 100
    assert [robot.step(_fix(_pose(4.0))), robot.step(_fix(_pose(4.05)))] == [HELD, AGREES]


def test_uncertainty_grows_with_the_way_even_when_it_leads_back() -> None:
    fixes = FixFilter(CONFIG)
    for _ in range(2):
        fixes.gate(_fix(Pose.identity()), _pose(0.0), 0)
    before = fixes.carry(_pose(0.0), 1)
    for x in (*np.linspace(0, 10, 50), *np.linspace(10, 0, 50)):
        after = fixes.carry(_pose(float(x)), 2)
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after.map_from_base.matrix, before.map_from_base.matrix, atol=1e-12)
    assert np.sqrt(after.covariance[0, 0]) > 0.05 * 20
    assert np.sqrt(before.covariance[0, 0]) < 0.01


def test_odometry_carries_what_is_expected_in_the_map() -> None:
    fixes = FixFilter(CONFIG)
    start = _pose(5.0, 5.0, np.pi / 2)
    for _ in range(2):
        fixes.gate(_fix(start), ODOM_FROM_MAP, 0)
    expected = fixes.carry(ODOM_FROM_MAP @ _pose(1.0), 10**9)
    assert expected is not None
    np.testing.assert_allclose(expected.map_from_base.translation, [5.0, 6.0, 0.0], atol=1e-12)


def test_without_odometry_time_limits_how_far_a_fix_may_be() -> None:
    robot = Robot(odometry=False, step_m=0.05)
    robot.step(), robot.step()
    assert robot.step() is AGREES
    assert robot.step(_fix(_pose(4.0))) is HELD
    robot.count += 12  # more than a second later it may be a metre away
    assert robot.step(_fix(_pose(1.2))) is AGREES


def test_a_reset_starts_anew() -> None:
    robot = Robot()
    robot.step(), robot.step()
    robot.filter.reset()
    assert robot.filter.carry(None, 0) is None
    assert robot.step() is HELD


def test_a_disabled_filter_publishes_everything_and_still_predicts() -> None:
    robot = Robot(replace(CONFIG, enabled=False))
    assert [robot.step(_fix(_pose(float(x)))) for x in (0, 50, -50)] == [AGREES] * 3
    assert robot.filter.carry(None, 0) is not None


@pytest.mark.parametrize("confirmations", [2, 4, 6])
def test_the_stated_number_of_fixes_confirms_a_jump(confirmations: int) -> None:
    robot = Robot(replace(CONFIG, confirmations=confirmations))
    robot.step(), robot.step()
    robot.carried = _pose(7.0, 4.0, 2.0)
    assert [robot.step() for _ in range(6)].index(JUMPED) == confirmations - 1


def test_the_reason_of_a_held_fix_states_its_distance() -> None:
    robot = Robot()
    robot.step(), robot.step()
    decision = robot.filter.gate(_fix(_pose(4.1)), ODOM_FROM_MAP @ _pose(0.1), 3 * STEP_NS)
    assert not decision.publish
    assert decision.reason.startswith("4.00 m and 0.0 degrees from where the last fix is carried to; 1 of")


@pytest.mark.parametrize(("confidence", "images"), [(0.5, 6), (0.9, 3), (1.0, 3)])
def test_doubtful_fixes_need_more_confirmations(confidence: float, images: int) -> None:
    robot = Robot()
    robot.step(), robot.step()
    robot.carried = _pose(4.0, 2.0, 1.0)
    results = []
    while JUMPED not in results and len(results) < 10:
        true = robot.carried @ _pose(robot.step_m * (robot.count + 1))
        results.append(robot.step(_fix(true, confidence=confidence)))
    assert (len(results), results[-1]) == (images, JUMPED)


def test_certain_fixes_of_a_standing_robot_need_fewer_confirmations() -> None:
    robot = Robot(step_m=0.0)
    robot.step(), robot.step()
    elsewhere = _fix(_pose(4.0, 2.0, 1.0), confidence=0.99999)
    results = [robot.step(elsewhere) for _ in range(CONFIG.confirmations_standing)]
    assert results.index(JUMPED) == 7


def test_what_fixes_have_in_common_widens_no_gate() -> None:
    """A map that lies metres off in its frame gives fixes that agree within a centimetre, and jumps that do not."""
    of_frame = np.eye(6) * 2.0**2

    def fix(pose: Pose) -> Fix:
        good = _fix(pose)
        return replace(good, covariance=good.covariance + of_frame, frame_covariance=of_frame)

    robot = Robot(step_m=0.05)
    assert [robot.step(fix(_pose(0.05 * k))) for k in range(1, 4)] == [HELD, AGREES, AGREES]
    assert not robot.first
    assert robot.step(fix(_pose(1.2))) is HELD
    expected = robot.filter.carry(ODOM_FROM_MAP @ _pose(0.2), 5 * STEP_NS)
    assert expected is not None
    assert np.diag(expected.covariance).max() < 0.1


def test_a_robot_whose_fixes_are_vague_is_not_lost() -> None:
    robot = Robot(step_m=0.3)
    outcomes = [robot.step(_fix(_pose(0.3 * k), 1.5)) for k in range(1, 8)]
    assert outcomes == [HELD, *[AGREES] * 6]
    # a minute without odometry later it is
    stamp_ns = robot.count * STEP_NS + 60_000_000_000
    assert robot.filter.gate(_fix(_pose(2.1), 1.5), None, stamp_ns).first


def test_a_coarse_fix_agrees_within_its_own_covariance_and_moves_nothing() -> None:
    odometry = Pose.identity()

    def gate(fix: Fix, k: int, *, coarse: bool, sensor: str = "tiles") -> GateResult:
        return filter_.gate(fix, odometry, k * STEP_NS, sensor=sensor, coarse=coarse).result

    filter_ = FixFilter(CONFIG)
    assert [gate(_fix(_pose(0.0)), k, coarse=False, sensor="camera") for k in (1, 2)] == [HELD, AGREES]
    assert gate(_fix(_pose(2.0), 1.0), 3, coarse=False) is HELD
    assert gate(_fix(_pose(2.0), 1.0), 4, coarse=True) is AGREES
    carried = filter_.carry(odometry, 5 * STEP_NS)
    assert carried is not None
    assert carried.map_from_base.distance_to(Pose.identity())[0] < 1e-9
    assert gate(_fix(_pose(20.0), 1.0), 6, coarse=True) is HELD


@pytest.mark.parametrize(("coarse", "outcome"), [(False, HELD), (True, AGREES)])
def test_a_coarse_fix_goes_on_from_a_pose_that_is_known_about_as_well(coarse: bool, outcome: GateResult) -> None:
    robot = Robot()
    assert [robot.step(), robot.step()] == [HELD, AGREES]
    # four seconds without odometry: 2 m
    stamp_ns = robot.count * STEP_NS + 4_000_000_000
    fix = _fix(_pose(1.0), 1.5)
    assert robot.filter.gate(fix, None, stamp_ns, sensor="tiles", coarse=coarse).result is outcome


class Drone:
    """Feeds a filter with fixes of landmarks and of aerial tiles, all of which lie off by the same."""

    def __init__(
        self, *, step_m: float = 0.5, step_ns: int = STEP_NS, tiles_std: float = 0.7, placed_std: float = 4.0
    ) -> None:
        self.filter = FixFilter(replace(CONFIG, max_speed_m_s=8.0, odometry_heading_drift=0.002))
        self.step_m, self.step_ns, self.count = step_m, step_ns, 0
        self.of_frame = np.diag([placed_std**2] * 3 + [0.0] * 3)
        self.tiles_covariance = np.diag([tiles_std**2] * 3 + [0.02**2] * 3) + self.of_frame

    def fly(self, sensor: str, off_m: float = 0.0) -> GatingDecision:
        """Fly on by one image and gate the fix of a sensor, off along the way."""
        self.count += 1
        way_m = self.step_m * self.count
        fix, coarse = _fix(_pose(way_m + off_m)), sensor == "tiles"
        if coarse:
            fix = replace(fix, covariance=self.tiles_covariance, frame_covariance=self.of_frame)
        return self.filter.gate(fix, _pose(way_m), self.count * self.step_ns, sensor=sensor, coarse=coarse)

    def fly_without_fix(self, images: int) -> None:
        for _ in range(images):
            self.count += 1
            assert self.carried is not None

    @property
    def carried(self) -> Fix:
        found = self.filter.carry(_pose(self.step_m * self.count), self.count * self.step_ns)
        assert found is not None
        return found

    @property
    def off_m(self) -> float:
        """How far the robot is from where odometry has it."""
        return float(self.carried.map_from_base.translation[0]) - self.step_m * self.count


@pytest.mark.parametrize("step_m", [0.0, 0.02, 0.3])
def test_vague_coarse_fixes_do_not_keep_others_from_correcting_a_wrong_pose(step_m: float) -> None:
    drone = Drone(step_m=step_m, tiles_std=1.5, placed_std=0.0)
    assert [drone.fly("camera").result for _ in range(2)] == [HELD, AGREES]
    # odometry slipped by 3 m
    images = [(sensor, drone.fly(sensor, 3.0)) for _ in range(6) for sensor in ("camera", "camera", "tiles")]
    assert {decision.result for sensor, decision in images if sensor == "tiles"} == {AGREES}
    assert [decision.result for sensor, decision in images if sensor == "camera"].count(JUMPED) == 1
    assert images[-2][1].result is AGREES
    assert drone.off_m == pytest.approx(3.0)


def test_what_coarse_fixes_have_in_common_widens_the_gate_of_others_alone() -> None:
    drone = Drone()
    assert [drone.fly("tiles").result for _ in range(4)] == [HELD, AGREES, AGREES, AGREES]
    assert drone.carried.covariance[0, 0] > 4.0**2, "as a prior for the landmarks"
    assert [drone.fly("tiles", off_m).result for off_m in (10.0, 5.0)] == [HELD, HELD]
    assert drone.off_m == pytest.approx(0.0)
    assert drone.fly("camera", 8.0).result is AGREES, "the tiles may lie so far off"
    assert drone.off_m == pytest.approx(8.0)
    assert drone.fly("tiles", 1.0).less_certain


def test_a_coarse_fix_far_off_moves_nothing_until_a_second_one_agrees() -> None:
    drone = Drone(tiles_std=1.5, placed_std=0.0)
    assert [drone.fly("camera").result for _ in range(2)] == [HELD, AGREES]
    drone.fly_without_fix(40)
    assert 1.5 < np.sqrt(drone.carried.covariance[0, 0]) < 2.0
    assert drone.fly("tiles", 7.0).result is HELD
    assert drone.off_m == pytest.approx(0.0)
    assert drone.fly("tiles", 1.0).result is AGREES, "nearer it moves the robot at once"
    assert drone.off_m == pytest.approx(1.0)
    drone.fly_without_fix(40)
    assert [drone.fly("tiles", 11.0).result for _ in range(2)] == [HELD, JUMPED]
    assert drone.off_m == pytest.approx(11.0)


def test_a_drone_that_flies_by_coarse_fixes_alone_is_not_lost_between_them() -> None:
    drone = Drone(step_m=12.0, step_ns=2_000_000_000, tiles_std=0.6, placed_std=0.6)
    assert [drone.fly("tiles").result for _ in range(4)] == [HELD, AGREES, AGREES, AGREES]


@pytest.mark.parametrize(("std", "images"), [(0.3, 10), (0.8, 2), (0.95, 2), (1.5, 10)])
def test_a_robot_is_lost_a_metre_from_known_however_vague_its_fixes_up_to_that(std: float, images: int) -> None:
    robot, covariance = Robot(step_m=0.0), np.diag([std**2] * 3 + [0.02**2] * 3)
    start, elsewhere = (replace(_fix(_pose(x)), covariance=covariance) for x in (0.0, 35.0))
    assert [robot.step(start) for _ in range(2)] == [HELD, AGREES]
    for k in range(3, 29):  # 5 m by odometry: 0.8 m
        robot.filter.carry(ODOM_FROM_MAP @ _pose(0.2 * (k - 3)), k * STEP_NS)
    odometry = ODOM_FROM_MAP @ _pose(5.0)
    results = [robot.filter.gate(elsewhere, odometry, k * STEP_NS).result for k in range(29, 39)]
    assert 1 + next(k for k, result in enumerate(results) if result is not HELD) == images
