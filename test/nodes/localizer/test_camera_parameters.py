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

from __future__ import annotations

import pytest
import rclpy

from vloc_ros.core.errors import ConfigError
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.cameras import check_cameras, parse_camera_names, parse_extrinsics
from vloc_ros.nodes.localizer.image_input import resolve_image_topics

EXTRINSICS = "0.1 0 0.5 0 0 0 1"


def test_names_are_separated_by_commas() -> None:
    assert parse_camera_names("front, /robot1/rear/ ,left/wide") == ("front", "/robot1/rear", "left/wide")
    assert parse_camera_names(" ") == ()


@pytest.mark.parametrize("text", ["front,,rear", ",", "front camera", "front,1rear", "a//b"])
def test_an_invalid_list_of_namespaces_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="cameras is"):
        parse_camera_names(text)


def test_extrinsics_are_separated_by_semicolons() -> None:
    first, second = parse_extrinsics(f"{EXTRINSICS}; -0.1 0 0.5 0 0 1 0")
    assert (first.translation[0], second.translation[0]) == (0.1, -0.1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cameras": "front,rear", "base_frame": ""}, "base_frame is empty"),
        ({"sensor": "both", "base_frame": ""}, "sensor is both and base_frame is empty"),
        ({"cameras": "front,rear", "base_from_camera": EXTRINSICS}, "has 1 poses, expected one for each of 2 cameras"),
        ({"base_from_camera": f"{EXTRINSICS};{EXTRINSICS}"}, "has 2 poses, expected one for each of 1 cameras"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_cameras(LocalizerNodeConfig(**parameters))


@pytest.mark.parametrize(
    ("cameras", "namespace"),
    [("front,front", "/"), ("front,front/", "/robot1"), ("front,/front", "/"), ("front,/robot1/front", "/robot1")],
)
def test_a_camera_that_is_named_twice_is_refused(cameras: str, namespace: str) -> None:
    with pytest.raises(ConfigError, match="expected each camera once"):
        check_cameras(LocalizerNodeConfig(cameras=cameras), namespace=namespace)


def test_the_same_name_in_another_namespace_is_another_camera() -> None:
    check_cameras(LocalizerNodeConfig(cameras="front,/front,~/front"), namespace="/robot1")


def test_parameters_that_fit_are_taken() -> None:
    for parameters in ({}, {"cameras": "a,b"}, {"cameras": "a,b", "base_from_camera": f"{EXTRINSICS};{EXTRINSICS}"}):
        check_cameras(LocalizerNodeConfig(**parameters))


@pytest.mark.parametrize(
    ("transport", "remap", "message"),
    [
        ("raw", "image:=/camera/image_raw/compressed", "name /camera/image_raw, or set image_transport"),
        ("compressed", "image/compressed:=/camera/image_raw/compressed/compressed", "name /camera/image_raw$"),
    ],
)
def test_a_topic_of_the_other_transport_is_refused(ros_context: None, transport: str, remap: str, message: str) -> None:
    node = rclpy.create_node("cameras", cli_args=["--ros-args", "-r", remap])
    try:
        with pytest.raises(ConfigError, match=message):
            resolve_image_topics(node, LocalizerNodeConfig(image_transport=transport))
    finally:
        node.destroy_node()


def test_topics_of_compressed_images_end_in_compressed_once(ros_context: None) -> None:
    node = rclpy.create_node("cameras", cli_args=["--ros-args", "-r", "front/image/compressed:=/front/raw/compressed"])
    config = LocalizerNodeConfig(image_transport="compressed", cameras="front, rear")
    assert resolve_image_topics(node, config) == ["/front/raw/compressed", "/rear/image/compressed"]
    node.destroy_node()
