"""The bond of a managed node: heartbeats that show a nav2 lifecycle manager that the node is alive.

The bond is the same as that of nav2's own nodes (nav2_util::LifecycleNode): it exists while the node is active, on the
topic `bond` of its namespace, under its name. bondpy implements the protocol; it is not installed on every robot.
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

_TOPIC = "bond"
_HEARTBEAT_PERIOD_S = 0.25
# Like nav2's nodes, a node does not stop when its manager falls silent. bondpy's parameter for that can be declared
# only once per node, and bondpy misses heartbeats when many nodes share the topic.
_HEARTBEAT_TIMEOUT_S = 1e6


class Bond:
    """Heartbeats of a node from `begin` to `end`; none if bondpy is not installed."""

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
        bond = bondpy.Bond(self._node, _TOPIC, self._node.get_name())
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
