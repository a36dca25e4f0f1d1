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

"""Live evaluation of a small bag through real processes and DDS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; `make setup` installs it")

from plane_scene import CAMERA, SceneFolder

from vloc_ros.bags.names import Topics
from vloc_ros.bags.writing import BagWriter
from vloc_ros.cli.main import main
from vloc_ros.core.geometry.pose import Pose

BASE_FROM_CAMERA = Pose.from_rotation_vector([0.1, -1.2, 0.7], [0.2, 0.1, 0.5])
STEP_NS = 400_000_000


@pytest.fixture(scope="module")
def bag(scene_folder: SceneFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live") / "bag"
    with BagWriter(folder, camera=CAMERA, base_from_camera=BASE_FROM_CAMERA) as writer:
        # recordings begin with an image before odometry and truth do: it is played, not scored
        writer.write_image(STEP_NS // 2, scene_folder.scene.image(scene_folder.truth[0]))
        for index, map_from_camera in enumerate(scene_folder.truth, start=1):
            map_from_base = map_from_camera @ BASE_FROM_CAMERA.inverse()
            writer.write_odometry(index * STEP_NS, map_from_base)
            writer.write_truth(index * STEP_NS, map_from_base)
            writer.write_image(index * STEP_NS, scene_folder.scene.image(map_from_camera))
    return folder


@pytest.mark.slow
def test_live_results_are_scored_and_equal_the_offline_ones(
    bag: Path, scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "live.json"
    command = ["evaluate", "--bag", str(bag), "--map", str(scene_folder.map), "--truth-topic", "/truth", "--live"]
    assert main([*command, "--json", str(out)]) == 0, capsys.readouterr().err
    scores = json.loads(out.read_text())
    live = scores["live"]
    assert live["answered"] == live["images"] == len(scene_folder.truth)
    assert (live["played"], scores["left_out"]) == (len(scene_folder.truth) + 1, 1)
    assert scores["accepted"] + live["dropped"] == len(scene_folder.truth)
    assert scores["accepted"] >= 1
    assert live["compared"] == live["tf_compared"] == scores["accepted"]
    assert live["rate_hz"] == pytest.approx(2.5)
    assert live["publish_to_receive_ms"]["p50"] > 0
    assert live["passed"]
    assert scores["false_accepts"] == 0


@pytest.mark.slow
def test_a_robot_with_a_namespace_is_evaluated_live(scene_folder: SceneFolder, tmp_path: Path) -> None:
    """Its transforms are on other topics, and so are those that the nodes publish."""
    topics = Topics(tf="/robot1/tf", tf_static="/robot1/tf_static")
    with BagWriter(tmp_path / "bag", camera=CAMERA, base_from_camera=BASE_FROM_CAMERA, topics=topics) as writer:
        for index, map_from_camera in enumerate(scene_folder.truth, start=1):
            map_from_base = map_from_camera @ BASE_FROM_CAMERA.inverse()
            writer.write_odometry(index * STEP_NS, map_from_base)
            writer.write_truth(index * STEP_NS, map_from_base)
            writer.write_image(index * STEP_NS, scene_folder.scene.image(map_from_camera))
    command = ["evaluate", "--bag", str(tmp_path / "bag"), "--map", str(scene_folder.map), "--truth-topic", "/truth"]
    assert main([*command, "--live", "--tf-topic", "/robot1/tf", "--json", str(tmp_path / "s.json")]) == 0
    live = json.loads((tmp_path / "s.json").read_text())["live"]
    assert live["passed"]
    assert live["tf_compared"] >= 1


def test_a_bag_without_images_is_one_clear_line(scene_folder: SceneFolder, tmp_path: Path) -> None:
    command = ["evaluate", "--bag", str(tmp_path / "none"), "--map", str(scene_folder.map), "--absent", "--live"]
    assert main(command) == 1
