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

"""A bag of the mapped wall."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; `make setup` installs it")

from nodes_world import BASE_FROM_CAMERA, MAP_FROM_ODOM, START_NS, STEP_NS, Wall
from plane_scene import CAMERA

from vloc_ros.bags.writing import BagWriter


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
