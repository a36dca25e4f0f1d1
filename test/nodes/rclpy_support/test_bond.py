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

"""The bond with a lifecycle manager: with bondpy where it is installed, without it, and with a stand-in for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.node import Node
from ros_session import Ros
from std_msgs.msg import Header

from vloc_ros.core.errors import ConfigError
from vloc_ros.nodes.rclpy_support.managed import ManagedNode

CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE


class ActivatableNode(ManagedNode):
    def __init__(self, **options: Any) -> None:
        super().__init__("managed", namespace="/robot", **options)


class FailingNode(ActivatableNode):
    def activate(self) -> None:
        raise ConfigError("activation failed")


class StandIn:
    """The part of bondpy's Bond that a node uses, with a publisher and a subscription that it destroys itself."""

    made: ClassVar[list[StandIn]] = []

    def __init__(self, node: Node, topic: str, id: str) -> None:
        self.given = (node.resolve_topic_name(topic), id)
        self.heartbeat_period = self.heartbeat_timeout = 0.0
        self.started = self.ended = False
        self._node, self._topic = node, topic
        self.pub = node.create_publisher(Header, topic, 1)
        self.made.append(self)

    def start(self) -> None:
        self.sub = self._node.create_subscription(Header, self._topic, lambda _: None, 1)
        self.started = True

    def shutdown(self) -> None:
        self.sub.destroy()
        self.ended = True
        self.pub.publish(Header())
        self.pub.destroy()


@pytest.fixture
def bonds(monkeypatch: pytest.MonkeyPatch) -> list[StandIn]:
    """Install the stand-in; returns the bonds that were made."""
    package, module = ModuleType("bondpy"), ModuleType("bondpy.bondpy")
    package.bondpy, module.Bond = module, StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bondpy", package)
    monkeypatch.setitem(sys.modules, "bondpy.bondpy", module)
    monkeypatch.setattr(StandIn, "made", [])
    return StandIn.made


def request_transitions(ros: Ros, *transitions: int) -> bool:
    """Request one transition after the other, as a manager does; return whether the last one succeeded."""
    responses = [
        ros.call(ChangeState, "/robot/managed/change_state", ChangeState.Request(transition=Transition(id=transition)))
        for transition in transitions
    ]
    return bool(responses[-1].success)


def entities(node: Node) -> tuple[int, int]:
    return len(list(node.publishers)), len(list(node.subscriptions))


def test_without_bondpy_a_node_can_be_managed(ros: Ros, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bondpy", None)
    node = ros.add(ActivatableNode)
    assert request_transitions(ros, CONFIGURE, ACTIVATE)
    assert "/robot/bond" not in [publisher.topic_name for publisher in node.publishers]
    assert request_transitions(ros, DEACTIVATE)


def test_a_bondpy_that_lacks_something_is_no_missing_bondpy(ros: Ros, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bondpy", ModuleType("bondpy"))
    monkeypatch.delitem(sys.modules, "bondpy.bondpy", raising=False)  # an earlier test's, where the real one is there
    ros.add(ActivatableNode)
    assert not request_transitions(ros, CONFIGURE, ACTIVATE)


def test_there_is_a_bond_while_a_managed_node_is_active(ros: Ros, bonds: list[StandIn]) -> None:
    node = ros.add(ActivatableNode)
    assert request_transitions(ros, CONFIGURE)
    before = entities(node)
    assert not bonds
    for number in (1, 2):
        assert request_transitions(ros, ACTIVATE)
        bond = bonds[-1]
        assert (len(bonds), bond.given, bond.started, bond.ended) == (number, ("/robot/bond", "managed"), True, False)
        assert bond.heartbeat_period <= 0.25  # nav2's; its manager takes a node for dead after bond_timeout, 4 s
        assert bond.heartbeat_timeout > 1e5
        assert request_transitions(ros, DEACTIVATE)
        assert bond.ended
        assert entities(node) == before


def test_a_node_that_starts_alone_has_no_bond_until_it_is_managed(ros: Ros, bonds: list[StandIn]) -> None:
    alone = ros.add(ActivatableNode)
    alone.start_alone()
    assert (alone.state, bonds) == ("active", [])
    assert request_transitions(ros, DEACTIVATE, ACTIVATE)
    assert len(bonds) == 1


def test_a_node_that_cannot_be_activated_has_no_bond(ros: Ros, bonds: list[StandIn]) -> None:
    ros.add(FailingNode)
    assert not request_transitions(ros, CONFIGURE, ACTIVATE)
    assert not bonds


@pytest.mark.parametrize("end", [ManagedNode.trigger_shutdown, ManagedNode.destroy_node])
def test_a_bond_ends_with_its_node(ros: Ros, bonds: list[StandIn], end: Callable[[ManagedNode], Any]) -> None:
    node = ActivatableNode()
    node.trigger_configure()
    node.trigger_activate()
    assert not bonds[0].ended
    end(node)
    assert bonds[0].ended


def test_a_bond_cannot_be_ended_when_rclpy_is_gone(bonds: list[StandIn]) -> None:
    context = Context()
    rclpy.init(context=context)
    node = ActivatableNode(context=context)
    node.trigger_configure()
    node.trigger_activate()
    context.shutdown()
    node.destroy_node()
    assert bonds[0].ended


def test_a_manager_receives_heartbeats_until_the_node_is_deactivated(ros: Ros) -> None:
    bondpy = pytest.importorskip("bondpy.bondpy", reason="bondpy is in no registry; a robot may have it")
    node = ros.add(ActivatableNode)
    assert request_transitions(ros, CONFIGURE)
    before = entities(node)
    assert request_transitions(ros, ACTIVATE)
    managers = bondpy.Bond(ros.node, "/robot/bond", "managed")
    managers.start()
    ros.until(lambda: managers.wait_until_formed() and not managers.is_broken())
    assert request_transitions(ros, DEACTIVATE)
    ros.until(managers.is_broken)
    assert entities(node) == before
    ros.node.destroy_subscription(managers.sub)
    managers.shutdown()
    ros.node.destroy_publisher(managers.pub)
