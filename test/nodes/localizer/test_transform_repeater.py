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

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import rclpy
import tf2_ros
from geometry_msgs.msg import TransformStamped
from nodes_world import Wall
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from robot import Robot
from ros_session import Inbox, Ros
from tf2_msgs.msg import TFMessage

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.localizer import transforms
from vloc_ros.nodes.rclpy_support.conversion import stamp_ns_of, transform_message

S = 1_000_000_000
MS = 1_000_000
NOW = Time()


class Listener:
    """A node whose clock the test sets, and what its transforms become in a buffer of tf2."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node, self.sent = node, Inbox()
        self.set_clock(1000 * S)
        self.buffer = tf2_ros.Buffer(node=node)
        # odometry of a standing robot at every time, so that the latest common time is that of map -> odom
        self.buffer.set_transform_static(transform_message(0, "odom", "base", Pose.identity()), "test")
        broadcaster = SimpleNamespace(sendTransform=self._receive, pub_tf=None)
        monkeypatch.setattr(transforms, "TransformBroadcaster", lambda _: broadcaster)
        monkeypatch.setattr(node, "destroy_publisher", lambda _: True)

    def _receive(self, message: TransformStamped) -> None:
        self.buffer.set_transform(message, "test")
        self.sent.put(message)

    def set_clock(self, now_ns: int) -> None:
        self.node.get_clock().set_ros_time_override(
            Time(nanoseconds=now_ns, clock_type=self.node.get_clock().clock_type)
        )
        self.now_ns = now_ns

    def seen_x(self, time: Time = NOW) -> float:
        return float(self.buffer.lookup_transform("map", "base", time).transform.translation.x)

    def stamps(self, child: str) -> list[int]:
        return [stamp_ns_of(m) for m in list(self.sent.messages) if m.child_frame_id == child]

    def wait_for(self, child: str, stamp_ns: int) -> None:
        def is_received(messages: list[TransformStamped]) -> bool:
            return any((m.child_frame_id, stamp_ns_of(m)) == (child, stamp_ns) for m in messages)

        self.sent.wait(is_received, f"{child} at {stamp_ns}")


@pytest.fixture
def listener(ros_context: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    node = rclpy.create_node("transform", parameter_overrides=[Parameter("use_sim_time", value=True)])
    with monkeypatch.context() as patches:
        yield Listener(node, patches)
    node.destroy_node()


@pytest.fixture
def make_transform(listener: Listener) -> Iterator[Callable[..., transforms.MapTransform]]:
    made: list[transforms.MapTransform] = []

    def make(rate_hz: float = 0.0, tolerance_s: float = 0.5, max_age_s: float = 0.0) -> transforms.MapTransform:
        settings = {"tolerance_s": tolerance_s, "rate_hz": rate_hz, "max_age_s": max_age_s}
        made.append(transforms.MapTransform(listener.node, **settings))
        return made[-1]

    yield make
    for transform in made:
        transform.close()


def at_x(x: float) -> Pose:
    return Pose.from_rotation_vector([0.0, 0.0, 0.0], [x, 0.0, 0.0])


MakeTransform = Callable[..., transforms.MapTransform]


def test_it_is_repeated_by_the_nodes_clock_until_the_reset(listener: Listener, make_transform: MakeTransform) -> None:
    transform = make_transform(rate_hz=1000.0)
    transform.publish(999 * S, "map", "odom", Pose.identity(), repeated=True)
    expected = [999 * S + S // 2, 1000 * S + S // 2, 1002 * S + S // 2]
    listener.wait_for("odom", expected[1])
    listener.set_clock(1002 * S)
    listener.wait_for("odom", expected[2])
    transform.reset()
    listener.set_clock(1003 * S)
    transform.publish(1003 * S, "map", "base", Pose.identity(), repeated=False)
    listener.set_clock(1004 * S)
    transform.publish(1004 * S, "map", "other", Pose.identity(), repeated=True)
    listener.set_clock(1005 * S)
    listener.wait_for("other", 1005 * S + S // 2)
    assert listener.stamps("odom") == expected
    assert listener.stamps("base") == [1003 * S], "a pose of the base is of its image's time"


def test_transforms_before_the_start_of_simulated_time_are_not_repeated(
    listener: Listener, make_transform: MakeTransform
) -> None:
    listener.set_clock(0)
    transform = make_transform()
    transform.publish(999 * S, "map", "odom", Pose.identity(), repeated=True)
    listener.set_clock(1000 * S)
    transform._send_again()
    assert listener.stamps("odom") == [999 * S + S // 2]


def test_nothing_is_repeated_while_the_clock_stands_still_or_is_set_back_a_little(
    listener: Listener, make_transform: MakeTransform
) -> None:
    transform = make_transform()
    transform.publish(999 * S, "map", "odom", Pose.identity(), repeated=True)
    for now_ns in (1000 * S, 1001 * S, 1001 * S, 1001 * S - S // 2):
        listener.set_clock(now_ns)
        transform._send_again()
    assert listener.stamps("odom") == [second * S + S // 2 for second in (999, 1000, 1001)]


def test_it_is_known_for_the_present_however_long_an_image_takes(
    listener: Listener, make_transform: MakeTransform
) -> None:
    transform = make_transform(tolerance_s=0.1)
    listener.set_clock(1000 * S + 350 * MS)
    transform.publish(1000 * S, "map", "odom", Pose.identity(), repeated=True)
    listener.set_clock(1000 * S + 400 * MS)
    transform._send_again()
    assert listener.stamps("odom") == [1000 * S + 100 * MS, 1000 * S + 500 * MS]


def test_stamps_of_another_clock_stay_what_they_are(listener: Listener, make_transform: MakeTransform) -> None:
    """As of a bag without /clock: what is looked up is of its time, too."""
    transform = make_transform(tolerance_s=0.1)
    for second in (0, 1):
        listener.set_clock((1000 + second) * S)
        transform.publish((500 + second) * S, "map", "odom", Pose.identity(), repeated=True)
        listener.set_clock((1000 + second) * S + 50 * MS)
        transform._send_again()
    stamps = [(500 + second) * S + ms * MS for second in (0, 1) for ms in (100, 150)]
    assert listener.stamps("odom") == stamps


def test_it_is_repeated_for_a_limited_time_without_a_fix(listener: Listener, make_transform: MakeTransform) -> None:
    transform = make_transform(tolerance_s=0.1, max_age_s=2.0)
    transform.publish(1000 * S, "map", "odom", Pose.identity(), repeated=True)
    for seconds in (1002, 1003, 1002):
        listener.set_clock(seconds * S)
        transform._send_again()
    assert listener.stamps("odom") == [1000 * S + 100 * MS, 1002 * S + 100 * MS]


def test_a_correction_of_a_slow_image_is_the_present_of_a_buffer(
    listener: Listener, make_transform: MakeTransform
) -> None:
    """What was repeated is ahead of the next image by up to the difference of their latencies."""
    transform = make_transform(tolerance_s=0.1)
    image_ns, seen = 1000 * S, []
    for number, latency_ns in enumerate((50 * MS, 250 * MS, 60 * MS, 220 * MS, 50 * MS)):
        image_ns += 300 * MS
        for now_ns in range(listener.now_ns, image_ns + latency_ns, 50 * MS):
            listener.set_clock(now_ns)
            transform._send_again()
        listener.set_clock(image_ns + latency_ns)
        transform.publish(image_ns, "map", "odom", at_x(number + 1.0), repeated=True)
        newest_ns = listener.stamps("odom")[-1]
        seen.append(listener.seen_x())
        assert listener.seen_x(Time(nanoseconds=newest_ns)) == number + 1.0
    stamps = listener.stamps("odom")
    assert seen == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert stamps == sorted(set(stamps))


def test_a_correction_never_changes_the_past(listener: Listener, make_transform: MakeTransform) -> None:
    transform = make_transform(tolerance_s=0.1)
    transform.publish(1000 * S - 50 * MS, "map", "odom", at_x(1.0), repeated=True)
    listener.set_clock(1000 * S + 400 * MS)
    transform._send_again()
    before_ns = listener.stamps("odom")[-1]
    times = [before_ns - step * MS for step in (300, 200, 100, 0)]
    past = [listener.seen_x(Time(nanoseconds=time)) for time in times]
    transform.publish(1000 * S + 50 * MS, "map", "odom", at_x(2.0), repeated=True)
    assert [listener.seen_x(Time(nanoseconds=time)) for time in times] == past == [1.0] * 4
    listener.set_clock(1000 * S + 450 * MS)
    transform._send_again()
    assert listener.seen_x() == 2.0
    assert listener.stamps("odom")[-1] - before_ns >= 50 * MS, "it goes on with the clock"


def test_an_old_pose_of_the_base_is_not_published(listener: Listener, make_transform: MakeTransform) -> None:
    transform = make_transform(tolerance_s=0.1)
    for stamp_ns in (999 * S, 998 * S, 999 * S, 1000 * S):
        transform.publish(stamp_ns, "map", "base", Pose.identity(), repeated=False)
    assert listener.stamps("base") == [999 * S, 1000 * S]


def test_it_begins_again_when_simulated_time_jumps_back(listener: Listener, make_transform: MakeTransform) -> None:
    """As when a bag starts again: buffers of tf2 are cleared by the same jump."""
    transform = make_transform(tolerance_s=0.1)
    transform.publish(1000 * S - 50 * MS, "map", "odom", at_x(1.0), repeated=True)
    listener.set_clock(500 * S)
    transform._send_again()
    assert len(listener.stamps("odom")) == 1, "a transform of the former run is not repeated"
    transform.publish(500 * S - 50 * MS, "map", "odom", at_x(2.0), repeated=True)
    assert listener.stamps("odom")[-1] == 500 * S + 50 * MS
    assert listener.seen_x() == 2.0


def from_map(messages: list[TFMessage]) -> list[TransformStamped]:
    return [t for m in list(messages) for t in m.transforms if t.header.frame_id == "map"]


def test_the_transform_of_the_base_is_not_repeated(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, publish_tf="map_base", transform_rate_hz=500.0)
    robot.activate()
    for index in (1, 2):
        robot.status_of(robot.send(index, odometry=False))
    robot.transforms.wait(lambda all_: len(from_map(all_)) >= 2, "map -> base_link")
    assert [t.child_frame_id for t in from_map(robot.transforms.messages)] == ["base_link"] * 2


def test_the_transform_of_a_swapped_map_is_not_repeated(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, transform_rate_hz=50.0)
    robot.activate()
    robot.status_of(robot.send(1))
    robot.transforms.wait(lambda all_: len(from_map(all_)) >= 2, "a repeated map -> odom")
    robot.node._load(wall.other_map)
    robot.status_of(robot.send(2))
    repeated = len(from_map(robot.transforms.messages))
    for index in (3, 4, 5):
        robot.status_of(robot.send(index))
    assert len(from_map(robot.transforms.messages)) == repeated
