"""Every step of the lifecycle can be repeated without growth."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from nodes_world import Wall
from robot import Robot
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus

CYCLES, SETTLING, MOST_GROWTH_MB = 100, 20, 5.0


def _anonymous_mb() -> float:
    gc.collect()
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, which is Linux's")
def test_a_hundred_cycles_leave_nothing_behind(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    settled = 0.0
    for cycle in range(CYCLES):
        for step in (
            Transition.TRANSITION_CONFIGURE,
            Transition.TRANSITION_ACTIVATE,
            Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP,
        ):
            assert robot.change(step), f"step {step} of cycle {cycle}"
        if cycle == SETTLING:
            settled, entities = _anonymous_mb(), _entities(robot)
    assert _entities(robot) == entities
    assert _anonymous_mb() - settled < MOST_GROWTH_MB
    robot.activate()
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.OK


def _entities(robot: Robot) -> tuple[int, ...]:
    node = robot.node
    return tuple(
        len(list(kind)) for kind in (node.publishers, node.subscriptions, node.clients, node.services, node.timers)
    )
