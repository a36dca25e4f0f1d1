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

"""More images than the localizer can process, and changes under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest
from drive import Drive, camera_info_message
from fault_rows import FaultRow, count_statuses, seconds_since
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nodes_world import Wall
from plane_scene import CAMERA
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from ros_session import Ros
from sensor_msgs.msg import Image

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import LoadMap
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message
from vloc_ros.storage.maps import map_hash

pytestmark = pytest.mark.fault
_BACK_S = 5.0


@contextmanager
def _driving(drive: Drive, *, rate_hz: float) -> Iterator[None]:
    """Send valid images from another thread at a rate."""
    done = threading.Event()
    failures: list[BaseException] = []

    def drive_on() -> None:
        try:
            while not done.wait(1.0 / rate_hz):
                drive.send()
        except BaseException as error:  # for the test, not the thread
            failures.append(error)

    thread = threading.Thread(target=drive_on)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert not failures


def _await_more(drive: Drive, count: int) -> None:
    """Wait for so many more statuses."""
    already = len(drive.statuses.messages)
    drive.statuses.wait(lambda all_: len(all_) >= already + count, f"{count} more statuses")


@pytest.mark.slow_fault
def test_images_at_a_hundred_hertz(drive: Drive, row: FaultRow) -> None:
    before, start = len(drive.sent), time.monotonic()
    moments = [drive.next_moment() for _ in range(10)]
    images = [drive.good_image(moment) for moment in moments]
    for moment in moments:
        drive.send_odometry(moment)
    beat = threading.Event()
    for number in range(500):
        beat.wait(max(0.0, start + number * 0.01 - time.monotonic()))
        drive.send_image(images[number % len(images)])
    rate_hz = 500 / seconds_since(start)
    statuses = drive.wait_for_statuses()[before:]
    names = {s.status for s in statuses}
    assert LocalizationStatus.OK in names
    assert names <= {LocalizationStatus.OK, LocalizationStatus.HELD, LocalizationStatus.DROPPED}
    assert statuses[-1].images_dropped == sum(s.status == LocalizationStatus.DROPPED for s in statuses)
    assert rate_hz > 50
    row.record(
        f"500 images of ten places in turn, at {rate_hz:.0f} images a second",
        count_statuses(statuses),
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.slow_fault
def test_images_in_4k(drive: Drive, row: FaultRow) -> None:
    large = CAMERA.scaled(3840, 2880)
    before = len(drive.sent)
    for _ in range(3):
        moment = drive.next_moment()
        pixels = cv2.resize(drive.render(moment), (large.width, large.height), interpolation=cv2.INTER_CUBIC)
        drive.send_odometry(moment)
        for _ in range(2):
            drive.send_info(moment, camera_info_message(moment, large))
        drive.send_image(bgr_message(moment.stamp_ns, "camera", pixels))
        drive.wait_for_statuses()
    statuses = drive.wait_for_statuses()[before:]
    assert not any(s.status in (LocalizationStatus.INTERNAL_ERROR, LocalizationStatus.DROPPED) for s in statuses)
    longest_s = max(s.total_time_s for s in statuses)
    row.record(
        f"three images of {large.width}x{large.height}, then small ones again",
        f"{count_statuses(statuses)}, {longest_s:.1f} s for the slowest",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def _set(values: dict[str, object]) -> SetParametersAtomically.Request:
    parameters: list[ParameterMessage] = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
    return SetParametersAtomically.Request(parameters=parameters)


@pytest.mark.slow_fault
def test_parameters_changed_under_load(drive: Drive, row: FaultRow) -> None:
    ros, service = drive.ros, "vloc_localizer/set_parameters_atomically"
    valid = {"matcher.ratio": 0.7, "pose.max_error_px": 7.0}
    invalid: list[dict[str, object]] = [
        {"matcher.ratio": 3.0},
        {"publish_tf": "sideways"},
        {"no_such_parameter": 1},
        {"base_frame": 7},
        {"transform_rate_hz": 10.0},  # read when the node is configured
    ]

    def values() -> list[object]:
        response = ros.call(GetParameters, "vloc_localizer/get_parameters", GetParameters.Request(names=list(valid)))
        return [value.double_value for value in response.values]

    before, first = values(), len(drive.sent)
    with _driving(drive, rate_hz=10.0):
        for wrong in invalid:
            result = ros.call(SetParametersAtomically, service, _set({**valid, **wrong})).result
            assert not result.successful
            assert result.reason
            assert values() == before
            _await_more(drive, 3)
        assert ros.call(SetParametersAtomically, service, _set(valid)).result.successful
        assert values() == list(valid.values())
        _await_more(drive, 3)
    statuses = drive.wait_for_statuses()[first:]
    row.record(
        f"{len(invalid)} requests to change several parameters, each with an invalid value, then a valid one, at ten "
        "images a second",
        "the invalid ones changed nothing and returned a reason, the valid one was applied; "
        f"{count_statuses(statuses)}",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.slow_fault
def test_ten_subscribers_coming_and_going(ros: Ros, drive: Drive, row: FaultRow) -> None:
    kinds = {
        "status": LocalizationStatus,
        "pose": PoseStamped,
        "pose_with_covariance": PoseWithCovarianceStamped,
        "debug_image": Image,
    }
    topics = [f"vloc_localizer/{name}" for name in kinds]
    first, rounds, received = len(drive.sent), 5, 0
    with _driving(drive, rate_hz=10.0):
        for _ in range(rounds):
            boxes = [
                ros.collect(kinds[name], f"vloc_localizer/{name}", 10) for name in [*kinds, *kinds, "status", "pose"]
            ]
            for box in boxes:
                box.wait(lambda all_: len(all_) > 0, "a message to each subscriber")
            _await_more(drive, 3)
            received += len(boxes)
            for subscription in list(ros.node.subscriptions):
                if subscription.topic_name.lstrip("/") in topics and subscription.callback != drive.statuses.put:
                    ros.node.destroy_subscription(subscription)
    statuses = drive.wait_for_statuses()[first:]
    row.record(
        f"ten subscribers to status, poses and debug image come and go {rounds} times, at ten images a second",
        f"all {received} received a message; {count_statuses(statuses)}",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.slow_fault
def test_a_swap_to_another_map_under_load_and_back(
    ros: Ros, wall: Wall, drive_with: Callable[..., Drive], tmp_path: Path, row: FaultRow
) -> None:
    ros.add(MapServerNode, autostart=True, map=str(wall.map), maps_folder=str(wall.map.parent))
    drive = drive_with(map="", map_cache=str(tmp_path))
    drive.await_map(map_hash(wall.map))
    drive.warm_up()
    first, hashes = len(drive.sent), {wall.map.name: map_hash(wall.map), wall.other_map.name: map_hash(wall.other_map)}
    with _driving(drive, rate_hz=10.0):
        for name in ("other", "wall", "other", "wall", "other"):
            assert ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name=name)).result == 0
            drive.statuses.wait(lambda all_, d=hashes[name]: all_[-1].map_hash == d, f"a status with the map {name}")
        assert ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name="wall")).result == 0
        start = time.monotonic()
        drive.statuses.wait(lambda all_: _localized_in(all_, hashes["wall"]), "an image localized in the map")
        back_s = seconds_since(start)
    statuses = drive.wait_for_statuses()[first:]
    assert {s.map_hash for s in statuses if s.status == LocalizationStatus.OK} == {hashes["wall"]}
    drive.recover(within_s=_BACK_S)
    row.record(
        "load_map to a map of another place and back, three times, at ten images a second",
        f"{count_statuses(statuses)}; no image was localized in the map of another place",
        back_s=back_s,
        within_s=_BACK_S,
    )


def _localized_in(statuses: list[LocalizationStatus], digest: str) -> bool:
    return (statuses[-1].status, statuses[-1].map_hash) == (LocalizationStatus.OK, digest)
