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

"""The diagnostic status of a component of a node, and what it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """As in diagnostic_msgs."""

    OK = 0
    WARN = 1
    ERROR = 2


Finding = tuple[Level, str]


@dataclass(frozen=True, slots=True)
class NodeState:
    """State of a node at the time of a report.

    Attributes:
        state: lifecycle state, such as `active`.
        map_hash: hash of the map in use; empty without a map.
        map_name: name of the map in use; empty without a map.
        topic: topic of the images.
        publishers: number of publishers of the image topic.
        listeners: number of subscribers to the status.
        warnings: what is wrong around the node, whatever its state.
    """

    state: str
    map_hash: str = ""
    map_name: str = ""
    topic: str = "image"
    publishers: int = 0
    listeners: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """Diagnostic status of one component: name, level, message and values."""

    name: str
    level: Level
    text: str
    values: dict[str, object]


def make_status(name: str, findings: list[Finding], values: dict[str, object]) -> ComponentStatus:
    """Return a status from findings, the worst first; that one gives the level."""
    worst_first = sorted(findings, key=lambda finding: -finding[0])
    return ComponentStatus(name, worst_first[0][0], "; ".join(text for _, text in worst_first), values)


def make_idle_status(
    name: str, node_state: NodeState, fault: str, values: dict[str, object], *, warnings: Sequence[str] = ()
) -> ComponentStatus:
    """Return the status of a component that is faulty, or whose node is not active."""
    reason = (Level.ERROR, fault) if fault else (Level.OK, f"not active: {node_state.state}")
    return make_status(name, [reason, *((Level.WARN, warning) for warning in warnings)], values)
