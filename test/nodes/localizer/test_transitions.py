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

"""Every transition of the lifecycle can be repeated without growth of memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nodes_world import Wall
from robot import Robot
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.evaluation.live_processes import Children

# measured: 0.2 MB from the 10th to the 25th cycle, or 5 where the heap has just grown; one map a cycle is 12 MB
CYCLES, SETTLING, MOST_GROWTH_MB = 25, 10, 10.0
STEPS = (
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_CLEANUP,
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, which is Linux's")
def test_many_cycles_do_not_grow_the_memory(ros: Ros, wall: Wall, tmp_path: Path) -> None:
    settled_mb = 0.0
    with Children(os.environ, tmp_path) as children:
        reports = ros.collect(DiagnosticArray, "/diagnostics")
        children.start("localizer", map=str(wall.map), autostart=False)
        reports.wait(lambda all_: len(all_) > 0, "diagnostics")  # discovery is complete
        for cycle in range(CYCLES):
            for step in STEPS:
                request = ChangeState.Request(transition=Transition(id=step))
                assert ros.call(ChangeState, "vloc_localizer/change_state", request).success, (
                    f"step {step} of cycle {cycle}"
                )
            if cycle == SETTLING:
                settled_mb = _anonymous_mb(children.pid("localizer"))
        assert _anonymous_mb(children.pid("localizer")) - settled_mb < MOST_GROWTH_MB


def _anonymous_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1024


def test_a_cycle_destroys_what_it_creates(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    entities = []
    for _ in range(3):
        assert all(robot.change(step) for step in STEPS)
        entities.append(_entities(robot))
    assert entities == [entities[0]] * 3
    robot.activate()
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.OK


def _entities(robot: Robot) -> tuple[int, ...]:
    node = robot.node
    return tuple(
        len(list(kind)) for kind in (node.publishers, node.subscriptions, node.clients, node.services, node.timers)
    )
