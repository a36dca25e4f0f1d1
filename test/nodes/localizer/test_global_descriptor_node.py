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

"""The localizer node with a global descriptor model: retrieval, and the check of its hash with every map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from graphs import write_encoder
from lifecycle_msgs.msg import Transition
from nodes_world import Wall
from plane_scene import poses
from rclpy.parameter import Parameter
from robot import Robot
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import LoadMap
from vloc_ros.inference.global_descriptors import read_global_descriptor
from vloc_ros.mapping.indexing.global_descriptors import encode_keyframes
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.storage.maps import map_hash, write_map

# as if the map were too large to be searched as a whole
LARGE = {"candidates.whole_map_max_points": 0, "candidates.retrieval_top_k": 4}


@dataclass(frozen=True)
class EncodedMaps:
    """Maps of the wall, encoded by two models.

    Attributes:
        model: folder of the first model.
        by_model: map encoded by it.
        by_other: map encoded by the other model.
    """

    model: Path
    by_model: Path
    by_other: Path


@pytest.fixture(scope="module")
def maps(wall: Wall, tmp_path_factory: pytest.TempPathFactory) -> EncodedMaps:
    folder = tmp_path_factory.mktemp("encoded")
    images = list(enumerate(map(wall.scene.image, poses(8, seed=99))))
    for name, shift in (("model", 0.0), ("other", 1.0)):
        encoder = read_global_descriptor(write_encoder(folder / name, shift=shift))
        write_map(encode_keyframes(wall.scene.landmark_map, images, encoder), folder / "maps" / f"by_{name}")
    return EncodedMaps(folder / "model", folder / "maps" / "by_model", folder / "maps" / "by_other")


def test_retrieval_uses_the_model_also_after_a_parameter_has_changed(ros: Ros, wall: Wall, maps: EncodedMaps) -> None:
    robot = Robot(ros, wall, map=str(maps.by_model), encoder=str(maps.model), **LARGE)
    robot.activate()
    for index, top_k in enumerate((4, 8)):
        (response,) = robot.node.set_parameters([Parameter("candidates.retrieval_top_k", value=top_k)])
        assert response.successful
        status = robot.status_of(robot.send(2 + index))
        assert (status.status, status.candidate) == (LocalizationStatus.OK, "retrieval/model")


def test_a_map_of_another_model_stops_the_configuration(ros: Ros, wall: Wall, maps: EncodedMaps) -> None:
    robot = Robot(ros, wall, map=str(maps.by_other), encoder=str(maps.model))
    reports = ros.collect(DiagnosticArray, "/diagnostics")
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    wanted = f"the encoder has the hash {read_global_descriptor(maps.model).hash[:12]}"
    reports.wait(lambda all_: any(wanted in s.message for m in all_ for s in m.status), "the reason")


def test_a_map_of_another_model_is_not_swapped_in(ros: Ros, wall: Wall, maps: EncodedMaps, tmp_path: Path) -> None:
    ros.add(MapServerNode, autostart=True, map=str(maps.by_model), maps_folder=str(maps.by_model.parent))
    node = ros.add(LocalizerNode, autostart=True, map_cache=str(tmp_path), encoder=str(maps.model), **LARGE)
    ros.until(lambda: node.map_hash == map_hash(maps.by_model))
    faults = ros.collect(DiagnosticArray, "/diagnostics")
    ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name="by_other"))
    faults.wait(lambda all_: any("the encoder has the hash" in s.message for m in all_ for s in m.status), "the reason")
    assert node.map_hash == map_hash(maps.by_model)


def test_an_unused_model_is_a_warning(
    ros: Ros, wall: Wall, maps: EncodedMaps, capfd: pytest.CaptureFixture[str]
) -> None:
    Robot(ros, wall, encoder=str(maps.model)).activate()
    assert "the encoder is not used" in "".join(capfd.readouterr())


def test_the_model_is_fixed_when_the_node_starts(ros: Ros, wall: Wall) -> None:
    (response,) = Robot(ros, wall).node.set_parameters([Parameter("encoder", value="/another/folder")])
    assert not response.successful
    assert response.reason.startswith("encoder is fixed when the node starts")
