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

"""Mistakes that only the ROS graph shows, such as another node with the name of this one."""

from __future__ import annotations

from collections.abc import Iterator

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

_PERIOD_S = 1.0


class GraphWatch:
    """Looks at the graph every second, and logs every finding once as a warning.

    Discovery takes time, so the first look is a period after the start.

    Attributes:
        findings: sentences about what is wrong at present; empty if nothing is.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.findings: tuple[str, ...] = ()
        node.create_timer(_PERIOD_S, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def look(self) -> None:
        """Update the findings, and log the new ones."""
        findings = tuple(self._find())
        for finding in findings:
            if finding not in self.findings:
                self._node.get_logger().warning(finding)
        self.findings = findings

    def _find(self) -> Iterator[str]:
        yield from self._find_namesake()
        yield from self._find_silent_clock()
        yield from self._find_tf_elsewhere()

    def _find_namesake(self) -> Iterator[str]:
        name, namespace = self._node.get_name(), self._node.get_namespace()
        if self._node.get_node_names_and_namespaces().count((name, namespace)) > 1:
            full = self._node.get_fully_qualified_name()
            yield (
                f"another node is named {full}: either may answer {full}/change_state and other services; give one of "
                "them a namespace or another name (a node that was killed is listed for some seconds)"
            )

    def _find_silent_clock(self) -> Iterator[str]:
        topic = self._node.resolve_topic_name("/clock")
        if self._node.get_parameter("use_sim_time").value and not self._node.count_publishers(topic):
            yield (
                f"use_sim_time is set and nobody publishes {topic}: the time of the node stands still; start the "
                "simulation or `ros2 bag play --clock`, or set use_sim_time to false"
            )

    def _find_tf_elsewhere(self) -> Iterator[str]:
        topic = self._node.resolve_topic_name("/tf")
        listens = any(subscription.topic_name == topic for subscription in list(self._node.subscriptions))
        own = sum(publisher.topic_name == topic for publisher in list(self._node.publishers))
        if not listens or self._node.count_publishers(topic) > own:
            return
        others = [name for name, _ in self._node.get_topic_names_and_types() if name.endswith("/tf") and name != topic]
        published = [name for name in sorted(others) if self._node.count_publishers(name)]
        if published:
            yield (
                f"nobody else publishes on {topic}, but somebody on {', '.join(published)}; launch with "
                "namespaced_tf:=true in that namespace, or remap /tf and /tf_static"
            )
