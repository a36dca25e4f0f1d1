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

"""A lifecycle node whose transitions may fail: it reports the failure and stays in its state."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

from vloc_ros.core.errors import VlocError
from vloc_ros.footprint import find_thread_pools
from vloc_ros.nodes.rclpy_support.graph_watch import GraphWatch

UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = "unconfigured", "inactive", "active", "finalized"
_NO_BOND = "bondpy is not installed, so there is no bond: set bond_timeout of a nav2 lifecycle manager to 0.0"
_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
_BOND_TOPIC = "bond"
_HEARTBEAT_PERIOD_S = 0.25
# Like nav2's nodes, a node does not stop when its manager falls silent. bondpy's parameter for that can be declared
# only once per node, and bondpy misses heartbeats when many nodes share the topic.
_HEARTBEAT_TIMEOUT_S = 1e6


class ManagedNode(LifecycleNode):
    """Base class with `configure`, `activate`, `deactivate` and `cleanup` to override; the last two must not fail."""

    def __init__(self, name: str, **options: Any) -> None:
        find_thread_pools()  # in the thread that makes the node, before it has others
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **options)
        self.state = UNCONFIGURED
        self._alone, self._bond = False, Bond(self)
        self.graph_watch = GraphWatch(self)
        for service in self.services:
            if service.srv_type is ChangeState:
                service.callback = partial(self._on_change_state, service.callback)

    def create_publisher(self, msg_type: Any, topic: str, qos_profile: Any, **options: Any) -> Any:
        """A publisher whose quality of service parameters override."""
        qos_profile, more = self._with_overrides(topic, "publisher", qos_profile)
        return super().create_publisher(msg_type, topic, qos_profile, **(more | options))

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[..., None], qos_profile: Any, **options: Any
    ) -> Any:
        """A subscription whose quality of service parameters override."""
        qos_profile, more = self._with_overrides(topic, "subscription", qos_profile)
        return super().create_subscription(msg_type, topic, callback, qos_profile, **(more | options))

    def create_lifecycle_publisher(self, msg_type: Any, topic: str, qos_profile: Any, **options: Any) -> Any:
        """A publisher of an active node, whose quality of service parameters override."""
        qos_profile, more = self._with_overrides(topic, "publisher", qos_profile)
        return super().create_lifecycle_publisher(msg_type, topic, qos_profile, **(more | options))

    def _with_overrides(self, topic: str, entity: str, qos_profile: Any) -> tuple[Any, dict[str, Any]]:
        """A profile of its own, which rclpy changes, and the option that lets the given parameters override.

        Not others: rclpy would declare them with the values of now, which would override those of a later one.
        """
        given = self.get_parameters_by_prefix(f"qos_overrides.{self.resolve_topic_name(topic)}.{entity}")
        kinds = [kind for kind in _OVERRIDABLE if kind.name.lower() in given]
        if not kinds:
            return qos_profile, {}
        return copy(qos_profile), {"qos_overriding_options": QoSOverridingOptions(kinds)}

    def configure(self) -> None:
        """Create publishers and load files; raises VlocError."""

    def activate(self) -> None:
        """Start working; raises VlocError."""

    def deactivate(self) -> None:
        """Stop working."""

    def cleanup(self) -> None:
        """Undo `configure`, also after it failed half-way."""

    def report_step(self, reason: str) -> None:
        """Report why a transition failed; an empty reason means that it succeeded."""

    def destroy_node(self) -> None:
        """Stop working, then destroy the node."""
        self._bond.end()
        self.deactivate()
        self.cleanup()
        super().destroy_node()

    def start_alone(self) -> None:
        """Configure and activate without a manager, as far as that succeeds."""
        self._alone = True
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()
        if self.state != ACTIVE:
            self.get_logger().error(f"the node stays {self.state}; mend that and start it again, or use its lifecycle")
        self._alone = False

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy."""
        return self._step(self.configure, reached=INACTIVE, undo=self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy."""
        super().on_activate(state)
        result = self._step(self._activate_and_bond, reached=ACTIVE, undo=self.deactivate)
        if result != TransitionCallbackReturn.SUCCESS:
            super().on_deactivate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy."""
        self._bond.end()
        self.deactivate()
        self.state = INACTIVE
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy."""
        self.cleanup()
        self.state = UNCONFIGURED
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy."""
        self._bond.end()
        self.deactivate()
        self.cleanup()
        self.state = FINALIZED
        return TransitionCallbackReturn.SUCCESS

    def _on_change_state(
        self, change: Callable[..., ChangeState.Response], request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        """Refuse a transition that the state does not have: rclpy would end the process by an exception."""
        try:
            return change(request, response)
        except RuntimeError as error:
            step = request.transition.label or request.transition.id
            self.get_logger().warning(f"the node is {self.state}, which has no transition {step}: {error}")
            response.success = False
            return response

    def _activate_and_bond(self) -> None:
        self.activate()
        if not self._alone and not self._bond.begin():
            self.get_logger().info(_NO_BOND)

    def _step(self, step: Callable[[], None], *, reached: str, undo: Callable[[], None]) -> TransitionCallbackReturn:
        reason = ""
        try:
            step()
        except VlocError as error:
            reason = str(error)
            self.get_logger().error(reason)
        except Exception as error:  # rclpy would discard it silently
            reason = f"internal error: {error!r}"
            self.get_logger().fatal(traceback.format_exc())
        self.report_step(reason)
        if reason:
            undo()
            return TransitionCallbackReturn.FAILURE
        self.state = reached
        return TransitionCallbackReturn.SUCCESS


class Bond:
    """Heartbeats of a node from `begin` to `end`; none if bondpy is not installed.

    Heartbeats show a nav2 lifecycle manager that the node is alive. The bond is the same as that of nav2's own nodes
    (nav2_util::LifecycleNode): it exists while the node is active, on the topic `bond` of its namespace, under its
    name.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._bond: Any = None

    def begin(self) -> bool:
        """Start sending heartbeats; return False if bondpy is not installed."""
        try:
            from bondpy import bondpy
        except ModuleNotFoundError as error:
            if error.name != "bondpy":  # bondpy is installed, and one of its own imports is missing
                raise
            return False
        bond = bondpy.Bond(self._node, _BOND_TOPIC, self._node.get_name())
        bond.heartbeat_period = _HEARTBEAT_PERIOD_S
        bond.heartbeat_timeout = _HEARTBEAT_TIMEOUT_S
        bond.start()
        self._bond = bond
        return True

    def end(self) -> None:
        """Stop sending heartbeats and break the bond."""
        bond, self._bond = self._bond, None
        if bond is None:
            return
        # bondpy destroys both without removing them from the node, and the executor then fails on them
        self._node.destroy_subscription(bond.sub)
        try:
            bond.shutdown()
        except RuntimeError:
            if self._node.context.ok():  # otherwise rclpy was shut down first, as Ctrl-C does, and nothing can be sent
                raise
        self._node.destroy_publisher(bond.pub)
