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

"""The demo robot drives through a room: its mapper, the map server and the localizer as processes over DDS."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from mapper_statuses import LATCHED, await_end_of_build, seen
from ros_session import Inbox, Ros
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus, MapperStatus
from vloc_msgs.srv import BuildMap
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.evaluation.live_processes import Children
from vloc_ros.nodes.localizer.diagnostics import values_of
from vloc_ros.nodes.rclpy_support.conversion import header, pose_of, stamp_ns_of, transform_message
from vloc_ros.simulation.lighting import DAY
from vloc_ros.simulation.odometry import simulate_wheel_odometry
from vloc_ros.simulation.render import render
from vloc_ros.simulation.trajectories import drive
from vloc_ros.simulation.world import make_world

_CAMERA = Camera("PINHOLE", 320, 240, (262.5, 262.5, 160.0, 120.0))
_START_NS, _STEP_NS = 1_700_000_000_000_000_000, 100_000_000
_MAPPING, _LATER = 52, 12
_OF_CAMERA: dict[str, Any] = {
    "remaps": {"image/compressed": "/camera/image/compressed", "camera_info": "/camera/camera_info"},
    "image_transport": "compressed",
    "image_reliability": "reliable",
}


class Drive:
    """A lap that maps a room, and another way through it afterwards, with one odometry."""

    def __init__(self) -> None:
        self.world = make_world("room", 0)
        lap, later = drive(self.world, _MAPPING, 0), drive(self.world, 5 * _LATER, 1)
        self.map_from_base = [*lap.map_from_base, *later.map_from_base[:_LATER]]
        self.base_from_camera = lap.base_from_camera
        self.odometry = simulate_wheel_odometry(self.map_from_base, 0)

    def image(self, index: int) -> bytes:
        """A JPEG file."""
        pose = self.map_from_base[index] @ self.base_from_camera
        done, data = cv2.imencode(".jpg", render(self.world, _CAMERA, pose, lighting=DAY, seed=index))
        assert done
        return bytes(data)

    def odom_from_base(self, index: int) -> Pose:
        """The true pose, in the frame in which odometry began, which is that of the map."""
        return self.map_from_base[0].inverse() @ self.map_from_base[index]


class DemoRobot:
    """Publishes what the sensors of the driving robot give."""

    def __init__(self, ros: Ros, driven: Drive) -> None:
        self._ros, self._driven = ros, driven
        self._images = ros.node.create_publisher(CompressedImage, "/camera/image/compressed", 10)
        self._infos = ros.node.create_publisher(CameraInfo, "/camera/camera_info", 10)
        self._tf = ros.node.create_publisher(TFMessage, "/tf", 10)
        self._static = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        mount = transform_message(0, "base_link", "camera", driven.base_from_camera)
        self._static.publish(TFMessage(transforms=[mount]))

    def await_subscribers(self, count: int) -> None:
        for publisher in (self._images, self._infos, self._tf):
            self._ros.until(lambda publisher=publisher: publisher.get_subscription_count() >= count)

    def await_another_mapper(self, killed: set[tuple[int, ...]]) -> None:
        """Wait until a mapper subscribes that is none of those; a process that was killed stays in the graph."""
        self._ros.until(lambda: bool(self.mappers() - killed))

    def mappers(self) -> set[tuple[int, ...]]:
        """Identities of the mappers that subscribe to the images."""
        found = self._ros.node.get_subscriptions_info_by_topic("/camera/image/compressed")
        return {tuple(one.endpoint_gid) for one in found if one.node_name == "vloc_mapper"}

    def drive_to(self, index: int) -> int:
        """Publish one image, with odometry and calibration; returns its stamp."""
        stamp_ns = _START_NS + index * _STEP_NS
        odometry = transform_message(stamp_ns, "odom", "base_link", self._driven.odometry[index])
        self._tf.publish(TFMessage(transforms=[odometry]))
        model, k, d = _CAMERA.to_ros()
        info = CameraInfo(header=header(stamp_ns, "camera"), width=_CAMERA.width, height=_CAMERA.height)
        info.distortion_model, info.k, info.d = model, k, d
        self._infos.publish(info)
        image = CompressedImage(header=header(stamp_ns, "camera"), format="jpeg")
        image.data.frombytes(self._driven.image(index))
        self._images.publish(image)
        return stamp_ns


def start_nodes(children: Children, folder: Path) -> None:
    """The nodes of `map_and_localize.launch.py`."""
    (folder / "maps").mkdir()
    start_mapper(children, folder)
    children.start("map_server", maps_folder=str(folder / "maps"))
    children.start("localizer", map_cache=str(folder / "cache"), **_OF_CAMERA)


def start_mapper(children: Children, folder: Path) -> None:
    children.start(
        "mapper",
        recordings_folder=str(folder / "recordings"),
        maps_folder=str(folder / "maps"),
        status_period_s=0.1,
        **_OF_CAMERA,
    )


def kill_mapper(children: Children, robot: DemoRobot, folder: Path) -> None:
    """Kill the mapper, and start it again as a launch file with `use_respawn` does: it goes on by itself."""
    before = robot.mappers()
    os.kill(children.pid("mapper"), signal.SIGKILL)
    start_mapper(children, folder)
    robot.await_another_mapper(before)


def trigger(ros: Ros, name: str) -> str:
    response = ros.call(Trigger, f"/vloc_mapper/{name}", Trigger.Request())
    assert response.success, response.message
    return str(response.message)


@pytest.mark.slow
def test_a_room_is_mapped_and_the_robot_localized_in_it(ros: Ros, tmp_path: Path) -> None:
    driven = Drive()
    robot = DemoRobot(ros, driven)
    statuses = ros.collect(MapperStatus, "/vloc_mapper/status", LATCHED)
    fixes = ros.collect(LocalizationStatus, "/vloc_localizer/status")
    reports = ros.collect(DiagnosticArray, "/diagnostics")
    with Children(os.environ, tmp_path) as children:
        start_nodes(children, tmp_path)
        robot.await_subscribers(2)
        trigger(ros, "start")
        for index in range(_MAPPING):
            if index == _MAPPING // 2:
                kill_mapper(children, robot, tmp_path)
            robot.drive_to(index)
            statuses.wait(lambda all_, sent=index + 1: all_ and seen(all_[-1]) == sent, f"image {index}")
        recorded = statuses.messages[-1]
        assert (recorded.state, recorded.refusal) == (MapperStatus.RECORDING, "")
        assert recorded.keyframes > 0.8 * _MAPPING
        trigger(ros, "finish")
        response = ros.call(BuildMap, "/vloc_mapper/build_map", BuildMap.Request(map="room"))
        assert (response.result, response.map) == (BuildMap.Response.SUCCESS, "room"), response.message
        built = await_end_of_build(statuses)
        assert (built.build_state, built.map_loaded, built.build_message) == (MapperStatus.BUILD_SUCCEEDED, True, "")
        assert any(": " in status.build_step for status in statuses.messages)
        await_map(reports)
        errors_m = [localize(robot, fixes, driven, index) for index in range(_MAPPING, _MAPPING + _LATER)]
    found = [error_m for error_m in errors_m if error_m is not None]
    assert len(found) >= 0.5 * _LATER, [status.reason for status in fixes.messages]
    assert np.median(found) < 0.1


def await_map(reports: Inbox) -> None:
    """Wait until the localizer has fetched the map."""

    def has_map(report: DiagnosticArray) -> bool:  # reports are of the other nodes as well
        return values_of(report, "vloc_localizer").get("map", "none") != "none"

    reports.wait(lambda all_: any(map(has_map, all_)), "map of the localizer")


def localize(robot: DemoRobot, fixes: Inbox, driven: Drive, index: int) -> float | None:
    """The error of the position at an image, in metres; None where there is no pose."""
    stamp_ns = robot.drive_to(index)
    fixes.wait(lambda all_: all_ and stamp_ns_of(all_[-1]) == stamp_ns, f"status of image {index}")
    status = fixes.messages[-1]
    if status.status != LocalizationStatus.OK:
        return None
    return pose_of(status.pose.pose).distance_to(driven.odom_from_base(index))[0]
