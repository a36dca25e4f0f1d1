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

"""Kidnapped robot: it is carried to another room or to another scene of the map, which odometry does not measure."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from drive import Drive, Moment, camera_info_message
from fault_rows import FaultRow, count_statuses, seconds_since
from nodes_world import BASE_FROM_CAMERA, Wall
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedImage
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, pose_of
from vloc_ros.simulation.scenario import Lap, make_scenario
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images
from vloc_ros.storage.maps import map_hash, write_map
from vloc_ros.storage.trajectories import read_tum

pytestmark = [pytest.mark.fault, pytest.mark.slow_fault]

START_NS, FRAME_NS = 1_700_000_000_000_000_000, 200_000_000
RIGHT_M, RIGHT_RAD = 0.05, np.radians(5.0)
SPEED_M_S = 1.0


@dataclass(frozen=True)
class View:
    """An image and its pose."""

    image: Callable[[], Array]
    camera: Camera
    map_from_camera: Pose
    frame_id: str


class KidnappedRobot:
    """A robot that takes a sequence of images; between two legs it is carried, which odometry does not measure."""

    def __init__(self, ros: Ros, wall: Wall, folder: Path, cache: Path) -> None:
        ros.add(MapServerNode, autostart=True, map=str(folder))
        self._drive = Drive(ros, wall)
        self._drive.start_localizer(map="", map_cache=str(cache))
        self._drive.await_map(map_hash(folder))
        self._odom_from_base, self._stamp_ns = Pose.identity(), START_NS
        self.statuses: list[LocalizationStatus] = []

    def leg(self, views: Sequence[View]) -> tuple[int, float]:
        """Return the frames and seconds until the first published pose; check that all published poses are right."""
        start, back, base_before = time.monotonic(), None, None
        for number, view in enumerate(views, start=1):
            map_from_base = view.map_from_camera @ BASE_FROM_CAMERA.inverse()
            step = Pose.identity() if base_before is None else base_before.inverse() @ map_from_base
            base_before, self._odom_from_base = map_from_base, self._odom_from_base @ step
            self._stamp_ns += max(FRAME_NS, int(step.distance_to(Pose.identity())[0] / SPEED_M_S * 1e9))
            status = self._send_view(view)
            if status.status == LocalizationStatus.OK:
                metres, radians = map_from_base.distance_to(pose_of(status.pose.pose))
                assert (status.map_frame, metres < RIGHT_M, radians < RIGHT_RAD) == (view.frame_id, True, True)
                back = back or (number, seconds_since(start))
        assert back is not None, count_statuses(self.statuses[-len(views) :])
        return back

    def _send_view(self, view: View) -> LocalizationStatus:
        moment, image = Moment(self._stamp_ns, view.map_from_camera), view.image()
        self._drive.send_odometry(moment, self._odom_from_base)
        self._drive.send_info(moment, camera_info_message(moment, view.camera))
        self._drive.send_image(bgr_message(moment.stamp_ns, "camera", image))
        self.statuses.append(self._drive.status_of(moment.stamp_ns))
        return self.statuses[-1]

    def assert_nothing_lost(self) -> None:
        """Check: one status for every image, no internal error."""
        names = Counter(status.status for status in self._drive.wait_for_statuses())
        assert names.total() == len(self.statuses)
        assert not names[LocalizationStatus.INTERNAL_ERROR]


def _map_of(images: Sequence[PosedImage], name: str, frame_id: str, max_keypoints: int) -> LandmarkMap:
    config = MappingConfig(extractor=RootSiftConfig(max_keypoints=max_keypoints))
    return build_map(
        images,
        name=name,
        config=config,
        frame_id=frame_id,
    )


def test_between_two_rooms(ros: Ros, wall: Wall, tmp_path: Path, row: FaultRow) -> None:
    scenario = make_scenario("apartment", 161, map_frames=100, query_frames=120)
    lap = scenario.map_lap
    images = [
        PosedImage(lap.name(i), lambda i=i: lap.image(i), lap.camera, pose, int(lap.stamps_ns[i]))
        for i, pose in enumerate(lap.map_from_camera)
    ]
    write_map(_map_of(images, "apartment", "map", 1500), tmp_path / "map")
    robot = KidnappedRobot(ros, wall, tmp_path / "map", tmp_path / "cache")
    here, there = _two_rooms(scenario.query_lap)
    robot.leg(_views_of(scenario.query_lap, here))
    away = robot.leg(_views_of(scenario.query_lap, there))
    home = robot.leg(_views_of(scenario.query_lap, range(here.start + 10, here.stop + 10)))
    robot.assert_nothing_lost()
    row.record(
        "the robot is carried into another room of a simulated apartment and back (kidnapped robot)",
        f"a pose published again with image {away[0]} and {home[0]}, no wrong pose; {count_statuses(robot.statuses)}",
        back_s=max(away[1], home[1]),
        within_s=10.0,
    )


def _two_rooms(lap: Lap) -> tuple[range, range]:
    """Return the two parts of the lap that are farthest apart."""
    centres = np.stack([pose.translation for pose in lap.map_from_camera[:-30]])
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)
    first, second = (int(i) for i in np.unravel_index(apart.argmax(), apart.shape))
    assert apart.max() > 3.0
    return range(first, first + 15), range(second, second + 15)


def _views_of(lap: Lap, indices: range) -> list[View]:
    return [View(lambda i=i: lap.image(i), lap.camera, lap.map_from_camera[i], "map") for i in indices]


def test_between_redkitchen_and_castle(
    ros: Ros, wall: Wall, tmp_path: Path, row: FaultRow, shared_data: Callable[[str], Path]
) -> None:
    scenes = {name: shared_data(name) for name in ("redkitchen", "castle")}
    maps = [
        _map_of(_images_in(scenes["redkitchen"]), "redkitchen", "redkitchen", 1500),
        _map_of(_images_in(scenes["castle"]), "castle", "castle", 4000),
    ]
    write_map(merge_maps(maps, name="both", config=MappingConfig()), tmp_path / "map")
    robot = KidnappedRobot(ros, wall, tmp_path / "map", tmp_path / "cache")
    kitchen, castle = (_queries_in(folder) for folder in scenes.values())
    robot.leg(kitchen[:10])
    away = robot.leg(castle)
    home = robot.leg(kitchen[20:30])
    robot.assert_nothing_lost()
    row.record(
        "the robot is carried from redkitchen to castle and back, two scenes of a map (kidnapped robot)",
        f"a pose published again with photograph {away[0]} and {home[0]}, none in the wrong scene, no wrong pose; "
        f"{count_statuses(robot.statuses)}",
        back_s=max(away[1], home[1]),
        within_s=30.0,
    )


def _images_in(scene: Path) -> list[PosedImage]:
    camera, paths = read_camera(scene / "camera_info.yaml"), list_images(scene / "map/images")
    trajectory = read_tum(scene / "map/poses_tum.txt")
    return [
        PosedImage(path.name, lambda path=path: cv2.imread(str(path)), camera, pose, stamp_ns)
        for path, pose, stamp_ns in zip(paths, trajectory.poses, trajectory.stamps_ns.tolist(), strict=True)
    ]


def _queries_in(scene: Path) -> list[View]:
    camera, paths = read_camera(scene / "camera_info.yaml"), list_images(scene / "query/images")
    poses = read_tum(scene / "query/poses_tum.txt").poses
    return [
        View(lambda path=path: cv2.imread(str(path)), camera, pose, scene.name)
        for path, pose in zip(paths, poses, strict=True)
    ]
