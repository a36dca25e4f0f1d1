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

"""Latched topics, in and out, and TF in a namespace."""

from __future__ import annotations

from functools import partial

import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from nodes_world import Wall
from plane_scene import CAMERA
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from robot import LATCHED, Robot
from ros_session import Inbox, Ros
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.localizer.cameras import Calibration, CameraInfoInput
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.rclpy_support.conversion import header, stamp_ns_of

TOPIC = "vloc_localizer/last_pose_with_covariance"


def calibration() -> CameraInfo:
    model, k, d = CAMERA.to_ros()
    message = CameraInfo(header=header(0, "camera"), width=CAMERA.width, height=CAMERA.height)
    message.distortion_model, message.k, message.d = model, k, d
    return message


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_a_camera_info_that_was_latched_before_the_start_is_received(
    ros: Ros, wall: Wall, reliability: ReliabilityPolicy
) -> None:
    """Best-effort readers get nothing late by the standard of DDS, but the next message all the same."""
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=reliability)
    latched = ros.node.create_publisher(CameraInfo, "camera_info", qos)
    latched.publish(calibration())
    robot = Robot(ros, wall, transform_timeout_s=10.0)
    robot.activate()
    ros.until(lambda: len(robot.node.get_publishers_info_by_topic("camera_info")) == 2)
    stamp_ns = robot.send(0, info=False)
    if reliability == ReliabilityPolicy.BEST_EFFORT:
        ros.until(lambda: latched.get_subscription_count() == 2)
        latched.publish(calibration())
    assert robot.status_of(stamp_ns).status == LocalizationStatus.OK


def test_a_camera_info_for_every_image_has_one_subscription(ros: Ros, wall: Wall) -> None:
    """A latched one would make its publisher warn of an incompatible QoS."""
    robot = Robot(ros, wall)
    robot.activate()
    assert robot.status_of(robot.send(0, info=False)).status == LocalizationStatus.NO_CALIBRATION
    assert robot.node.count_subscribers("camera_info") == 1
    ros.until(lambda: robot._infos.get_subscription_count() == 1)
    assert robot.status_of(robot.send(1)).status == LocalizationStatus.OK
    assert robot.node.count_subscribers("camera_info") == 1


def test_a_camera_info_that_comes_by_two_subscriptions_is_reported_once(ros: Ros) -> None:
    """Twice as many as images would look as if half of the images were lost."""
    received, reported = Inbox(), Inbox()

    class Counting(Calibration):
        def on_camera_info(self, message: CameraInfo) -> None:
            received.put(message)

    info = CameraInfoInput(
        ros.node,
        "camera_info",
        Counting(topic="camera_info", timeout_s=0.0),
        on_received=lambda: reported.put(None),
    )
    latched = ros.node.create_publisher(CameraInfo, "camera_info", LATCHED)
    ros.until(lambda: ros.node.count_publishers("camera_info") == 1)
    info.find_latched()
    ros.until(lambda: latched.get_subscription_count() == 2)
    for _ in range(3):
        latched.publish(calibration())
    received.wait(lambda all_: len(all_) == 6, "each by both")
    assert len(reported.messages) == 3
    info.close()


def test_a_late_subscriber_gets_the_last_pose_on_a_topic_of_its_own(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    for index in (0, 1):
        robot.status_of(robot.send(index))
    last = ros.collect(PoseWithCovarianceStamped, TOPIC, LATCHED).wait(lambda all_: len(all_) > 0, "the last pose")
    assert [stamp_ns_of(message) for message in last] == [robot.stamp_ns(1)]
    status = robot.statuses.messages[1]
    assert (last[0].pose, last[0].header.frame_id) == (status.pose, "map")


def test_no_late_subscriber_gets_an_old_measurement(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    robot.status_of(robot.send(0))
    poses = ros.collect(PoseWithCovarianceStamped, "vloc_localizer/pose_with_covariance", 10)
    ros.until(lambda: robot.node.count_subscribers("vloc_localizer/pose_with_covariance") == 1)
    (info,) = ros.node.get_publishers_info_by_topic("vloc_localizer/pose_with_covariance")
    assert info.qos_profile.durability == DurabilityPolicy.VOLATILE
    robot.status_of(robot.send(1))
    assert [stamp_ns_of(m) for m in poses.wait(lambda all_: len(all_) > 0, "a pose")] == [robot.stamp_ns(1)]


def test_the_last_pose_is_withdrawn_when_the_node_is_deactivated(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    robot.status_of(robot.send(0))
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    robot.await_listener()
    last = ros.collect(PoseWithCovarianceStamped, TOPIC, LATCHED)
    ros.until(lambda: robot.node.count_subscribers(TOPIC) == 1)
    robot.status_of(robot.send(1))
    assert [stamp_ns_of(m) for m in last.wait(lambda all_: len(all_) > 0, "a pose")] == [robot.stamp_ns(1)]


def test_tf_in_a_namespace(ros: Ros, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """As nav2's launch files remap it for several robots, and namespaced_tf of localize.launch.py."""
    remaps = ["-r", "/tf:=/robot1/tf", "-r", "/tf_static:=/robot1/tf_static"]
    monkeypatch.setattr("robot.LocalizerNode", partial(LocalizerNode, cli_args=["--ros-args", *remaps]))
    robot = Robot(ros, wall)
    transforms = ros.collect(TFMessage, "/robot1/tf")
    robot._tf = ros.node.create_publisher(TFMessage, "/robot1/tf", 10)
    robot._static = ros.node.create_publisher(TFMessage, "/robot1/tf_static", LATCHED)
    robot.activate()
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.OK
    transforms.wait(lambda all_: any(t.child_frame_id == "odom" for m in all_ for t in m.transforms), "map -> odom")
    assert not robot.transforms.messages
