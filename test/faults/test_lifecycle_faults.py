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

"""The sequence of nav2's lifecycle manager, beside nav2's own map server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from drive import Drive
from fault_rows import FaultRow, count_statuses
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nodes_world import Wall
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from ros_session import Ros
from std_srvs.srv import Trigger

from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import stamp_ns_of
from vloc_ros.storage.maps import map_hash

pytestmark = pytest.mark.fault
_BACK_S = 10.0
_NODES = ("map_server", "vloc_map_server", "vloc_localizer")
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP


class Nav2MapServer(LifecycleNode):
    """Stand-in for nav2's map server: its name, and its service `load_map` of another type."""

    def __init__(self, **options: object) -> None:
        super().__init__("map_server", **options)
        self.create_service(Trigger, "~/load_map", lambda _, response: response)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS


class Manager:
    """Stand-in for nav2's lifecycle manager: it brings all nodes to a state, one after the other and step by step."""

    def __init__(self, ros: Ros) -> None:
        self._ros = ros

    def startup(self) -> None:
        self._change(_NODES, CONFIGURE, State.PRIMARY_STATE_INACTIVE)
        self._change(_NODES, ACTIVATE, State.PRIMARY_STATE_ACTIVE)

    def pause(self) -> None:
        self._change(_NODES[::-1], DEACTIVATE, State.PRIMARY_STATE_INACTIVE)

    def resume(self) -> None:
        self._change(_NODES, ACTIVATE, State.PRIMARY_STATE_ACTIVE)

    def reset(self) -> None:
        self._change(_NODES[::-1], DEACTIVATE, State.PRIMARY_STATE_INACTIVE)
        self._change(_NODES[::-1], CLEANUP, State.PRIMARY_STATE_UNCONFIGURED)

    def _change(self, names: Sequence[str], transition: int, reached: int) -> None:
        for name in names:
            request = ChangeState.Request(transition=Transition(id=transition))
            assert self._ros.call(ChangeState, f"{name}/change_state", request).success, name
            state = self._ros.call(GetState, f"{name}/get_state", GetState.Request()).current_state
            assert state.id == reached, (name, state.label)


def test_a_lifecycle_manager_of_nav2(ros: Ros, wall: Wall, tmp_path: Path, row: FaultRow) -> None:
    drive, manager = Drive(ros, wall), Manager(ros)
    ros.add(Nav2MapServer)
    ros.add(MapServerNode, autostart=False, map=str(wall.map))
    values = {"map_cache": str(tmp_path), "image_reliability": "reliable", "image_depth": 1000}
    node = drive.node = ros.add(LocalizerNode, autostart=False, **values)
    digest, localized = map_hash(wall.map), []
    for step in (lambda: None, lambda: (manager.pause(), manager.resume()), manager.reset):
        step()
        if node.state != "active":
            manager.startup()
        drive.await_listener()
        drive.await_map(digest)
        drive.localize_next()
        localized.append(drive.statuses.messages[-1])
    assert not node.graph_watch.findings
    assert Counter(map(stamp_ns_of, drive.wait_for_statuses())) == Counter(drive.sent)
    row.record(
        "a stand-in for nav2's lifecycle manager starts, pauses, resumes, resets and starts the nodes, among them "
        "another node `/map_server` with a service `load_map` of another type",
        f"every transition succeeds; an image after each start: {count_statuses(localized)}",
        back_s=drive.localize_next(within_s=_BACK_S),
        within_s=_BACK_S,
    )
