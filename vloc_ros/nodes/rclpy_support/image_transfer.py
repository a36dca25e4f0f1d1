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

"""How large images reach a node: over UDP with Fast DDS, and reliably where their publishers offer it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

_PROFILE = Path(__file__).with_name("large_images.xml")
# the variable's name until Fast DDS 3 and since
_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
# variables by which the user chooses transports; in Humble the last one restricts them to the loopback interface
_CHOSEN = (*_PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS", "ROS_LOCALHOST_ONLY")
_PERIOD_S = 1.0


def receive_over_udp() -> None:
    """Have Fast DDS receive over UDP in this process, unless the user has chosen transports; before rclpy.init.

    By default it receives from the sender's shared memory, of half a megabyte, in which a larger image overwrites
    itself: of raw 640x480 colour images at 30 Hz a best-effort subscription received 21 to 81 of 120, and transforms of
    the same process were up to 0.9 s late. Over UDP, with a buffer of 4 MB, all arrived.
    """
    if all(os.environ.get(name, "") in ("", "0") for name in _CHOSEN):
        os.environ.update(dict.fromkeys(_PROFILE_VARIABLES, str(_PROFILE)))


class ImageSubscription:
    """A subscription to images until `close`.

    With `auto` it is reliable while all publishers are, so that what was lost is sent again, and else best effort,
    which receives from every publisher. Publishers come later and come back with another QoS: they are looked up every
    second. While there is none, the reliability stays.
    """

    def __init__(
        self, node: Node, kind: Any, topic: str, callback: Callable[[Any], None], *, depth: int, reliability: str
    ) -> None:
        """`reliability` is `auto`, `best_effort` or `reliable`."""
        self._node, self._kind, self._topic, self._callback, self._depth = node, kind, topic, callback, depth
        is_auto = reliability == "auto"
        self.reliability = ReliabilityPolicy.BEST_EFFORT if is_auto else ReliabilityPolicy[reliability.upper()]
        if is_auto:
            self.reliability = self._find_reliability()
        self._subscription = self._subscribe()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_PERIOD_S, self.match_publishers, clock=steady) if is_auto else None

    def match_publishers(self) -> None:
        """Subscribe anew if the publishers offer another reliability than before."""
        reliability = self._find_reliability()
        if reliability != self.reliability:
            self.reliability, former = reliability, self._subscription
            self._subscription = self._subscribe()
            self._node.destroy_subscription(former)

    def close(self) -> None:
        """Unsubscribe."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)

    def _find_reliability(self) -> ReliabilityPolicy:
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(self._topic))
        offered = {publisher.qos_profile.reliability for publisher in publishers}
        if not offered:
            return self.reliability
        return ReliabilityPolicy.RELIABLE if offered == {ReliabilityPolicy.RELIABLE} else ReliabilityPolicy.BEST_EFFORT

    def _subscribe(self) -> Subscription:
        qos = QoSProfile(depth=self._depth, reliability=self.reliability)
        return self._node.create_subscription(self._kind, self._topic, self._callback, qos)
