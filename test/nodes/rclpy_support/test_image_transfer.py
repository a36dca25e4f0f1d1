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

"""The reliability of image subscriptions, and the transport of large images."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_session import WAIT_S, Inbox, Ros
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from vloc_ros.nodes.rclpy_support.image_transfer import ImageSubscription, receive_over_udp

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
# whether a node has mapped the shared memory of Fast DDS, which it does to receive; files have its name since version 3
NODE = """
import re
import rclpy
from vloc_ros.nodes.rclpy_support.image_transfer import receive_over_udp
if {udp}: receive_over_udp()
rclpy.init()
node = rclpy.create_node("receiver")
print(bool(re.search("/fast(rtps|dds)_port", open("/proc/self/maps").read())))
"""


@pytest.fixture
def subscribe(ros: Ros) -> Callable[[str], tuple[ImageSubscription, Inbox]]:
    def make(reliability: str) -> tuple[ImageSubscription, Inbox]:
        inbox = Inbox()
        return ImageSubscription(ros.node, Image, "image", inbox.put, depth=5, reliability=reliability), inbox

    return make


def publish_until_received(ros: Ros, reliability: ReliabilityPolicy, inbox: Inbox) -> None:
    publisher = ros.node.create_publisher(Image, "image", QoSProfile(depth=5, reliability=reliability))
    inbox.messages.clear()

    def received() -> bool:
        publisher.publish(Image())
        return bool(inbox.messages)

    ros.until(received)
    ros.node.destroy_publisher(publisher)


def test_auto_follows_the_publishers(ros: Ros, subscribe: Callable[[str], tuple[ImageSubscription, Inbox]]) -> None:
    subscription, inbox = subscribe("auto")

    def sends(publisher: Any, name: str) -> bool:
        """Again and again: the subscription may not know the publisher yet which knows it."""
        publisher.publish(Image(header=Header(frame_id=name)))
        return any(message.header.frame_id == name for message in list(inbox.messages))

    assert subscription.reliability == BEST_EFFORT
    reliable = ros.node.create_publisher(Image, "image", QoSProfile(depth=5, reliability=RELIABLE))
    ros.until(lambda: subscription.reliability == RELIABLE)
    ros.until(lambda: ros.node.count_subscribers("image") == 1)
    ros.until(lambda: reliable.get_subscription_count() == 1)
    ros.until(lambda: sends(reliable, "reliable"))
    other = ros.node.create_publisher(Image, "image", QoSProfile(depth=5, reliability=BEST_EFFORT))
    ros.until(lambda: subscription.reliability == BEST_EFFORT)
    ros.until(lambda: reliable.get_subscription_count() == other.get_subscription_count() == 1)
    ros.until(lambda: sends(reliable, "reliable, to best effort") and sends(other, "best effort"))
    subscription.close()
    ros.until(lambda: ros.node.count_subscribers("image") == 0)


def test_auto_stays_as_it_is_while_there_is_no_publisher(
    ros: Ros, subscribe: Callable[[str], tuple[ImageSubscription, Inbox]]
) -> None:
    subscription, _ = subscribe("auto")
    reliable = ros.node.create_publisher(Image, "image", QoSProfile(depth=5, reliability=RELIABLE))
    ros.until(lambda: subscription.reliability == RELIABLE)
    ros.node.destroy_publisher(reliable)
    ros.until(lambda: ros.node.count_publishers("image") == 0)
    subscription.match_publishers()
    assert subscription.reliability == RELIABLE


def test_auto_is_reliable_at_once_where_the_publisher_is(
    ros: Ros, subscribe: Callable[[str], tuple[ImageSubscription, Inbox]]
) -> None:
    ros.node.create_publisher(Image, "image", QoSProfile(depth=5, reliability=RELIABLE))
    ros.until(lambda: ros.node.count_publishers("image") == 1)
    assert subscribe("auto")[0].reliability == RELIABLE


@pytest.mark.parametrize("reliability", ["best_effort", "reliable"])
def test_a_reliability_that_was_chosen_stays(
    ros: Ros, subscribe: Callable[[str], tuple[ImageSubscription, Inbox]], reliability: str
) -> None:
    subscription, inbox = subscribe(reliability)
    publish_until_received(ros, RELIABLE, inbox)
    assert subscription.reliability == ReliabilityPolicy[reliability.upper()]


@pytest.mark.parametrize("chosen", [*PROFILES, "FASTDDS_BUILTIN_TRANSPORTS", "ROS_LOCALHOST_ONLY"])
def test_transports_that_the_user_has_chosen_stay(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    for name in (*PROFILES, "FASTDDS_BUILTIN_TRANSPORTS", "ROS_LOCALHOST_ONLY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv(chosen, "1")
    before = dict(os.environ)
    receive_over_udp()
    assert dict(os.environ) == before
    monkeypatch.setenv(chosen, "0" if chosen == "ROS_LOCALHOST_ONLY" else "")
    receive_over_udp()
    assert os.environ[PROFILES[0]] == os.environ[PROFILES[1]] != ""


@pytest.mark.parametrize("udp", [True, False])
def test_large_images_do_not_come_through_shared_memory(ros_domain: int, udp: bool) -> None:
    """Where Fast DDS is used, and the discovery range is that of an installation."""
    import rclpy

    if "fastrtps" not in rclpy.get_rmw_implementation_identifier():
        pytest.skip(f"the profile is for Fast DDS, this is {rclpy.get_rmw_implementation_identifier()}")
    of_tests = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "FASTDDS_BUILTIN_TRANSPORTS", *PROFILES)
    environment = {name: value for name, value in os.environ.items() if name not in of_tests}
    command = [sys.executable, "-c", NODE.format(udp=udp)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2 * WAIT_S, check=True)
    assert "Error" not in ended.stderr, ended.stderr  # Fast DDS ignores a profile that it cannot read
    assert ended.stdout.strip() == str(not udp)
