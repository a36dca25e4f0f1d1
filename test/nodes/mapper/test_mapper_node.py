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

"""The mapper node: what it records, what it refuses, and its services."""

from __future__ import annotations

import time
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from mapper_statuses import LATCHED, await_end_of_build, seen
from nav_msgs.msg import OccupancyGrid, Odometry
from nodes_world import Wall
from rclpy.parameter import Parameter
from ros_session import Ros
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import MapInfo, MapperStatus
from vloc_msgs.srv import BuildMap
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.mapper.map_handover import MapHandover
from vloc_ros.nodes.mapper.node import MapperNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, pose_message, transform_message

CAMERA = Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0))
STEP_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
BASE_FROM_CAMERA = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.1, 0.0, 0.4]))
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


class MappedRobot:
    """Publishes sensor data, and reads the status of a mapper."""

    def __init__(self, ros: Ros, folder: Path, **parameters: Any) -> None:
        self.ros = ros
        values = {
            "recordings_folder": str(folder / "recordings"),
            "maps_folder": str(folder / "maps"),
            "image_reliability": "reliable",
            "transform_timeout_s": 0.05,
            "status_period_s": 0.05,
            "min_free_mb": 0,
        }
        self.statuses = ros.collect(MapperStatus, "vloc_mapper/status", LATCHED)
        self.node = ros.add(MapperNode, **(values | parameters))
        self._images = ros.node.create_publisher(Image, "image", 10)
        self._infos = ros.node.create_publisher(CameraInfo, "camera_info", 10)
        self._tf = ros.node.create_publisher(TFMessage, "/tf", 10)
        self._static = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self.await_listener()

    def await_listener(self) -> None:
        self.ros.until(lambda: self._images.get_subscription_count() > 0)

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.ros.call(ChangeState, "vloc_mapper/change_state", request).success)

    def act(self, name: str) -> tuple[bool, str]:
        """Call a service of the mapper; returns whether it did, and what it says."""
        response = self.ros.call(Trigger, f"vloc_mapper/{name}", Trigger.Request())
        return response.success, response.message

    def build(self, **request: str) -> BuildMap.Response:
        return self.ros.call(BuildMap, "vloc_mapper/build_map", BuildMap.Request(**request))

    def calibrate(self, camera: Camera = CAMERA) -> None:
        model, k, d = camera.to_ros()
        info = CameraInfo(header=header(START_NS, "camera"), width=camera.width, height=camera.height)
        info.distortion_model, info.k, info.d = model, k, d
        self._infos.publish(info)

    def mount(self) -> None:
        transform = transform_message(0, "base_link", "camera", BASE_FROM_CAMERA)
        self._static.publish(TFMessage(transforms=[transform]))

    def drive_to(
        self,
        k: int,
        *,
        x: float | None = None,
        odometry: bool = True,
        pixels: Any = PIXELS,
        stamp_ns: int | None = None,
    ) -> MapperStatus:
        """Publish image k, 0.2 m further on than the one before; returns the status that says what became of it."""
        stamp_ns = START_NS + k * STEP_NS if stamp_ns is None else stamp_ns
        if odometry:
            pose = Pose.from_rotation_vector([0.0, 0.0, 0.0], [0.2 * k if x is None else x, 0.0, 0.0])
            self._tf.publish(TFMessage(transforms=[transform_message(stamp_ns, "odom", "base_link", pose)]))
        before = seen(self.statuses.messages[-1]) if self.statuses.messages else 0
        self.show(stamp_ns, pixels)
        return self.statuses.wait(lambda all_: all_ and seen(all_[-1]) > before, f"what became of image {k}")[-1]

    def show(self, stamp_ns: int, pixels: Any = PIXELS) -> None:
        """Publish an image."""
        self._images.publish(bgr_message(stamp_ns, "camera", pixels))

    def last(self, state: int) -> MapperStatus:
        """The last status, once it has that state."""
        return self.statuses.wait(lambda all_: all_ and all_[-1].state == state, f"state {state}")[-1]


@pytest.fixture
def robot(ros: Ros, tmp_path: Path) -> MappedRobot:
    robot = MappedRobot(ros, tmp_path)
    robot.calibrate()
    robot.mount()
    assert robot.act("start")[0]
    return robot


def test_keyframes_are_recorded_shown_and_on_disk(robot: MappedRobot) -> None:
    keyframes = robot.ros.collect(PoseArray, "vloc_mapper/keyframes", LATCHED)
    coverage = robot.ros.collect(OccupancyGrid, "vloc_mapper/coverage", LATCHED)
    diagnostics = robot.ros.collect(DiagnosticArray, "/diagnostics")
    for k in range(4):
        status = robot.drive_to(k)
    status = robot.drive_to(4, x=0.61)
    assert (status.state, status.keyframes, status.images_not_moved) == (MapperStatus.RECORDING, 4, 1)
    assert status.path_length_m == pytest.approx(0.6)
    assert status.header.frame_id == "odom"
    poses = keyframes.wait(lambda all_: all_ and len(all_[-1].poses) == 4)[-1].poses
    assert (poses[-1].position.x, poses[-1].position.z) == (pytest.approx(0.7), pytest.approx(0.4))
    grid = coverage.wait(lambda all_: all_ and all_[-1].info.width == 2)[-1]
    assert (grid.info.resolution, list(grid.data)) == (pytest.approx(0.5), [12, 12])
    (recording, *_) = diagnostics.wait(lambda all_: all_ and "4 keyframes" in all_[-1].status[0].message)[-1].status
    assert (recording.name, recording.level) == ("vloc_mapper: recording", DiagnosticStatus.OK)
    folder = Path(status.folder)
    assert len(list((folder / "images").glob("*.jpg"))) == 4
    assert 0 < status.disk_bytes < status.max_disk_bytes


def test_keyframes_are_published_now_and_then_and_at_the_end(robot: MappedRobot) -> None:
    """There are thousands, and the status has a short period."""
    keyframes = robot.ros.collect(PoseArray, "vloc_mapper/keyframes", LATCHED)
    start = time.monotonic()
    for k in range(8):
        robot.drive_to(k)
    assert robot.act("finish")[0]
    received = keyframes.wait(lambda all_: all_ and len(all_[-1].poses) == 8)
    assert len(received) <= 3 + (time.monotonic() - start) / 5.0


def test_what_is_refused_has_a_reason(ros: Ros, tmp_path: Path) -> None:
    robot = MappedRobot(ros, tmp_path)
    robot.act("start")
    assert robot.drive_to(0).refusal.startswith("NO_CALIBRATION: no camera_info received")
    robot.calibrate()
    # calibrations and images come on topics of their own
    robot.ros.until(lambda: robot.drive_to(1, odometry=False).refusal.startswith("NO_ODOMETRY: "))
    assert robot.drive_to(2).refusal.startswith("NO_TRANSFORM: ")
    robot.mount()
    images = count(3)  # each a new one: a keyframe may be counted a moment before the last refusal is gone
    robot.ros.until(lambda: not robot.drive_to(next(images)).refusal)
    assert robot.drive_to(next(images), pixels=PIXELS[:24]).refusal.startswith("BAD_IMAGE: an image is 64x24")
    assert robot.drive_to(next(images), stamp_ns=0).refusal.startswith("BAD_IMAGE: the stamp of the image is 0")
    assert robot.drive_to(2).refusal.startswith("CLOCK_JUMPED: ")
    robot.calibrate(Camera("PINHOLE", 64, 48, (55.0, 55.0, 32.0, 24.0)))
    robot.ros.until(lambda: robot.drive_to(next(images)).refusal.startswith("CALIBRATION_CHANGED: "))
    status = robot.statuses.messages[-1]
    kinds = {"NO_CALIBRATION", "NO_ODOMETRY", "NO_TRANSFORM", "BAD_IMAGE", "CLOCK_JUMPED", "CALIBRATION_CHANGED"}
    assert kinds <= set(status.refusals)
    assert status.keyframes >= 1


def test_odometry_of_a_topic_is_interpolated(ros: Ros, tmp_path: Path) -> None:
    robot = MappedRobot(ros, tmp_path, odometry="topic", transform_timeout_s=0.3)
    topic = ros.node.create_publisher(Odometry, "odom", 10)
    ros.until(lambda: topic.get_subscription_count() > 0)
    robot.calibrate()
    robot.mount()
    assert robot.act("start")[0]
    ros.until(
        lambda: robot.drive_to(0, odometry=False).refusal.startswith("NO_ODOMETRY: no odometry received on /odom")
    )

    def publish(stamp_ns: int, x: float, frame_id: str = "odom") -> None:
        message = Odometry(header=header(stamp_ns, frame_id), child_frame_id="base_link")
        message.pose.pose = pose_message(Pose(np.eye(3), np.array([x, 0.0, 0.0])))
        topic.publish(message)

    publish(START_NS + STEP_NS, 1.0)
    publish(START_NS + 2 * STEP_NS, 1.4)
    status = robot.drive_to(1, odometry=False, stamp_ns=START_NS + STEP_NS * 3 // 2)
    assert (status.keyframes, status.refusal) == (1, "")
    (row,) = np.loadtxt(Path(status.folder) / "odometry.txt", ndmin=2)
    assert row[1:4] == pytest.approx([1.2 + 0.1, 0.0, 0.4])
    publish(START_NS + 3 * STEP_NS, 1.6, "map")
    refusal = "NO_ODOMETRY: odometry on /odom is in map, expected odom"
    ros.until(lambda: robot.drive_to(3, odometry=False).refusal == refusal)


def test_odometry_that_jumps_pauses_the_recording(robot: MappedRobot) -> None:
    for k in range(2):
        robot.drive_to(k)
    robot.drive_to(2, x=50.0)
    status = robot.last(MapperStatus.PAUSED)
    assert "it was reset" in status.reason
    assert robot.act("resume") == (
        False,
        f"the recording {status.recording} is paused and cannot go on: {status.reason}",
    )
    assert robot.act("finish")[0]
    assert robot.act("start")[0]
    assert robot.drive_to(3, x=50.2).keyframes == 1


def test_a_pause_leaves_images_out(robot: MappedRobot) -> None:
    robot.drive_to(0)
    assert robot.act("pause")[0]
    robot.last(MapperStatus.PAUSED)
    robot.show(START_NS + STEP_NS)
    paused = robot.statuses.wait(lambda all_: all_[-1].images_received == 2)[-1]
    assert robot.act("resume")[0]
    resumed = robot.drive_to(2)
    assert (paused.keyframes, resumed.keyframes, seen(resumed)) == (1, 2, 2)
    assert robot.act("finish")[0]
    assert robot.last(MapperStatus.IDLE).recording == ""


def test_a_node_that_is_deactivated_goes_on_later(robot: MappedRobot) -> None:
    robot.drive_to(0)
    name = robot.last(MapperStatus.RECORDING).recording
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert robot.change(Transition.TRANSITION_CLEANUP)
    assert robot.act("pause") == (False, "the node is unconfigured; configure and activate it")
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    robot.statuses.messages.clear()
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    robot.await_listener()
    robot.calibrate()
    robot.mount()
    robot.last(MapperStatus.RECORDING)
    robot.ros.until(lambda: robot.drive_to(1).keyframes == 2)
    assert robot.last(MapperStatus.RECORDING).recording == name


def test_a_recording_may_begin_with_the_node(ros: Ros, tmp_path: Path) -> None:
    robot = MappedRobot(ros, tmp_path, record_on_activate=True)
    assert robot.last(MapperStatus.RECORDING).recording


def test_requests_that_cannot_be_met_are_refused(robot: MappedRobot) -> None:
    codes = BuildMap.Response
    robot.drive_to(0)
    assert robot.build().result == codes.STILL_RECORDING
    assert robot.build(recording="other").result == codes.NO_RECORDING
    robot.act("pause")
    assert robot.build().result == codes.TOO_FEW_KEYFRAMES
    robot.act("resume")
    for k in range(1, 4):
        robot.drive_to(k)
    robot.act("finish")
    refused = robot.build(map="../elsewhere")
    assert (refused.result, "plain name" in refused.message) == (codes.INVALID_NAME, True)
    assert robot.act("cancel_build") == (False, "no map is being built")


def test_a_build_that_fails_leaves_the_served_map(ros: Ros, wall: Wall, tmp_path: Path) -> None:
    """It fails at once, by an option that makes no sense."""
    (tmp_path / "maps").mkdir()
    served = ros.collect(MapInfo, "vloc_map_server/map_info", LATCHED)
    ros.add(MapServerNode, map=str(wall.map), maps_folder=str(tmp_path / "maps"))
    robot = MappedRobot(ros, tmp_path, build_options="--max-keypoints many")
    robot.calibrate()
    robot.mount()
    robot.act("start")
    for k in range(4):
        robot.drive_to(k)
    robot.act("pause")
    assert robot.build(map="none").result == BuildMap.Response.SUCCESS
    failed = await_end_of_build(robot.statuses)
    assert failed.build_state == MapperStatus.BUILD_FAILED
    assert "--max-keypoints" in failed.build_message
    assert (failed.build_map, failed.map_loaded) == ("none", False)
    assert robot.act("resume")[0]
    assert len(served.messages) == 1


@pytest.mark.slow
def test_while_a_map_is_built_no_other_build_begins_and_nothing_is_recorded(
    ros: Ros, wall: Wall, tmp_path: Path
) -> None:
    (tmp_path / "maps").mkdir()
    served = ros.collect(MapInfo, "vloc_map_server/map_info", LATCHED)
    ros.add(MapServerNode, map=str(wall.map), maps_folder=str(tmp_path / "maps"))
    robot = MappedRobot(ros, tmp_path)
    robot.calibrate()
    robot.mount()
    robot.act("start")
    for k in range(4):
        robot.drive_to(k, pixels=np.zeros_like(PIXELS))
    robot.act("pause")
    assert robot.build(map="black").result == BuildMap.Response.SUCCESS
    assert robot.build(map="other").result == BuildMap.Response.BUILD_RUNNING
    assert "is being built" in robot.act("resume")[1]
    failed = await_end_of_build(robot.statuses)
    assert failed.build_state == MapperStatus.BUILD_FAILED
    assert "shows a keypoint" in failed.build_message
    assert (failed.build_map, failed.map_loaded) == ("black", False)
    assert robot.act("resume")[0]
    assert len(served.messages) == 1


def test_a_map_is_handed_over_by_its_name(ros: Ros, wall: Wall) -> None:
    ros.add(MapServerNode, maps_folder=str(wall.map.parent))
    served = ros.collect(MapInfo, "vloc_map_server/map_info", LATCHED)
    handover = MapHandover(ros.node, "vloc_map_server")
    assert handover.hand_over(wall.map.name) == ""
    served.wait(lambda all_: all_ and all_[-1].hash != "")
    assert "none: does not exist" in handover.hand_over("none")
    handover.close()
    assert "map_server is empty" in MapHandover(ros.node, "").hand_over("any")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"odom_frame": ""}, "odom_frame is empty"),
        ({"map_frame": ""}, "map_frame is empty"),
        ({"extractor": ""}, "extractor is empty"),
        ({"extractor": "~/no model"}, f"{Path.home()}/no model: does not exist"),
        ({"base_from_camera": "0 0 0 0 0 0 1; 0 0 0 0 0 0 1"}, "expected one: a recording has one camera"),
        ({"build_options": "--name 'half"}, "expected words as in a shell"),
    ],
)
def test_parameters_that_make_no_sense_keep_it_from_being_configured(
    ros: Ros, tmp_path: Path, capfd: pytest.CaptureFixture[str], parameters: dict[str, Any], message: str
) -> None:
    values = {"recordings_folder": str(tmp_path / "r"), "maps_folder": str(tmp_path / "m")}
    node = ros.add(MapperNode, **(values | parameters))
    assert node.state == "unconfigured"
    assert message in capfd.readouterr().err


def test_an_image_topic_with_the_ending_of_compressed_images_keeps_it_inactive(
    ros: Ros, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    values = {"recordings_folder": str(tmp_path / "r"), "maps_folder": str(tmp_path / "m")}
    remapped = ["--ros-args", "-r", "image:=image/compressed"]
    node = ros.add(partial(MapperNode, cli_args=remapped), **values)
    assert node.state == "inactive"
    assert "set image_transport to compressed" in capfd.readouterr().err


def test_no_request_changes_folders_or_options(robot: MappedRobot) -> None:
    for name, value in (("maps_folder", "/tmp"), ("build_options", "--out /tmp"), ("max_disk_mb", 7)):
        (result,) = robot.node.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert name in result.reason


def test_no_map_is_built_before_the_node_is_configured(ros: Ros) -> None:
    ros.add(MapperNode, autostart=False)
    response = ros.call(BuildMap, "vloc_mapper/build_map", BuildMap.Request())
    assert response.result == BuildMap.Response.UNDEFINED_FAILURE
    assert response.message == "the node is unconfigured; configure and activate it"
