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

"""A rig over DDS: its cameras are localized together, and any of them may be missing or unusable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from nodes_world import Wall
from plane_scene import CAMERA
from rig_robot import EXTRINSICS, RigRobot, Sent
from ros_session import Ros
from sensor_msgs.msg import Image

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, pose_of, status_name

EXTRINSICS_TEXT = "; ".join(" ".join(str(v) for v in (*m.translation, *m.quaternion)) for m in EXTRINSICS.values())
NEAR_M = 0.02


@pytest.fixture
def rig(ros: Ros, wall: Wall) -> Callable[..., RigRobot]:
    """Make a robot whose cameras have extrinsics and calibrations."""

    def make(**parameters: Any) -> RigRobot:
        robot = RigRobot(ros, wall, **parameters)
        robot.activate()
        robot.publish_extrinsics()
        robot.calibrate(robot.cameras)
        return robot

    return make


def _wait_until_localized(robot: RigRobot, sent: Sent) -> LocalizationStatus:
    status = robot.status_of(sent.stamp_ns)
    assert status_name(status.status) == "OK", status.reason
    assert pose_of(status.pose.pose).distance_to(sent.map_from_base)[0] < NEAR_M
    return status


def test_all_cameras_are_localized_together(rig: Callable[..., RigRobot], wall: Wall) -> None:
    robot = rig()
    by_three = _wait_until_localized(robot, robot.send_all(2))
    assert by_three.cameras == ["front", "rear", "left"]
    assert not by_three.reason
    assert (by_three.body_frame, by_three.images_received, by_three.images_dropped) == ("base_link", 3, 0)
    by_one = _wait_until_localized(robot, robot.send_all(3, ["front"]))
    assert by_one.cameras == ["front"]
    assert by_one.inliers < by_three.inliers
    stds = [np.sqrt(np.diag(np.reshape(s.pose.covariance, (6, 6)))).max() for s in (by_three, by_one)]
    assert stds[0] <= stds[1]


@pytest.mark.parametrize(
    "names",
    [
        ["front"],
        ["left", "rear"],
        *(pytest.param(names, marks=pytest.mark.slow) for names in (["rear"], ["left"], ["front", "left"])),
    ],
)
def test_any_of_them_may_be_missing(rig: Callable[..., RigRobot], names: list[str]) -> None:
    robot = rig()
    assert set(_wait_until_localized(robot, robot.send_all(2, names)).cameras) == set(names)


def test_a_rig_of_one_camera(rig: Callable[..., RigRobot]) -> None:
    robot = rig(cameras=["left"])
    assert _wait_until_localized(robot, robot.send_all(1)).cameras == ["left"]


def test_extrinsics_from_a_parameter_need_no_tf(ros: Ros, wall: Wall) -> None:
    robot = RigRobot(ros, wall, base_from_camera=EXTRINSICS_TEXT, publish_tf="none")
    robot.activate()
    robot.calibrate(robot.cameras)
    assert len(_wait_until_localized(robot, robot.send_all(4)).cameras) == 3


def test_unusable_images_are_left_out_and_named(rig: Callable[..., RigRobot]) -> None:
    robot = rig()
    stamp_ns = robot.stamp_ns(2)
    unknown = bgr_message(stamp_ns, "rear", np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8))
    unknown.encoding = "no_such_encoding"
    small = bgr_message(stamp_ns, "left", np.zeros((8, 8, 3), np.uint8))
    status = _wait_until_localized(robot, robot.send_all(2, images={"rear": unknown, "left": small}))
    assert status.cameras == ["front"]
    assert status.reason.startswith("left out rear: an image has encoding")
    assert "left: an image is 8x8" in status.reason


def test_without_a_usable_image_the_status_is_that_of_the_first(rig: Callable[..., RigRobot]) -> None:
    robot = rig(cameras=["front", "rear"])
    stamp_ns = robot.stamp_ns(2)
    images = {name: Image(header=header(stamp_ns, name), encoding="no_such_encoding") for name in robot.cameras}
    status = robot.status_of(robot.send_all(2, images=images).stamp_ns)
    assert status_name(status.status) == "BAD_IMAGE"
    assert status.reason.startswith("front: ")


def test_a_calibration_that_comes_later_is_used_from_then_on(ros: Ros, wall: Wall) -> None:
    robot = RigRobot(ros, wall, cameras=["front", "rear"])
    robot.activate()
    robot.publish_extrinsics()
    robot.calibrate(["rear"])
    status = _wait_until_localized(robot, robot.send_all(1))
    assert status.cameras == ["rear"]
    assert status.reason.startswith("left out front: no camera_info received on /front/camera_info")
    robot.calibrate(["front"])
    assert _wait_until_localized(robot, robot.send_all(2)).cameras == ["front", "rear"]


def test_a_camera_that_tf_does_not_know_is_left_out(ros: Ros, wall: Wall) -> None:
    robot = RigRobot(ros, wall, cameras=["front", "rear"], transform_timeout_s=0.5)
    robot.activate()
    robot.calibrate(robot.cameras)
    status = robot.status_of(robot.send_all(1).stamp_ns)
    assert status_name(status.status) == "NO_TRANSFORM"
    robot.publish_extrinsics({"rear": EXTRINSICS["rear"]})
    status = _wait_until_localized(robot, robot.send_all(2))
    assert status.cameras == ["rear"]
    assert "left out front: TF has no base_link -> front" in status.reason


@pytest.mark.parametrize("misplaced", ["front", "rear"])
def test_wrong_extrinsics_in_tf_give_no_wrong_pose(ros: Ros, wall: Wall, misplaced: str) -> None:
    robot = RigRobot(ros, wall, cameras=["front", "rear"])
    robot.activate()
    off = Pose.from_rotation_vector([0.0, 0.1, 0.0], [0.1, 0.0, 0.0])
    robot.publish_extrinsics(
        {name: EXTRINSICS[name] @ off if name == misplaced else EXTRINSICS[name] for name in robot.cameras}
    )
    robot.calibrate(robot.cameras)
    for index in range(4):
        status = robot.status_of(robot.send_all(index).stamp_ns)
        assert status_name(status.status) == "POSE_REJECTED"
        assert "cameras of the rig disagree" in status.reason


def test_odometry_compensates_the_motion_to_the_time_of_an_image(rig: Callable[..., RigRobot]) -> None:
    robot = rig(cameras=["front", "rear"])
    _wait_until_localized(robot, robot.send_all(1))  # odometry is waited for after it was available once
    newest_ns, now = robot.stamp_ns(2), robot.map_from_base(2)
    # 15 ms before, the robot was 6 cm back and turned by three degrees: fast, so that it matters
    before_ns, before = newest_ns - 15_000_000, now @ Pose.from_rotation_vector([0.0, 0.0, 0.05], [-0.06, 0.0, 0.0])
    robot.publish_odometry(before_ns, before)
    robot.publish_odometry(newest_ns, now)
    robot.publish_image("rear", before_ns, before)
    robot.publish_image("front", newest_ns, now)
    assert _wait_until_localized(robot, Sent(newest_ns, now)).cameras == ["front", "rear"]


def test_the_last_fix_is_the_prior_of_all_cameras(rig: Callable[..., RigRobot]) -> None:
    robot = rig(carry_last_fix=True)
    assert _wait_until_localized(robot, robot.send_all(2)).candidate == "whole_map"
    tracked = _wait_until_localized(robot, robot.send_all(3))
    assert (tracked.candidate, len(tracked.cameras)) == ("prior", 3)


def test_every_image_of_a_burst_has_a_status(rig: Callable[..., RigRobot]) -> None:
    robot = rig(image_depth=10)
    sent = [robot.send_all(index, list(EXTRINSICS)[: 1 + index % 3]) for index in range(6)]
    images = sum(1 + index % 3 for index in range(6))
    statuses = robot.statuses.wait(lambda all_: sum(len(s.cameras) for s in all_) >= images, "all images")
    assert {status_name(s.status) for s in statuses} <= {"OK", "DROPPED"}
    assert sum(len(s.cameras) for s in statuses) == images
    assert statuses[-1].images_received == images
    assert statuses[-1].images_dropped == sum(
        len(s.cameras) for s in statuses if s.status == LocalizationStatus.DROPPED
    )
    assert robot.status_of(sent[-1].stamp_ns).status == LocalizationStatus.OK  # the newest wins


def test_cameras_that_run_freely_are_a_warning(rig: Callable[..., RigRobot], ros: Ros) -> None:
    inbox = ros.collect(DiagnosticArray, "/diagnostics")
    robot = rig(cameras=["front", "rear"], publish_tf="none", image_depth=20, **{"diagnostics.period_s": 0.05})
    for index in range(6):
        for name, apart_ns in (("front", 0), ("rear", 50_000_000)):
            robot.publish_image(name, robot.stamp_ns(index) + apart_ns, robot.map_from_base(index))
    inbox.wait(lambda all_: any("rig_window_s" in s.message for m in all_ for s in m.status), "a warning")


def test_the_debug_image_shows_all_views(rig: Callable[..., RigRobot], ros: Ros) -> None:
    pictures = ros.collect(Image, "vloc_localizer/debug_image")
    robot = rig(cameras=["front", "rear"])
    ros.until(lambda: robot.node.count_subscribers("vloc_localizer/debug_image") > 0)
    robot.send_all(2)
    picture = pictures.wait(lambda all_: len(all_) > 0, "a debug image")[0]
    assert (picture.width, picture.height) == (2 * CAMERA.width, CAMERA.height)
    green = np.reshape(picture.data, (CAMERA.height, 2, CAMERA.width, 3))
    coloured = np.ptp(green[40:].astype(int), axis=3) > 60  # below the line of text the images are grey
    assert all(coloured[:, view].sum() > 100 for view in range(2))


@pytest.mark.parametrize(
    "parameters",
    [
        {"base_frame": ""},
        {"cameras": ["front", "front"]},
        {"cameras": ["front", "/front"]},
        {"base_from_camera": EXTRINSICS_TEXT.partition(";")[0]},
    ],
)
def test_a_rig_with_inconsistent_parameters_is_not_configured(ros: Ros, wall: Wall, parameters: dict[str, Any]) -> None:
    robot = RigRobot(ros, wall, **parameters)
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
