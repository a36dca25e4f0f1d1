"""The bond of a managed node: by its heartbeats a nav2 lifecycle manager knows that the node is alive.

Kept as nav2's own nodes keep it (nav2_util::LifecycleNode): while the node is active, on the topic `bond` of its
namespace, under its name. The protocol is bondpy's, which not every robot has.
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

_TOPIC = "bond"
_HEARTBEAT_PERIOD_S = 0.25
# A node does not stop when its manager is silent, as nav2's do not. bondpy has a parameter for that, which it can
# declare but once, and it misses heartbeats where many nodes share the topic.
_HEARTBEAT_TIMEOUT_S = 1e6


class Bond:
    """Heartbeats of a node from `begin` to `end`; none where bondpy is not installed."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._kept: Any = None

    def begin(self) -> bool:
        """Send heartbeats from now on; whether there is a bondpy that does it."""
        try:
            from bondpy import bondpy
        except ModuleNotFoundError as error:
            if error.name != "bondpy":  # it is there, and lacks something
                raise
            return False
        kept = bondpy.Bond(self._node, _TOPIC, self._node.get_name())
        kept.heartbeat_period = _HEARTBEAT_PERIOD_S
        kept.heartbeat_timeout = _HEARTBEAT_TIMEOUT_S
        kept.start()
        self._kept = kept
        return True

    def end(self) -> None:
        """Say that there are no more to come."""
        kept, self._kept = self._kept, None
        if kept is None:
            return
        # bondpy destroys both, and leaves them to the executor, which fails on them
        self._node.destroy_subscription(kept.sub)
        try:
            kept.shutdown()
        except RuntimeError:
            if self._node.context.ok():  # else rclpy was shut down first, as Ctrl-C does, and nobody can be told
                raise
        self._node.destroy_publisher(kept.pub)
