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

"""One map folder of a small town with landmarks, LiDAR places and aerial tiles, in the two nodes of localize.launch.py.

An image from the street is localized by landmarks, a scan by LiDAR places, an image from above by tiles.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from drone import BASE_FROM_CAMERA as BASE_FROM_CAMERA_BELOW
from drone import LATCHED
from nodes_world import START_NS, STEP_NS
from ros_session import Ros
from scan_robot import point_cloud_message_of
from sensor_msgs.msg import CameraInfo, Image, NavSatFix, PointCloud2
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import QueryPlaces
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedImage, PosedScan
from vloc_ros.geo.aerial_map import make_aerial_map
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.aerial_tiles import add_aerial_tiles
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.maps.lidar_places import add_lidar_places
from vloc_ros.mapping.sfm.scale import GivenPoses
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, pose_of, stamp_ns_of, transform_message
from vloc_ros.simulation.driving import BASE_FROM_CAMERA as BASE_FROM_CAMERA_AHEAD
from vloc_ros.simulation.lidar import Spinning
from vloc_ros.simulation.lidar_drives import LidarDrive
from vloc_ros.simulation.lighting import CLEAR_DAY
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.maps import write_map

CAMERA = Camera("PINHOLE", 320, 240, (240.0, 240.0, 160.0, 120.0))
BEAMS = Spinning(16, -0.43, 0.18, 450)
BASE_FROM_LIDAR = Pose(np.eye(3), np.array([0.0, 0.0, 1.73]))
LOOKS_DOWN = np.diag([1.0, -1.0, -1.0])
# imagery is known to a metre, and the landmarks better
IMAGERY = Datum(46.84, -91.99, 200.0, position_std_m=1.0, altitude_std_m=1.0)
ON_LANDMARKS = replace(IMAGERY, position_std_m=0.05, altitude_std_m=0.05)
JUNCTION, SIDE_M, PIXEL_M = (60.0, 60.0), 60.0, 0.25
MAPPED_BY_CAMERA, MAPPED_BY_LIDAR = np.arange(40.0, 48.0, 1.5), (38.0, 46.0, 54.0)


def make_town() -> World:
    """What lies around a junction, of coarse textures, which are quickly painted."""
    world = make_world("town", 88001)
    around = [one for one in world.rectangles if np.abs(np.subtract(one.origin[:2], JUNCTION)).max() < 45.0]
    textures = [replace(one.texture, px_per_m=min(one.texture.px_per_m, 6.0)) for one in around]
    coarse = [replace(one, texture=texture) for one, texture in zip(around, textures, strict=True)]
    return replace(world, rectangles=tuple(coarse))


def on_street(x: float) -> Pose:
    """map_from_base of a robot that drives east, to the junction."""
    return Pose(np.eye(3), np.array([x, 58.9, 0.0]))


def see(world: World, map_from_camera: Pose, seed: int = 0) -> Array:
    return render(world, CAMERA, map_from_camera, lighting=CLEAR_DAY, seed=seed)


def make_landmarks(world: World) -> LandmarkMap:
    poses = [on_street(x) @ BASE_FROM_CAMERA_AHEAD for x in MAPPED_BY_CAMERA.tolist()]
    images = [
        PosedImage(f"{k}.png", partial(see, world, pose, k), CAMERA, pose, stamp_ns=k * 10**9)
        for k, pose in enumerate(poses)
    ]
    built = build_map(images, name="town", config=MappingConfig(), scale=GivenPoses())
    return replace(built, scenes=(replace(built.scene(), datum=ON_LANDMARKS),))


def drive(world: World, *places: float, seed: int) -> LidarDrive:
    return LidarDrive(world, BEAMS, tuple(on_street(x) @ BASE_FROM_LIDAR for x in places), seed)


def make_scans(world: World) -> list[PosedScan]:
    scans = drive(world, *MAPPED_BY_LIDAR, seed=2)
    return [PosedScan(str(k), partial(PointCloud, scans.scan(k)), pose) for k, pose in enumerate(scans.map_from_lidar)]


def make_tiles(world: World) -> LandmarkMap:
    """Of an orthophoto of the junction, as from an aeroplane."""
    pixels, height_m, (x, y) = round(SIDE_M / PIXEL_M), 400.0, JUNCTION
    camera = Camera("PINHOLE", pixels, pixels, (*2 * (height_m / PIXEL_M,), pixels / 2, pixels / 2))
    image = render(world, camera, Pose(LOOKS_DOWN, np.array([x, y, height_m])), lighting=CLEAR_DAY, seed=0)
    shown = np.ones((pixels, pixels), bool)
    ground = GroundImage(image, shown, x - SIDE_M / 2, y + SIDE_M / 2, PIXEL_M)
    return make_aerial_map([ground], name="town", datum=IMAGERY, ground_sizes_m=(PIXEL_M, 2 * PIXEL_M), tile_px=128)


class Robot:
    """Drives and flies, with a camera that looks ahead, one that looks down, and a LiDAR."""

    def __init__(self, ros: Ros, map_cache: Path) -> None:
        self.ros, self._count = ros, 0
        self.node = ros.add(
            LocalizerNode,
            map_cache=str(map_cache),
            sensor="both",
            scan_period_s=0.0,
            image_reliability="reliable",
            carry_last_fix=False,
            **{"fix_filter.enabled": False},
        )
        self.statuses = ros.collect(LocalizationStatus, "vloc_localizer/status")
        self.fixes = ros.collect(NavSatFix, "vloc_localizer/fix")
        kinds = {"image": Image, "camera_info": CameraInfo, "points": PointCloud2, "/tf": TFMessage}
        self._out = {name: ros.node.create_publisher(kind, name, 10) for name, kind in kinds.items()}
        self._static = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        ros.until(lambda: self.node.map_hash != "")
        ros.until(lambda: all(self._out[name].get_subscription_count() for name in ("image", "points")))
        ros.until(lambda: self.node.count_subscribers("vloc_localizer/status") > 0)
        sensors = {"ahead": BASE_FROM_CAMERA_AHEAD, "below": BASE_FROM_CAMERA_BELOW, "lidar": BASE_FROM_LIDAR}
        transforms = [transform_message(0, "base_link", *one) for one in sensors.items()]
        self._static.publish(TFMessage(transforms=transforms))

    def localize_image(self, map_from_base: Pose, frame_id: str, image: Array) -> LocalizationStatus:
        stamp_ns = self._send_odometry(map_from_base)
        model, k, d = CAMERA.to_ros()
        info = CameraInfo(header=header(stamp_ns, frame_id), width=CAMERA.width, height=CAMERA.height)
        info.distortion_model, info.k, info.d = model, k, d
        self._out["camera_info"].publish(info)
        self._out["image"].publish(bgr_message(stamp_ns, frame_id, image))
        return self._status_of(stamp_ns)

    def localize_scan(self, map_from_base: Pose, points: Array) -> LocalizationStatus:
        stamp_ns = self._send_odometry(map_from_base)
        cloud = PointCloud(points, stamp_ns=stamp_ns, frame_id="lidar")
        self._out["points"].publish(point_cloud_message_of(cloud))
        return self._status_of(stamp_ns)

    def _send_odometry(self, map_from_base: Pose) -> int:
        """The odometry frame is level, and begins anywhere."""
        self._count += 1
        stamp_ns = START_NS + self._count * STEP_NS
        odom_from_base = Pose.from_rotation_vector([0.0, 0.0, 0.7], [3.0, -20.0, 5.0]) @ map_from_base
        transform = transform_message(stamp_ns, "odom", "base_link", odom_from_base)
        self._out["/tf"].publish(TFMessage(transforms=[transform]))
        return stamp_ns

    def _status_of(self, stamp_ns: int) -> LocalizationStatus:
        self.statuses.wait(lambda all_: any(stamp_ns_of(m) == stamp_ns for m in all_), f"status of {stamp_ns}")
        return next(m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns)


def check(status: LocalizationStatus, map_from_base: Pose, sensor: str, candidate: str, within_m: float) -> None:
    assert status.status == LocalizationStatus.OK, status.reason
    assert (status.sensor, status.candidate) == (sensor, candidate)
    assert pose_of(status.pose.pose).distance_to(map_from_base)[0] < within_m


def test_one_map_answers_images_from_the_street_scans_and_images_from_above(ros: Ros, tmp_path: Path) -> None:
    pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
    pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")
    world = make_town()
    by_camera_and_lidar = add_lidar_places(make_landmarks(world), make_scans(world), spacing_m=2.0)
    write_map(add_aerial_tiles(by_camera_and_lidar, make_tiles(world)), tmp_path / "town")
    ros.add(MapServerNode, map=str(tmp_path / "town"))
    robot = Robot(ros, tmp_path / "cache")
    at = on_street(44.3)
    ahead = robot.localize_image(at, "ahead", see(world, at @ BASE_FROM_CAMERA_AHEAD, 77))
    check(ahead, at, "camera", "whole_map", 0.1)
    at = on_street(47.0)
    check(robot.localize_scan(at, drive(world, 47.0, seed=9).scan(0)), at, "lidar", "retrieval/lidar", 0.1)
    # and from above the junction, tilted
    at = Pose.from_rotation_vector([0.06, -0.04, 2.0], [66.0, 62.0, 40.0])
    image = see(world, at @ BASE_FROM_CAMERA_BELOW, 78)
    check(robot.localize_image(at, "below", image), at, "camera", "retrieval/aerial", 1.0)
    # all three lie on Earth
    fixes = robot.fixes.wait(lambda all_: len(all_) == 3, "three fixes")
    for fix, where in zip(fixes, (on_street(44.3), on_street(47.0), at), strict=True):
        found = ON_LANDMARKS.local(fix.latitude, fix.longitude, fix.altitude)
        np.testing.assert_allclose(found, where.translation, atol=1.0)
    # the map server finds the tiles of the image from above, without its attitude
    request = QueryPlaces.Request(image=bgr_message(0, "below", image), places=QueryPlaces.Request.AERIAL_TILES)
    best = ros.call(QueryPlaces, "vloc_map_server/query_places", request).retrieved[0]
    middle = IMAGERY.local(best.latitude, best.longitude)
    np.testing.assert_allclose(middle[:2], at.translation[:2], atol=best.side_m / 2)
