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

"""A drone above aerial tiles: sensors that fall silent or say nonsense, a covered lens, another place."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from aerial_ground import TILES_FROM_MAP, hover, make_tiles
from drone import BASE_FROM_CAMERA, Drone
from fault_rows import FaultRow, count_statuses, seconds_since
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.rclpy_support.conversion import pose_of
from vloc_ros.storage.maps import write_map

pytestmark = pytest.mark.fault
OK, HELD = LocalizationStatus.OK, LocalizationStatus.HELD
_BACK_S, _NEAR_M = 5.0, 0.5


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map on disk."""
    folder = tmp_path_factory.mktemp("maps") / "plain"
    write_map(make_tiles(), folder)
    return folder


def _above(step: int, *, y: float = 10.0) -> Pose:
    return hover(-30.0 + 4.0 * step, y, 60.0, yaw=1.0)


def _assert_right(status: LocalizationStatus, pose: Pose) -> None:
    assert status.status == OK, status.reason
    expected = TILES_FROM_MAP @ pose @ BASE_FROM_CAMERA.inverse()
    assert pose_of(status.pose.pose).distance_to(expected)[0] < _NEAR_M


def _recover(drone: Drone, step: int) -> float:
    """Send a good image, and return the seconds until it was localized."""
    start = time.monotonic()
    _assert_right(drone.status_of(drone.send(_above(step))), _above(step))
    return seconds_since(start)


def test_a_range_sensor_that_is_silent_or_says_nonsense(ros: Ros, tiles: Path, row: FaultRow) -> None:
    drone = Drone(ros, map=str(tiles), **{"flight.altitude": "range", "fix_filter.first_confirmations": 1})
    drone.activate()

    def send(step: int, range_m: float | None) -> LocalizationStatus:
        if range_m is not None:
            drone.send_range(range_m)
            ros.until(lambda: drone.has_heard(imu=False, range_m=range_m))
        status = drone.status_of(drone.send(_above(step)))
        _assert_right(status, _above(step))
        return status

    send(0, drone.range_to_ground(TILES_FROM_MAP @ _above(0)))
    ranges = (None, np.nan, np.inf, 0.0, 1e6)
    statuses = [send(1 + k, range_m) for k, range_m in enumerate(ranges)]
    row.record(
        "a drone above aerial tiles whose range sensor is silent, then says NaN, infinity, less than its minimum and "
        "more than its maximum",
        f"the altitude is unknown, and the view is searched in several sizes: {count_statuses(statuses)}",
        back_s=_recover(drone, 6),
        within_s=_BACK_S,
    )


def test_a_covered_lens_and_a_view_of_the_horizon(ros: Ros, tiles: Path, row: FaultRow) -> None:
    drone = Drone(ros, map=str(tiles), **{"fix_filter.first_confirmations": 1})
    drone.activate()
    _recover(drone, 0)
    black = np.zeros((360, 480, 3), np.uint8)
    covered = [drone.status_of(drone.send(_above(1 + k), image=black)) for k in range(3)]
    ahead = hover(-14.0, 10.0, 60.0, yaw=1.0, tilt=(1.5, 0.0))
    horizon = drone.status_of(drone.send(ahead, image=black))
    assert "hardly any ground" in horizon.reason
    row.record(
        "the lens of a drone above aerial tiles is covered for three images, then it looks at the horizon",
        count_statuses([*covered, horizon]),
        back_s=_recover(drone, 5),
        within_s=_BACK_S,
    )


def test_a_drone_that_is_carried_away(ros: Ros, tiles: Path, row: FaultRow) -> None:
    drone = Drone(ros, map=str(tiles))
    drone.activate()
    for step in range(3):
        drone.status_of(drone.send(_above(step)))
    _recover(drone, 3)
    start, statuses = time.monotonic(), list[LocalizationStatus]()
    while not statuses or statuses[-1].status != OK:
        assert len(statuses) < 20, statuses[-1].reason
        pose = _above(4 + len(statuses), y=-40.0)
        # odometry knows nothing of it
        statuses.append(drone.status_of(drone.send(pose, odometry_of=_above(4 + len(statuses)))))
    _assert_right(statuses[-1], pose)
    assert {status.status for status in statuses[:-1]} == {HELD}
    row.record(
        "a drone above aerial tiles is carried 50 m away (kidnapped robot)",
        f"a pose published again with image {len(statuses)}, no wrong pose; {count_statuses(statuses)}",
        back_s=seconds_since(start),
        within_s=10.0,
    )
