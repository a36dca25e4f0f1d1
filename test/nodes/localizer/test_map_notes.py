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

"""What a localizer says of a map that it has loaded."""

from __future__ import annotations

import pytest
from aerial_ground import make_landmarks, make_map_of_both, make_tiles

from vloc_ros.core.config import LocalizerConfig, TileConfig
from vloc_ros.node_config import FlightConfig, LocalizerNodeConfig
from vloc_ros.nodes.localizer.map_notes import describe_tiles, explain_unused_sensor, explain_unused_tiles

SEARCHED, LEFT_OUT = LocalizerConfig(), LocalizerConfig(tiles=TileConfig(enabled=False))


def test_tiles_beside_landmarks_need_gravity() -> None:
    without, both = LocalizerNodeConfig(flight=FlightConfig(gravity="none")), make_map_of_both()
    assert "flight.gravity" in explain_unused_tiles(without, SEARCHED, both)
    assert not explain_unused_tiles(LocalizerNodeConfig(), SEARCHED, both)
    assert not explain_unused_tiles(without, SEARCHED, make_tiles()), "they are all that the map has"
    assert not explain_unused_tiles(without, SEARCHED, make_landmarks())
    assert not explain_unused_tiles(without, LEFT_OUT, both)


@pytest.mark.parametrize("gravity", ["odometry", "imu", "none"])
def test_what_images_from_above_are_located_by_is_said(gravity: str) -> None:
    config = LocalizerNodeConfig(flight=FlightConfig(gravity=gravity, altitude="range"), odom_frame="robot1/odom")
    note = describe_tiles(config, SEARCHED, make_tiles(), resolve="/robot1/{}".format)
    assert "75 aerial tiles" in note
    assert ("robot1/odom" in note) is (gravity == "odometry")
    assert "topic /robot1/range" in note
    assert not describe_tiles(config, SEARCHED, make_landmarks(), resolve=str)
    assert not describe_tiles(config, LEFT_OUT, make_map_of_both(), resolve=str)


def test_images_have_an_answer_in_a_map_of_tiles() -> None:
    assert "LiDAR places" in explain_unused_sensor(LocalizerNodeConfig(sensor="both"), make_tiles())
