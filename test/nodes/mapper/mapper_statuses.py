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

"""Waiting for what the status of a mapper says."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_session import Inbox

from vloc_msgs.msg import MapperStatus

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_PATIENCE = 8


def seen(status: MapperStatus) -> int:
    """Number of images of which the mapper has said what became."""
    return int(status.keyframes + status.images_not_moved + sum(status.refusal_counts))


def await_end_of_build(statuses: Inbox) -> MapperStatus:
    ended = (MapperStatus.BUILD_SUCCEEDED, MapperStatus.BUILD_FAILED)
    for _ in range(_PATIENCE):  # an inbox waits for half a minute, which a build may take beside other work
        try:
            return statuses.wait(lambda all_: all_[-1].build_state in ended)[-1]
        except AssertionError:
            continue
    raise AssertionError(f"the build did not end: {statuses.messages[-1]}")
