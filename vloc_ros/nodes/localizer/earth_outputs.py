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

"""Where a fix is on Earth: `~/fix`, and `~/geo_pose` where geographic_msgs is installed."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import NavSatFix

from vloc_ros.core.geometry.earth_pose import EarthPose
from vloc_ros.nodes.rclpy_support.conversion import geo_pose_stamped, nav_sat_fix

_PACKAGE = "geographic_msgs"


class EarthOutputs:
    """Publishes where fixes are on Earth, until `close`."""

    def __init__(self, node: LifecycleNode, depth: int) -> None:
        self._node, self._kind = node, _find_geo_pose()
        self._fix = node.create_lifecycle_publisher(NavSatFix, "~/fix", depth)
        self._geo_pose = node.create_lifecycle_publisher(self._kind, "~/geo_pose", depth) if self._kind else None

    def publish(self, stamp_ns: int, frame_id: str, earth: EarthPose) -> None:
        """Publish a fix; `frame_id` is that of the body."""
        self._fix.publish(nav_sat_fix(stamp_ns, frame_id, earth))
        if self._geo_pose is not None:
            self._geo_pose.publish(geo_pose_stamped(self._kind, stamp_ns, frame_id, earth))

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._fix, self._geo_pose):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)


def _find_geo_pose() -> Any | None:
    """The type GeoPoseStamped; None where its package is not installed."""
    try:
        from geographic_msgs import msg
    except ModuleNotFoundError as error:
        if error.name != _PACKAGE:  # it is installed, and one of its own imports is missing
            raise
        return None
    return msg.GeoPoseStamped
