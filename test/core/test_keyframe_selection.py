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

from vloc_ros.core.config import KeyframeConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.tracking.keyframe_selection import KeyframeSelector, KeyframeVerdict

_S = 1_000_000_000
_START_NS = 1_700_000_000 * _S


def at(x: float, yaw: float = 0.0) -> Pose:
    return Pose.from_rotation_vector([0.0, 0.0, yaw], [x, 0.0, 0.0])


def select(selector: KeyframeSelector, stamp_ns: int, pose: Pose, blur: float = 0.2) -> KeyframeVerdict:
    """What becomes of an image that is taken where it may be."""
    verdict = selector.judge_pose(stamp_ns, pose)
    if verdict is KeyframeVerdict.KEYFRAME:
        verdict = selector.judge_blur(blur)
    if verdict is KeyframeVerdict.KEYFRAME:
        selector.add(stamp_ns, pose)
    return verdict


def test_keyframes_are_apart_in_position_or_rotation() -> None:
    selector = KeyframeSelector(KeyframeConfig(min_translation_m=0.15, min_rotation_rad=0.2))
    poses = [at(0.0), at(0.1), at(0.2), at(0.2, 0.1), at(0.2, 0.25), at(0.3, 0.25), at(0.36, 0.25)]
    verdicts = [select(selector, _START_NS + k * _S, pose) for k, pose in enumerate(poses)]
    assert [verdict is KeyframeVerdict.KEYFRAME for verdict in verdicts] == [
        True,
        False,
        True,
        False,
        True,
        False,
        True,
    ]


def test_a_blurred_image_is_left_out_and_the_next_sharp_one_taken() -> None:
    selector = KeyframeSelector(KeyframeConfig())
    verdicts = [select(selector, _START_NS + k * _S, at(0.2 * k), 0.2) for k in range(5)]
    assert set(verdicts) == {KeyframeVerdict.KEYFRAME}
    assert select(selector, _START_NS + 5 * _S, at(1.0), 0.4) is KeyframeVerdict.BLURRED
    assert "0.40" in selector.reason
    assert select(selector, _START_NS + 6 * _S, at(1.02), 0.22) is KeyframeVerdict.KEYFRAME
    assert selector.reason == ""


def test_where_all_images_are_blurred_they_are_taken_after_a_while() -> None:
    selector = KeyframeSelector(KeyframeConfig())
    blur = [0.2] * 10 + [0.5] * 60
    verdicts = [select(selector, _START_NS + k * _S, at(0.2 * k), one) for k, one in enumerate(blur)]
    assert KeyframeVerdict.BLURRED in verdicts[10:20]
    assert KeyframeVerdict.BLURRED not in verdicts[40:]


def test_a_limit_of_one_takes_all() -> None:
    selector = KeyframeSelector(KeyframeConfig(max_excess_blur=1.0))
    blur = [0.1] * 5 + [0.9]
    verdicts = [select(selector, _START_NS + k * _S, at(0.2 * k), one) for k, one in enumerate(blur)]
    assert set(verdicts) == {KeyframeVerdict.KEYFRAME}


def test_a_clock_that_is_set_back_is_refused_until_it_has_caught_up() -> None:
    selector = KeyframeSelector(KeyframeConfig())
    select(selector, _START_NS, at(0.0))
    assert select(selector, _START_NS - 60 * _S, at(1.0)) is KeyframeVerdict.CLOCK_JUMPED
    assert "60.000 s older" in selector.reason
    assert select(selector, _START_NS, at(1.0)) is KeyframeVerdict.CLOCK_JUMPED
    assert select(selector, _START_NS + _S, at(1.0)) is KeyframeVerdict.KEYFRAME


def test_odometry_that_is_reset_is_refused() -> None:
    selector = KeyframeSelector(KeyframeConfig(max_speed_m_s=2.0))
    for k in range(4):
        select(selector, _START_NS + k * _S, at(2.0 * k))
    assert select(selector, _START_NS + 4 * _S, at(0.0)) is KeyframeVerdict.ODOMETRY_JUMPED
    assert "6.00 m in 1.00 s" in selector.reason


def test_a_recording_goes_on_from_its_last_keyframe() -> None:
    selector = KeyframeSelector(KeyframeConfig(), last=(_START_NS, at(3.0)))
    assert selector.judge_pose(_START_NS + _S, at(3.01)) is KeyframeVerdict.NOT_MOVED
    assert selector.judge_pose(_START_NS + 2 * _S, at(3.3)) is KeyframeVerdict.KEYFRAME


def test_odometry_that_is_reset_while_it_is_away_is_refused() -> None:
    """It starts again seconds later, in which a robot could have driven anywhere."""
    selector = KeyframeSelector(KeyframeConfig(max_speed_m_s=5.0))
    select(selector, _START_NS, at(8.0))
    assert select(selector, _START_NS + 10 * _S, at(0.0)) is KeyframeVerdict.ODOMETRY_JUMPED
    assert "8.00 m in 10.00 s, expected at most 5.50 m" in selector.reason


def test_odometry_that_turns_at_once_is_refused() -> None:
    selector = KeyframeSelector(KeyframeConfig())
    select(selector, _START_NS, at(0.0, 1.5))
    assert select(selector, _START_NS + _S // 10, at(0.0, 1.7)) is KeyframeVerdict.KEYFRAME
    assert select(selector, _START_NS + _S // 5, at(0.0)) is KeyframeVerdict.ODOMETRY_JUMPED
    assert "turned 1.70 rad in 0.10 s" in selector.reason


def test_a_robot_may_move_while_a_recording_is_paused() -> None:
    selector = KeyframeSelector(KeyframeConfig(max_speed_m_s=1.0), last=(_START_NS, at(0.0)))
    assert selector.judge_pose(_START_NS + 60 * _S, at(20.0, 3.0)) is KeyframeVerdict.KEYFRAME
    assert selector.judge_pose(_START_NS + 120 * _S, at(0.0)) is KeyframeVerdict.ODOMETRY_JUMPED


def test_images_that_were_judged_before_a_pause_are_not_judged_again() -> None:
    judged = _START_NS + _S, at(0.1)
    selector = KeyframeSelector(KeyframeConfig(), last=(_START_NS, at(0.0)), last_judged=judged)
    assert selector.judge_pose(_START_NS + _S // 2, at(0.5)) is KeyframeVerdict.CLOCK_JUMPED
