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

"""The SROS2 policy grants what the running nodes have, and nothing more."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from nodes_world import Wall
from rclpy.node import Node
from ros_session import Ros

from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.mapper.node import MapperNode

POLICY = Path(__file__).resolve().parents[2] / "config" / "sros2" / "policies.xml"
KINDS = {
    ("topics", "publish"): Node.get_publisher_names_and_types_by_node,
    ("topics", "subscribe"): Node.get_subscriber_names_and_types_by_node,
    ("services", "reply"): Node.get_service_names_and_types_by_node,
    ("services", "request"): Node.get_client_names_and_types_by_node,
}
Grants = set[tuple[str, str]]
NUMBERS = itertools.count()
FLIGHT = {("subscribe", "imu"), ("subscribe", "range")}


def list_grants(node: Node) -> Grants:
    """Return what the enclave of a node allows: publish, subscribe, reply or request, and the full name."""
    name = node.get_name()
    (profile,) = ET.parse(POLICY).findall(f".//profile[@node='{name}']")
    assert (profile.get("ns"), profile.get("node")) == ("/", name)
    granted: Grants = set()
    for rules in profile:
        ((qualifier, value),) = rules.attrib.items()
        assert (value, (rules.tag, qualifier) in KINDS) == ("ALLOW", True)
        granted |= {(qualifier, _full_name(str(rule.text), node)) for rule in rules}
    return granted


def _full_name(text: str, node: Node) -> str:
    # the namespace stands for the policy's own, /
    return text if text.startswith("/") else f"{node.get_namespace()}/{text.replace('~', node.get_name())}"


def list_used(node: Node) -> Grants:
    """Return the topics and services of a running node, in the same form."""
    return {
        (qualifier, name)
        for (_, qualifier), names_of in KINDS.items()
        for name, _ in names_of(node, node.get_name(), node.get_namespace())
    }


def assert_granted(ros: Ros, make: Any, *, unused: Grants, **parameters: Any) -> None:
    """Start a node in a namespace of its own, where no node of an earlier test is still discovered."""
    node = ros.add(partial(make, namespace=f"/robot{next(NUMBERS)}"), **({"use_sim_time": True} | parameters))
    assert node.state == "active"
    # a node without a manager has no bond
    unused = unused | {("publish", "bond"), ("subscribe", "bond")}
    if make is LocalizerNode and not find_spec("geographic_msgs"):
        unused = unused | {("publish", "~/geo_pose")}
    left = {(qualifier, _full_name(text, node)) for qualifier, text in unused}
    if not node.has_parameter("start_type_description_service"):  # since Jazzy
        left.add(("reply", _full_name("~/get_type_description", node)))
    had, granted = list_used(node), list_grants(node)
    assert had - granted == set(), "the policy does not grant what the node needs"
    assert granted - had == left, "the policy grants more than the node needs"


@pytest.mark.parametrize(
    ("parameters", "unused"),
    [
        ({}, {("subscribe", "image/compressed"), ("subscribe", "points")} | FLIGHT),
        (
            {"image_transport": "compressed", "flight.gravity": "imu", "flight.altitude": "range"},
            {("subscribe", "image"), ("subscribe", "points")},
        ),
        (
            {"use_sim_time": False, "sensor": "both"},
            {("subscribe", "image/compressed"), ("subscribe", "/clock")} | FLIGHT,
        ),
        (
            {"publish_tf": "none", "base_frame": "", "sensor": "lidar"},
            {("subscribe", "image"), ("subscribe", "image/compressed"), ("subscribe", "camera_info")} | FLIGHT,
        ),
    ],
)
def test_the_localizer_is_granted_what_it_uses(ros: Ros, parameters: dict[str, Any], unused: Grants) -> None:
    assert_granted(ros, LocalizerNode, unused=unused, **parameters)


def test_a_map_of_its_own_needs_no_server(ros: Ros, wall: Wall) -> None:
    from_the_server = {("subscribe", "vloc_map_server/map_info"), ("request", "vloc_map_server/get_map_chunk")}
    unused = from_the_server | {("subscribe", "image/compressed"), ("subscribe", "points")} | FLIGHT
    assert_granted(ros, LocalizerNode, unused=unused, map=str(wall.map))


@pytest.mark.parametrize(("use_sim_time", "unused"), [(True, set()), (False, {("subscribe", "/clock")})])
def test_the_map_server_is_granted_what_it_uses(ros: Ros, wall: Wall, use_sim_time: bool, unused: Grants) -> None:
    assert_granted(ros, MapServerNode, unused=unused, use_sim_time=use_sim_time, map=str(wall.map))


@pytest.mark.parametrize(
    ("parameters", "unused"),
    [
        ({}, {("subscribe", "image/compressed"), ("subscribe", "odom")}),
        (
            {"image_transport": "compressed", "map_server": "", "odometry": "topic"},
            {("subscribe", "image"), ("request", "vloc_map_server/load_map")},
        ),
    ],
)
def test_the_mapper_is_granted_what_it_uses(
    ros: Ros, tmp_path: Path, parameters: dict[str, Any], unused: Grants
) -> None:
    folders = {"recordings_folder": str(tmp_path / "recordings"), "maps_folder": str(tmp_path / "maps")}
    assert_granted(ros, MapperNode, unused=unused, **folders, **parameters)


def test_every_enclave_is_that_of_a_node() -> None:
    paths = [enclave.get("path") for enclave in ET.parse(POLICY).iter("enclave")]
    assert paths == ["/vloc_ros/localizer", "/vloc_ros/map_server", "/vloc_ros/mapper"]
