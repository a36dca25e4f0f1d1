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

"""The mapped wall and a robot in front of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from plane_scene import PlaneScene

from vloc_ros.core.geometry.pose import Pose

BASE_FROM_CAMERA = Pose.from_rotation_vector([0.1, -1.2, 0.7], [0.2, 0.1, 0.5])
MAP_FROM_ODOM = Pose.from_rotation_vector([0.0, 0.0, 0.3], [1.0, 2.0, 0.1])
STEP_NS = 200_000_000
START_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class Wall:
    """The mapped wall, its map on disk, and views of it with their true poses."""

    scene: PlaneScene
    views: list[Pose]
    map: Path
    other_map: Path
