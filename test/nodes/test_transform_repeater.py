from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from geometry_msgs.msg import TransformStamped
from nodes_world import Wall
from robot import Robot
from ros_session import Inbox, Ros
from tf2_msgs.msg import TFMessage

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes import transforms
from vloc_ros.nodes.conversion import stamp_ns_of

S = 1_000_000_000


class FakeNode:
    """A clock that the test sets, and a broadcaster that stores its messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns, self.sent = 1000 * S, Inbox()
        self.context = SimpleNamespace(ok=lambda: True)
        broadcaster = SimpleNamespace(sendTransform=self.sent.put, pub_tf=None)
        monkeypatch.setattr(transforms, "TransformBroadcaster", lambda _: broadcaster)

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now_ns))

    def destroy_publisher(self, _: Any) -> None:
        pass

    def stamps(self, child: str) -> list[int]:
        return [stamp_ns_of(m) for m in list(self.sent.messages) if m.child_frame_id == child]

    def wait_for(self, child: str, stamp_ns: int) -> None:
        def is_received(messages: list[TransformStamped]) -> bool:
            return any((m.child_frame_id, stamp_ns_of(m)) == (child, stamp_ns) for m in messages)

        self.sent.wait(is_received, f"{child} at {stamp_ns}")


def test_it_is_repeated_by_the_nodes_clock_until_the_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode(monkeypatch)
    transform = transforms.MapTransform(node, tolerance_s=0.5, rate_hz=1000.0)
    transform.publish(999 * S, "map", "odom", Pose.identity(), repeated=True)
    first_ns = 999 * S + S // 2
    node.wait_for("odom", first_ns)
    node.now_ns += 2 * S
    node.wait_for("odom", first_ns + 2 * S)
    transform.reset()
    node.now_ns += S
    transform.publish(1003 * S, "map", "base", Pose.identity(), repeated=False)
    node.now_ns += S
    transform.publish(1004 * S, "map", "other", Pose.identity(), repeated=True)
    node.now_ns += S
    node.wait_for("other", 1005 * S + S // 2)
    transform.close()
    assert node.stamps("odom") == [first_ns, first_ns + 2 * S]
    assert node.stamps("base") == [1003 * S + S // 2]


def test_transforms_before_the_start_of_simulated_time_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode(monkeypatch)
    node.now_ns = 0
    transform = transforms.MapTransform(node, tolerance_s=0.5, rate_hz=0.0)
    transform.publish(999 * S, "map", "odom", Pose.identity(), repeated=True)
    node.now_ns = 1000 * S
    transform._send_again()
    transform.close()
    assert node.stamps("odom") == [999 * S + S // 2]


def test_nothing_is_repeated_while_the_clock_stands_still_or_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode(monkeypatch)
    transform = transforms.MapTransform(node, tolerance_s=0.5, rate_hz=0.0)
    transform.publish(999 * S, "map", "odom", Pose.identity(), repeated=True)
    for now_ns in (1000 * S, 1001 * S, 1001 * S, 1000 * S):
        node.now_ns = now_ns
        transform._send_again()
    transform.close()
    assert node.stamps("odom") == [999 * S + S // 2, 1000 * S + S // 2]


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
