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

"""What a user should know of a map that a localizer has loaded."""

from __future__ import annotations

from collections.abc import Callable

from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.localization.scan_places import find_scan_index
from vloc_ros.core.localization.tile_places import find_tile_index
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.tile_encoder import AERIAL
from vloc_ros.core.tracking.moving_camera import MovingCamera
from vloc_ros.node_config import LocalizerNodeConfig


def explain_unused_sensor(config: LocalizerNodeConfig, landmark_map: LandmarkMap) -> str:
    """Why one of two sensors has no answer in a map; empty where both have, or there is one sensor."""
    if config.sensor != "both":
        return ""
    if find_scan_index(landmark_map) is None:
        return f"the map {landmark_map.name} has no LiDAR places: scans are refused; add some with `vloc map lidar`"
    return ""


def describe_moving_camera(
    config: LocalizerNodeConfig, moving_camera: MovingCamera | None, *, resolve: Callable[[str], str]
) -> str:
    """How images are localized in a map of LiDAR places alone; empty in any other map."""
    if moving_camera is None:
        return ""
    return (
        f"the map has no landmarks: images on {resolve('image')} are localized by clouds, the first "
        f"after {moving_camera.due_m:g} m, with odometry by frame {config.odom_frame}"
    )


def explain_unused_tiles(config: LocalizerNodeConfig, core: LocalizerConfig, landmark_map: LandmarkMap) -> str:
    """Why aerial tiles beside landmarks are not searched; empty where they are, or `tiles.enabled` leaves them out."""
    if not core.tiles.enabled or find_tile_index(landmark_map) is None:
        return ""
    if not len(landmark_map.points) or config.flight.gravity != "none":
        return ""
    return (
        f"the aerial tiles of the map {landmark_map.name} are not used: beside landmarks they need gravity, and "
        "flight.gravity is none; set it to odometry or imu"
    )


def describe_tiles(
    config: LocalizerNodeConfig, core: LocalizerConfig, landmark_map: LandmarkMap, *, resolve: Callable[[str], str]
) -> str:
    """What images from above are located by; empty where no tiles are searched. `resolve` names topics in full."""
    if not core.tiles.enabled or find_tile_index(landmark_map) is None:
        return ""
    by = {"odometry": f"frame {config.odom_frame}", "none": "nothing"}
    by |= {name: f"topic {resolve(name)}" for name in ("imu", "range")}
    gravity, altitude = by[config.flight.gravity], by[config.flight.altitude]
    return f"{landmark_map.item_count(AERIAL)} aerial tiles; gravity by {gravity}, altitude by {altitude}"


def explain_arbitrary_frame(landmark_map: LandmarkMap) -> str:
    """Which scenes lie in the map as images alone chose it, so that their z axis is not up; empty where none does."""
    scenes = [scene.frame_id for scene in landmark_map.scenes if scene.frame_is_arbitrary]
    if not scenes:
        return ""
    return (
        f"frame {', '.join(scenes)} of map {landmark_map.name} was chosen by images alone, its z axis is not up; "
        "`vloc map align` or `vloc map georeference` gives it one that is level"
    )
