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
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import GetState
from nodes_world import Wall
from robot import Robot
from ros_session import Ros
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support import graph_watch


def test_another_node_of_the_same_name_is_reported_until_it_leaves(ros: Ros, wall: Wall) -> None:
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    node = ros.add(LocalizerNode, autostart=False, **{"diagnostics.period_s": 0.05})

    def level() -> bytes:
        statuses = diagnostics.messages[-1].status
        return next(status.level for status in statuses if status.name == "vloc_localizer: localization")

    diagnostics.wait(lambda all_: len(all_) > 0, "diagnostics")
    assert node.graph_watch.findings == ()
    stranger = rclpy.create_node("vloc_localizer")
    try:
        ros.until(lambda: level() == DiagnosticStatus.WARN)
        assert "another node is named /vloc_localizer" in node.graph_watch.findings[0]
    finally:
        stranger.destroy_node()
    ros.until(lambda: level() == DiagnosticStatus.OK)


def test_a_node_of_that_name_in_another_namespace_is_none_of_its_business(ros: Ros, wall: Wall) -> None:
    node = ros.add(MapServerNode, autostart=False)
    namesake, twin = rclpy.create_node("vloc_map_server", namespace="/robot2"), rclpy.create_node("map_server")
    try:
        ros.until(
            lambda: {("vloc_map_server", "/robot2"), ("map_server", "/")} <= set(node.get_node_names_and_namespaces())
        )
        node.graph_watch.look()
        assert node.graph_watch.findings == ()
    finally:
        namesake.destroy_node()
        twin.destroy_node()


def test_a_finding_is_logged_once(ros: Ros, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    node = rclpy.create_node("alone")
    lines: list[str] = []
    monkeypatch.setattr(node.get_logger(), "warning", lines.append)
    watch = graph_watch.GraphWatch(node)
    monkeypatch.setattr(watch, "_find", lambda: iter(["a mistake"]))
    watch.look()
    watch.look()
    node.destroy_node()
    assert lines == ["a mistake"]


def test_both_nodes_live_beside_those_of_nav2(ros: Ros, wall: Wall) -> None:
    """nav2's map server has the name /map_server, and a service load_map of another type below it."""
    nav2 = rclpy.create_node("map_server")
    nav2.create_service(GetState, "~/load_map", lambda request, response: response)
    try:
        served = ros.add(MapServerNode, map=str(wall.map))
        localizer = ros.add(LocalizerNode, map_cache=str(wall.map.parent / "cache"))
        ros.until(lambda: localizer.map_hash != "")
        ros.until(lambda: "map_server" in {name for name, _ in served.get_node_names_and_namespaces()})
        kinds = dict(served.get_service_names_and_types())
        assert kinds["/map_server/load_map"] == ["lifecycle_msgs/srv/GetState"]
        assert kinds["/vloc_map_server/load_map"] == ["vloc_msgs/srv/LoadMap"]
        for node in (served, localizer):
            node.graph_watch.look()
            assert node.graph_watch.findings == ()
    finally:
        nav2.destroy_node()


def test_simulated_time_that_nobody_publishes_is_reported(ros: Ros, wall: Wall) -> None:
    node = ros.add(MapServerNode, autostart=False, use_sim_time=True)
    node.graph_watch.look()
    assert "nobody publishes /clock" in node.graph_watch.findings[0]
    ros.node.create_publisher(Clock, "/clock", 1)
    ros.until(lambda: node.count_publishers("/clock") > 0)
    node.graph_watch.look()
    assert node.graph_watch.findings == ()


def test_tf_of_another_namespace_is_reported_while_there_is_none_of_its_own(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    ros.node.create_publisher(TFMessage, "/robot1/tf", 10)
    ros.until(lambda: robot.node.count_publishers("/robot1/tf") == 1)
    robot.node.graph_watch.look()
    assert robot.node.graph_watch.findings == (), "the test publishes on /tf"
    ros.node.destroy_publisher(robot._tf)
    ros.until(lambda: robot.node.count_publishers("/tf") == 1)
    robot.node.graph_watch.look()
    assert "/robot1/tf; launch with namespaced_tf:=true" in robot.node.graph_watch.findings[0]
