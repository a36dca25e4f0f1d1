"""Others are told where the robot is: when the mode says so, and when somebody asks."""

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
from nodes_world import STEP_NS, Wall
from robot import Robot
from ros_session import Inbox, Ros
from std_srvs.srv import Trigger

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import Relocalize
from vloc_ros.core.config import config_from_mapping
from vloc_ros.core.errors import ConfigError
from vloc_ros.node_config import LocalizerNodeConfig, PoseRelayConfig
from vloc_ros.nodes.conversion import bgr_message, stamp_ns_of
from vloc_ros.nodes.localizer import LocalizerNode

DOCS = Path(__file__).resolve().parents[2] / "docs"
FILTERED = {"fix_filter.enabled": True, "carry_last_fix": True}


class Listener:
    """A robot of now, and the one that is told where it is."""

    def __init__(
        self, ros: Ros, wall: Wall, mode: str, *, topic: str = "localizer/initialpose", **changes: Any
    ) -> None:
        self.ros, self.topic = ros, topic
        values = {"publish_tf": "none", "feed.initial_pose": mode, "feed.max_fix_age_s": 600.0}
        self.robot = Robot(ros, wall, **(values | changes))
        begin_ns = time.time_ns()
        self.robot.stamp_ns = lambda index: begin_ns + index * STEP_NS  # type: ignore[method-assign]

    def listens(self) -> Inbox:
        """From when this returns nothing is missed."""
        publisher = next(p for p in self.robot.node.publishers if p.topic_name == f"/{self.topic}")
        before = publisher.get_subscription_count()
        heard = self.ros.collect(PoseWithCovarianceStamped, self.topic)
        self.ros.until(lambda: publisher.get_subscription_count() > before)
        return heard

    def shows(self, *indices: int) -> None:
        """Images, one after the other; each is localized, though it may be held."""
        for index in indices:
            status = self.robot.status_of(self.robot.send(index))
            assert status.status in (LocalizationStatus.OK, LocalizationStatus.HELD), status.reason

    def asks(self) -> Any:
        return self.ros.call(Trigger, "localizer/feed_initial_pose", Trigger.Request())

    def told(self, inbox: Inbox, count: int) -> list[int]:
        """Which images were told, all of them: whoever asks is told last, and then nothing is under way."""
        answer = self.asks()
        assert answer.success, answer.message
        inbox.wait(lambda all_: len(all_) > count, f"{count} poses and the one that was asked for")
        *before, _ = inbox.messages
        return [round((stamp_ns_of(message) - self.robot.stamp_ns(0)) / STEP_NS) for message in before]


@pytest.fixture
def fed(ros: Ros, wall: Wall) -> Callable[..., tuple[Listener, Inbox]]:
    def start(mode: str, *, views: list[Any] | None = None, **changes: Any) -> tuple[Listener, Inbox]:
        listener = Listener(ros, replace(wall, views=views or wall.views), mode, **changes)
        listener.robot.activate()
        return listener, listener.listens()

    return start


def test_never_tells_only_who_asks(fed: Any) -> None:
    listener, heard = fed("never")
    listener.shows(0, 1)
    assert listener.told(heard, 0) == []
    assert stamp_ns_of(heard.messages[0]) == listener.robot.stamp_ns(1)


def test_always_tells_every_fix_with_its_pose_and_never_too_certain(fed: Any) -> None:
    listener, heard = fed("always", **{"feed.min_position_std_m": 0.02, "feed.min_rotation_std_rad": 0.5})
    listener.shows(0, 1, 2)
    assert listener.told(heard, 3) == [0, 1, 2]
    message, status = heard.messages[1], listener.robot.statuses.messages[1]
    assert message.header.frame_id == status.map_frame
    assert message.pose.pose == status.pose.pose
    published, own = (np.reshape(pose.covariance, (6, 6)) for pose in (message.pose, status.pose))
    floors = np.repeat([0.02**2, 0.5**2], 3)
    np.testing.assert_allclose(np.diag(published), np.maximum(np.diag(own), floors))
    off_diagonal = ~np.eye(6, dtype=bool)
    np.testing.assert_array_equal(published[off_diagonal], own[off_diagonal])
    assert (np.diag(own)[3:] < floors[3:]).all()  # or nothing was shown


@pytest.mark.parametrize("name", ["min_position_std_m", "min_rotation_std_rad"])
def test_certainty_cannot_be_set_to_zero(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        PoseRelayConfig(**{name: 0.0})


def test_on_jump_tells_the_first_fix_and_where_the_robot_was_carried_to(fed: Any, wall: Wall) -> None:
    standing = [wall.views[0]] * 8
    listener, heard = fed("on_jump", views=standing, **FILTERED, **{"fix_filter.confirmations_standing": 3})
    listener.shows(0, 1, 2)
    elsewhere = np.repeat(wall.scene.image(wall.views[5])[:, :, None], 3, axis=2)
    for index in (3, 4, 5, 6):
        image = bgr_message(listener.robot.stamp_ns(index), "camera", elsewhere)
        listener.robot.status_of(listener.robot.send(index, image=image))
    assert listener.told(heard, 2) == [1, 5]
    assert [s.status for s in listener.robot.statuses.messages[3:6]] == [LocalizationStatus.HELD] * 2 + [0]


def test_on_jump_tells_the_first_fix_after_relocalizing(fed: Any) -> None:
    listener, heard = fed("on_jump")
    listener.shows(0, 1)
    request = Relocalize.Request(timeout_s=20.0)
    answer = listener.ros.call_while(Relocalize, "localizer/relocalize", request, partial(listener.shows, 2))
    assert stamp_ns_of(answer.result) == listener.robot.stamp_ns(2)
    assert listener.told(heard, 2) == [0, 2]


def test_when_lost_tells_the_first_fix_and_the_one_after_a_while_without(fed: Any) -> None:
    listener, heard = fed("when_lost", **{"feed.lost_after_s": 0.7})
    listener.shows(0, 1, 5)
    assert listener.told(heard, 2) == [0, 5]


def test_an_initial_pose_that_is_due_waits_until_somebody_listens(ros: Ros, wall: Wall) -> None:
    listener = Listener(ros, wall, "on_jump")
    listener.robot.activate()
    listener.shows(0)
    heard = listener.listens()
    listener.shows(1, 2)
    assert listener.told(heard, 1) == [1]


def test_the_node_does_not_believe_what_it_said_itself(ros: Ros, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wired to what it hears: a pose from outside starts the filter anew, which then holds the next fix."""
    remapped = partial(LocalizerNode, cli_args=["--ros-args", "-r", "~/initialpose:=/initialpose"])
    monkeypatch.setattr("robot.LocalizerNode", remapped)
    standing = replace(wall, views=wall.views[:1] * 20)
    listener = Listener(ros, standing, "always", topic="initialpose", **FILTERED)
    listener.robot.activate()
    listener.shows(0, 1)
    assert not listener.asks().success  # the node alone listens, which is nobody
    heard = listener.listens()
    for index in (2, 3, 4):
        listener.shows(index)
        heard.wait(lambda all_, count=index - 1: len(all_) >= count, "what the node said")
    held = [s.status == LocalizationStatus.HELD for s in listener.robot.statuses.messages]
    assert held == [True] + [False] * 4
    message = heard.messages[0]
    message.pose.pose.position.x += 0.01
    publisher = ros.node.create_publisher(PoseWithCovarianceStamped, "initialpose", 1)
    ros.until(lambda: publisher.get_subscription_count() > 1)
    publisher.publish(message)
    for index in range(5, 20):
        listener.shows(index)
        if listener.robot.statuses.messages[-1].status == LocalizationStatus.HELD:
            return
    raise AssertionError("what somebody else said was not heard")


@pytest.mark.parametrize("page", ["nav2-amcl", "slam-toolbox", "rtabmap", "robot-localization"])
def test_a_page_for_another_system_gives_parameters_that_exist(page: str) -> None:
    blocks = [
        yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.S)
    ]
    (values,) = [block["/**"]["ros__parameters"] for block in blocks if "/**" in block]
    config = config_from_mapping(LocalizerNodeConfig, values)
    assert config.publish_tf == "none"
    masks = [mask for block in blocks for node in block.values() for mask in _masks(node.get("ros__parameters", {}))]
    assert len(masks) == (3 if page == "robot-localization" else 0)
    assert all(len(mask) == 15 for mask in masks)


def _masks(parameters: Any) -> list[list[bool]]:
    return [value for name, value in parameters.items() if name.endswith("_config")]


@pytest.mark.parametrize("state", ["unconfigured", "active"])
def test_who_asks_too_early_is_told_why_not(ros: Ros, wall: Wall, state: str) -> None:
    listener = Listener(ros, wall, "never")
    if state == "active":
        listener.robot.activate()
    answer = listener.asks()
    assert not answer.success
    assert {"unconfigured": "activate it", "active": "nothing was localized yet"}[state] in answer.message


def test_who_asks_is_told_of_a_topic_that_nobody_hears_and_of_a_fix_that_is_too_old(ros: Ros, wall: Wall) -> None:
    listener = Listener(ros, wall, "never", **{"feed.max_fix_age_s": 3.0})
    listener.robot.activate()
    begin_ns = listener.robot.stamp_ns(0) + 3600 * 10**9
    listener.robot.stamp_ns = lambda index: begin_ns  # type: ignore[method-assign]
    listener.shows(0)
    assert "expected at most 3 s" in listener.asks().message
    begin_ns = time.time_ns()
    listener.shows(1)
    assert "nobody listens on /localizer/initialpose" in listener.asks().message


def test_a_global_pose_names_the_frame_whose_pose_it_is(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    poses = ros.collect(PoseWithCovarianceStamped, "localizer/global_pose")
    robot.activate()
    ros.until(lambda: robot.node.count_subscribers("localizer/global_pose") > 0)
    status = robot.status_of(robot.send(2))
    message = poses.wait(lambda all_: len(all_) > 0, "a global pose")[0]
    assert message.header.frame_id == "base_link"
    assert stamp_ns_of(message) == robot.stamp_ns(2)
    assert message.pose.pose == status.pose.pose
    np.testing.assert_array_equal(message.pose.covariance, status.pose.covariance)
