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

"""Initial poses for other localizers: by the mode, and on request."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import PoseWithCovarianceStamped
from nodes_world import BASE_FROM_CAMERA, MAP_FROM_ODOM, STEP_NS, Wall
from rclpy.time import Time
from robot import Robot
from ros_session import Inbox, Ros
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import Relocalize
from vloc_ros.core.config import config_from_mapping
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.node_config import LocalizerNodeConfig, PoseRelayConfig
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, pose_of, stamp_ns_of, transform_message

DOCS = Path(__file__).resolve().parents[3] / "docs"
FILTERED = {"fix_filter.enabled": True, "carry_last_fix": True}


class Receiver:
    """A robot with stamps of the present, and a receiver of its initial poses."""

    def __init__(
        self, ros: Ros, wall: Wall, mode: str, *, topic: str = "vloc_localizer/initialpose", **changes: Any
    ) -> None:
        self.ros, self.topic = ros, topic
        values = {"publish_tf": "none", "feed.initial_pose": mode, "feed.max_fix_age_s": 600.0}
        self.robot = Robot(ros, wall, **(values | changes))
        begin_ns = time.time_ns()
        self.robot.stamp_ns = lambda index: begin_ns + index * STEP_NS  # type: ignore[method-assign]

    def subscribe(self) -> Inbox:
        """Subscribe; no message is missed after this returns."""
        publisher = next(p for p in self.robot.node.publishers if p.topic_name == f"/{self.topic}")
        before = publisher.get_subscription_count()
        received = self.ros.collect(PoseWithCovarianceStamped, self.topic)
        self.ros.until(lambda: publisher.get_subscription_count() > before)
        return received

    def send_images(self, *indices: int) -> None:
        """Send images one after the other; each is localized, though it may be held."""
        for index in indices:
            status = self.robot.status_of(self.robot.send(index))
            assert status.status in (LocalizationStatus.OK, LocalizationStatus.HELD), status.reason

    def request(self) -> Any:
        return self.ros.call(Trigger, "vloc_localizer/feed_initial_pose", Trigger.Request())

    def indices_received(self, inbox: Inbox, count: int) -> list[int]:
        """Return the indices of the images whose poses were received.

        The pose of a request comes last, after all others.
        """
        response = self.request()
        assert response.success, response.message
        inbox.wait(lambda all_: len(all_) > count, f"{count} poses and the requested one")
        *before, _ = inbox.messages
        return [round((stamp_ns_of(message) - self.robot.stamp_ns(0)) / STEP_NS) for message in before]


@pytest.fixture
def fed(ros: Ros, wall: Wall) -> Callable[..., tuple[Receiver, Inbox]]:
    def start(mode: str, *, views: list[Any] | None = None, **changes: Any) -> tuple[Receiver, Inbox]:
        receiver = Receiver(ros, replace(wall, views=views or wall.views), mode, **changes)
        receiver.robot.activate()
        return receiver, receiver.subscribe()

    return start


def test_never_publishes_only_on_request(fed: Any) -> None:
    receiver, received = fed("never")
    receiver.send_images(0, 1)
    assert receiver.indices_received(received, 0) == []
    assert stamp_ns_of(received.messages[0]) == receiver.robot.stamp_ns(1)


def test_always_publishes_every_fix_with_a_minimum_covariance(fed: Any) -> None:
    receiver, received = fed("always", **{"feed.min_position_std_m": 0.02, "feed.min_rotation_std_rad": 0.5})
    receiver.send_images(0, 1, 2)
    assert receiver.indices_received(received, 3) == [0, 1, 2]
    message, status = received.messages[1], receiver.robot.statuses.messages[1]
    assert message.header.frame_id == status.map_frame
    assert message.pose.pose == status.pose.pose
    published, own = (np.reshape(pose.covariance, (6, 6)) for pose in (message.pose, status.pose))
    floors = np.repeat([0.02**2, 0.5**2], 3)
    np.testing.assert_allclose(np.diag(published), np.maximum(np.diag(own), floors))
    off_diagonal = ~np.eye(6, dtype=bool)
    np.testing.assert_array_equal(published[off_diagonal], own[off_diagonal])
    assert (np.diag(own)[3:] < floors[3:]).all()  # otherwise nothing was tested


@pytest.mark.parametrize("name", ["min_position_std_m", "min_rotation_std_rad"])
def test_minimum_deviations_cannot_be_zero(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        PoseRelayConfig(**{name: 0.0})


def test_on_jump_publishes_the_first_fix_and_the_one_after_a_jump(fed: Any, wall: Wall) -> None:
    standing = [wall.views[0]] * 8
    receiver, received = fed("on_jump", views=standing, **FILTERED, **{"fix_filter.confirmations_standing": 3})
    receiver.send_images(0, 1, 2)
    other_view = np.repeat(wall.scene.image(wall.views[5])[:, :, None], 3, axis=2)
    for index in (3, 4, 5, 6):
        image = bgr_message(receiver.robot.stamp_ns(index), "camera", other_view)
        receiver.robot.status_of(receiver.robot.send(index, image=image))
    assert receiver.indices_received(received, 2) == [1, 5]
    assert [s.status for s in receiver.robot.statuses.messages[3:6]] == [LocalizationStatus.HELD] * 2 + [0]


def test_on_jump_publishes_the_first_fix_after_relocalizing(fed: Any) -> None:
    receiver, received = fed("on_jump")
    receiver.send_images(0, 1)
    request = Relocalize.Request(timeout_s=20.0)
    response = receiver.ros.call_while(
        Relocalize, "vloc_localizer/relocalize", request, partial(receiver.send_images, 2)
    )
    assert stamp_ns_of(response.result) == receiver.robot.stamp_ns(2)
    assert receiver.indices_received(received, 2) == [0, 2]


def test_when_lost_publishes_the_first_fix_and_the_one_after_a_gap(fed: Any) -> None:
    receiver, received = fed("when_lost", **{"feed.lost_after_s": 0.7})
    receiver.send_images(0, 1, 5)
    assert receiver.indices_received(received, 2) == [0, 5]


def test_a_due_initial_pose_waits_for_a_subscriber(ros: Ros, wall: Wall) -> None:
    receiver = Receiver(ros, wall, "on_jump")
    receiver.robot.activate()
    receiver.send_images(0)
    received = receiver.subscribe()
    receiver.send_images(1, 2)
    assert receiver.indices_received(received, 1) == [1]


def test_the_node_ignores_its_own_initial_poses(ros: Ros, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output is remapped to its input; a pose of another node resets the filter, which holds the next fix."""
    remapped = partial(LocalizerNode, cli_args=["--ros-args", "-r", "~/initialpose:=/initialpose"])
    monkeypatch.setattr("robot.LocalizerNode", remapped)
    standing = replace(wall, views=wall.views[:1] * 20)
    receiver = Receiver(ros, standing, "always", topic="initialpose", **FILTERED)
    receiver.robot.activate()
    receiver.send_images(0, 1)
    assert not receiver.request().success  # the node is the only subscriber, which does not count
    received = receiver.subscribe()
    for index in (2, 3, 4):
        receiver.send_images(index)
        received.wait(lambda all_, count=index - 1: len(all_) >= count, "a pose of the node")
    held = [s.status == LocalizationStatus.HELD for s in receiver.robot.statuses.messages]
    assert held == [True] + [False] * 4
    message = received.messages[0]
    message.pose.pose.position.x += 0.01
    publisher = ros.node.create_publisher(PoseWithCovarianceStamped, "initialpose", 1)
    ros.until(lambda: publisher.get_subscription_count() > 1)
    publisher.publish(message)
    for index in range(5, 20):
        receiver.send_images(index)
        if receiver.robot.statuses.messages[-1].status == LocalizationStatus.HELD:
            return
    raise AssertionError("the pose of another node was not received")


def drive_on(receiver: Receiver, index: int, *, later_ns: int) -> Pose:
    """Publish odometry of a time after an image, 0.3 m further on; return the true pose of the base then."""
    robot = receiver.robot
    map_from_then = robot.wall.views[index] @ BASE_FROM_CAMERA.inverse()
    map_from_base = map_from_then @ Pose.from_rotation_vector([0.0, 0.0, 0.1], [0.3, 0.0, 0.0])
    stamp_ns = robot.stamp_ns(index) + later_ns
    transform = transform_message(stamp_ns, "odom", "base_link", MAP_FROM_ODOM.inverse() @ map_from_base)
    robot._tf.publish(TFMessage(transforms=[transform]))
    receiver.ros.until(lambda: robot.node._buffer.can_transform("odom", "base_link", Time(nanoseconds=stamp_ns)))
    return map_from_base


LATENCY_NS = 300_000_000


def test_an_initial_pose_is_where_the_robot_is_by_the_newest_odometry(fed: Any) -> None:
    """AMCL carries a pose on only where it has odometry of its own present time, which is later than any."""
    receiver, received = fed("always", **{"feed.min_position_std_m": 0.001})
    map_from_base = drive_on(receiver, 0, later_ns=LATENCY_NS)
    receiver.send_images(0)
    (message,) = received.wait(lambda all_: len(all_) > 0, "an initial pose")
    status = receiver.robot.statuses.messages[0]
    assert stamp_ns_of(message) == receiver.robot.stamp_ns(0) + LATENCY_NS
    assert pose_of(message.pose.pose).distance_to(map_from_base)[0] < 0.01
    assert pose_of(status.pose.pose).distance_to(map_from_base)[0] > 0.25  # the pose of the image itself
    drift = message.pose.covariance[0] - status.pose.covariance[0]
    assert 0.01**2 < drift < 0.1**2  # of 5 % of 0.3 m, and of the heading


def test_a_pose_on_request_is_carried_on_as_well(fed: Any) -> None:
    receiver, received = fed("never")
    receiver.send_images(0)
    map_from_base = drive_on(receiver, 0, later_ns=LATENCY_NS)
    assert receiver.request().success
    (message,) = received.wait(lambda all_: len(all_) > 0, "the requested pose")
    assert stamp_ns_of(message) == receiver.robot.stamp_ns(0) + LATENCY_NS
    assert pose_of(message.pose.pose).distance_to(map_from_base)[0] < 0.01


def test_without_odometry_an_initial_pose_is_that_of_the_image(fed: Any) -> None:
    receiver, received = fed("always")
    stamp_ns = receiver.robot.send(0, odometry=False)
    status = receiver.robot.status_of(stamp_ns)
    (message,) = received.wait(lambda all_: len(all_) > 0, "an initial pose")
    assert (stamp_ns_of(message), message.pose.pose) == (stamp_ns, status.pose.pose)


@pytest.mark.parametrize("page", ["nav2-amcl", "slam-toolbox", "rtabmap", "robot-localization"])
def test_the_page_of_another_system_has_valid_parameters(page: str) -> None:
    blocks = [
        yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.S)
    ]
    (values,) = [block["/**"]["ros__parameters"] for block in blocks if "/**" in block]
    config = config_from_mapping(LocalizerNodeConfig, values)
    assert config.publish_tf == "none"
    masks = [mask for block in blocks for node in block.values() for mask in _masks(node.get("ros__parameters", {}))]
    assert len(masks) == (4 if page == "robot-localization" else 0)
    assert all(len(mask) == 15 for mask in masks)


def _masks(parameters: Any) -> list[list[bool]]:
    return [value for name, value in parameters.items() if name.endswith("_config")]


@pytest.mark.parametrize("state", ["unconfigured", "active"])
def test_a_request_without_a_fix_is_refused_with_the_reason(ros: Ros, wall: Wall, state: str) -> None:
    receiver = Receiver(ros, wall, "never")
    if state == "active":
        receiver.robot.activate()
    response = receiver.request()
    assert not response.success
    assert {"unconfigured": "activate it", "active": "nothing was localized yet"}[state] in response.message


def test_a_subscriber_that_comes_again_is_told(fed: Any, wall: Wall) -> None:
    """As AMCL after a crash: it knows no pose, and no jump comes."""
    receiver, received = fed("on_jump", views=[wall.views[0]] * 4)
    receiver.send_images(0, 1)
    received.wait(lambda all_: len(all_) == 1, "the first fix")
    publisher = next(p for p in receiver.robot.node.publishers if p.topic_name == f"/{receiver.topic}")
    (own,) = [s for s in receiver.ros.node.subscriptions if s.topic_name == f"/{receiver.topic}"]
    receiver.ros.node.destroy_subscription(own)
    receiver.ros.until(lambda: publisher.get_subscription_count() == 0)
    receiver.send_images(2)
    again = receiver.subscribe()
    receiver.send_images(3)
    again.wait(lambda all_: len(all_) == 1, "a pose for the new subscriber")


def test_a_request_without_a_subscriber_or_with_an_old_fix_is_refused(ros: Ros, wall: Wall) -> None:
    receiver = Receiver(ros, wall, "never", **{"feed.max_fix_age_s": 3.0})
    receiver.robot.activate()
    begin_ns = receiver.robot.stamp_ns(0) - 3600 * 10**9
    receiver.robot.stamp_ns = lambda index: begin_ns  # type: ignore[method-assign]
    receiver.send_images(0)
    assert "expected at most 3 s" in receiver.request().message
    begin_ns = time.time_ns()
    receiver.send_images(1)
    assert "no subscriber on /vloc_localizer/initialpose" in receiver.request().message


def test_a_global_pose_names_the_frame_whose_pose_it_is(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    poses = ros.collect(PoseWithCovarianceStamped, "vloc_localizer/global_pose")
    robot.activate()
    ros.until(lambda: robot.node.count_subscribers("vloc_localizer/global_pose") > 0)
    status = robot.status_of(robot.send(2))
    message = poses.wait(lambda all_: len(all_) > 0, "a global pose")[0]
    assert message.header.frame_id == "base_link"
    assert stamp_ns_of(message) == robot.stamp_ns(2)
    assert message.pose.pose == status.pose.pose
    np.testing.assert_array_equal(message.pose.covariance, status.pose.covariance)
