"""A bag of the mapped wall, and rclpy in a domain of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; `make setup` installs it")

from nodes_world import BASE_FROM_CAMERA, MAP_FROM_ODOM, START_NS, STEP_NS, Wall
from plane_scene import CAMERA, make_plane_scene, poses
from ros_session import Ros

from vloc_ros.bags.writing import BagWriter
from vloc_ros.storage.maps import write_map


@pytest.fixture(scope="session")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Wall:
    folder = tmp_path_factory.mktemp("maps")
    scene = make_plane_scene()
    write_map(scene.landmark_map, folder / "wall")
    write_map(make_plane_scene(seed=5).landmark_map, folder / "other")
    return Wall(scene, poses(6, seed=1), folder / "wall", folder / "other")


@pytest.fixture(scope="session")
def wall_bag(wall: Wall, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags") / "wall"
    with BagWriter(folder, camera=CAMERA, base_from_camera=BASE_FROM_CAMERA) as bag:
        for index, map_from_camera in enumerate(wall.views):
            stamp_ns = START_NS + index * STEP_NS
            map_from_base = map_from_camera @ BASE_FROM_CAMERA.inverse()
            bag.write_odometry(stamp_ns, MAP_FROM_ODOM.inverse() @ map_from_base)
            bag.write_truth(stamp_ns, map_from_base)
            bag.write_image(stamp_ns, wall.scene.image(map_from_camera))
    return folder


@pytest.fixture
def ros(ros_context: None) -> Iterator[Ros]:
    session = Ros()
    yield session
    session.close()
