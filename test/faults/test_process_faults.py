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

"""Nodes that are killed or hang, and files that are too large; the nodes are processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from drive import Drive
from fault_rows import FaultRow, count_statuses, seconds_since
from nodes_world import Wall
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import LoadMap
from vloc_ros.evaluation.live_processes import Children
from vloc_ros.nodes.rclpy_support.conversion import stamp_ns_of
from vloc_ros.storage.manifests import MANIFEST
from vloc_ros.storage.maps import map_hash

pytestmark = [pytest.mark.fault, pytest.mark.slow_fault]
_BACK_S = 30.0
_RETRY_S = 1.0
_TWO_GB = 2 * 1024**3
_MOST_GROWTH_MB = 100.0
_HUNG_IMAGES = 60  # more than the QoS depth of the status
LOAD = "vloc_map_server/load_map"


class Victims(Children):
    """Nodes as processes, which tests kill."""

    def signal(self, name: str, number: int) -> None:
        """Send a node a signal."""
        self._children[name].send_signal(number)

    def kill(self, name: str) -> None:
        """Kill a node, as the kernel does when memory is short."""
        self.signal(name, signal.SIGKILL)
        assert self._children[name].wait() == -signal.SIGKILL

    def assert_alive(self, *names: str) -> None:
        """Check that the nodes have not ended."""
        for name in names:
            assert self._children[name].poll() is None, self._obituary(name)

    def peak_mb(self, name: str) -> float:
        """Return the peak memory of a node."""
        status = Path(f"/proc/{self._children[name].pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak is not None
        return int(peak[1]) / 1024


@pytest.fixture
def victims(ros_domain: int, tmp_path: Path) -> Iterator[Victims]:
    """Node processes in the ROS domain of the test."""
    assert os.environ["ROS_DOMAIN_ID"] == str(ros_domain)
    with Victims(os.environ, tmp_path) as victims:
        yield victims


def _start_localizer(victims: Victims, **parameters: str) -> None:
    victims.start("localizer", image_reliability="reliable", **parameters)


def _assert_no_gap(drive: Drive, since: int) -> list[LocalizationStatus]:
    """Check that every image since an index has one status that is no internal error."""
    sent = drive.sent[since:]
    drive.status_of(sent[-1])
    statuses = [s for s in drive.statuses.messages if stamp_ns_of(s) in set(sent)]
    assert Counter(map(stamp_ns_of, statuses)) == Counter(sent)
    assert not any(s.status == LocalizationStatus.INTERNAL_ERROR for s in statuses)
    return statuses


def test_a_localizer_that_is_killed(ros: Ros, wall: Wall, victims: Victims, row: FaultRow) -> None:
    drive = Drive(ros, wall)
    _start_localizer(victims, map=str(wall.map))
    drive.localize_next(retry_s=_RETRY_S, within_s=_BACK_S)
    slowest_s, statuses = 0.0, []
    for _ in range(3):
        since = len(drive.sent)
        drive.warm_up()
        statuses += _assert_no_gap(drive, since)
        drive.send()  # the worker is processing it
        victims.kill("localizer")
        start = time.monotonic()
        _start_localizer(victims, map=str(wall.map))
        drive.localize_next(retry_s=_RETRY_S, within_s=_BACK_S)
        slowest_s = max(slowest_s, seconds_since(start))
        victims.assert_alive("localizer")
    row.record(
        "the localizer is killed (SIGKILL) while it localizes an image, and restarted, three times",
        f"images between the kills: {count_statuses(statuses)}",
        back_s=slowest_s,
        within_s=_BACK_S,
    )


def test_a_map_server_that_is_killed(ros: Ros, wall: Wall, victims: Victims, tmp_path: Path, row: FaultRow) -> None:
    drive = Drive(ros, wall)
    served = {"map": str(wall.map), "maps_folder": str(wall.map.parent)}
    victims.start("map_server", **served)
    _start_localizer(victims, map_cache=str(tmp_path / "cache"))
    drive.localize_next(retry_s=_RETRY_S, within_s=_BACK_S)
    since = len(drive.sent)
    victims.kill("map_server")
    for _ in range(10):
        assert drive.status_of(drive.send().stamp_ns).status == LocalizationStatus.OK
    start = time.monotonic()
    victims.start("map_server", **served)
    for name, folder in (("other", wall.other_map), ("wall", wall.map)):
        _load_map(ros, name)
        _drive_until_map(drive, map_hash(folder))
    drive.localize_next(within_s=_BACK_S)
    seconds = seconds_since(start)
    statuses = _assert_no_gap(drive, since)
    victims.assert_alive("localizer", "map_server")
    row.record(
        "the map server is killed; ten images later it is restarted; load_map loads another map and the first again",
        f"{count_statuses(statuses[:10])} without a map server; both maps were fetched from the new one",
        back_s=seconds,
        within_s=_BACK_S,
    )


def _load_map(ros: Ros, name: str) -> None:
    """Call load_map until there is a response: DDS still lists a killed server for some seconds."""
    client, deadline = ros.node.create_client(LoadMap, LOAD), time.monotonic() + _BACK_S
    responded = threading.Event()
    while not responded.is_set():
        assert time.monotonic() < deadline, "load_map did not respond"
        future = client.call_async(LoadMap.Request(name=name))
        future.add_done_callback(lambda _: responded.set())
        responded.wait(_RETRY_S)
    ros.node.destroy_client(client)


def _drive_until_map(drive: Drive, digest: str) -> None:
    deadline = time.monotonic() + _BACK_S
    while drive.status_of(drive.send().stamp_ns).map_hash != digest:
        assert time.monotonic() < deadline, "the localizer did not take the map"


def test_both_killed_and_the_cache_gone(ros: Ros, wall: Wall, victims: Victims, tmp_path: Path, row: FaultRow) -> None:
    drive, cache = Drive(ros, wall), tmp_path / "cache"
    victims.start("map_server", map=str(wall.map))
    _start_localizer(victims, map_cache=str(cache))
    drive.localize_next(retry_s=_RETRY_S, within_s=_BACK_S)
    victims.kill("map_server")
    victims.kill("localizer")
    shutil.rmtree(cache)
    received = len(drive.statuses.messages)
    _start_localizer(victims, map_cache=str(cache))
    ros.until(lambda: bool(drive.send()) and len(drive.statuses.messages) > received)
    since = len(drive.sent)
    alone = [drive.status_of(drive.send().stamp_ns) for _ in range(5)]
    assert {s.status for s in alone} == {LocalizationStatus.NO_MAP}
    start = time.monotonic()
    victims.start("map_server", map=str(wall.map))
    drive.localize_next(retry_s=_RETRY_S, within_s=_BACK_S)
    seconds = seconds_since(start)
    _assert_no_gap(drive, since)
    victims.assert_alive("localizer", "map_server")
    row.record(
        "map server and localizer are killed and the map cache is deleted; the localizer is started five images "
        "before the map server",
        f"{count_statuses(alone)} until the map server was started",
        back_s=seconds,
        within_s=_BACK_S,
    )


def test_maps_with_files_of_two_gigabytes(
    ros: Ros, wall: Wall, victims: Victims, tmp_path: Path, row: FaultRow
) -> None:
    drive, maps = Drive(ros, wall), tmp_path / "maps"
    for name in ("array", "manifest"):
        shutil.copytree(wall.other_map, maps / name)
    os.truncate(max((maps / "array").iterdir(), key=lambda path: path.stat().st_size), _TWO_GB)
    os.truncate(maps / "manifest" / MANIFEST, _TWO_GB)
    victims.start("map_server", map=str(wall.map), maps_folder=str(maps))
    _start_localizer(victims, map_cache=str(tmp_path / "cache"))
    drive.localize_next(retry_s=_RETRY_S, within_s=_BACK_S)
    since, peak_mb = len(drive.sent), victims.peak_mb("map_server")
    reasons = []
    for name in ("array", "manifest"):
        response = ros.call(LoadMap, LOAD, LoadMap.Request(name=name))
        assert response.result == LoadMap.Response.INVALID_MAP
        assert str(_TWO_GB) in response.message
        reasons.append(response.message.partition(": ")[2])
    grown_mb = victims.peak_mb("map_server") - peak_mb
    assert grown_mb < _MOST_GROWTH_MB
    seconds = drive.localize_next(within_s=_BACK_S)
    _assert_no_gap(drive, since)
    victims.assert_alive("localizer", "map_server")
    row.record(
        "load_map of a map with an array of 2 GB (a sparse file), and of one with a manifest of 2 GB",
        f"2 INVALID_MAP: {'; '.join(reasons)}; the map server's memory grew by less than {_MOST_GROWTH_MB:.0f} MB",
        back_s=seconds,
        within_s=_BACK_S,
    )


def test_a_subscriber_that_hangs(ros: Ros, wall: Wall, victims: Victims, tmp_path: Path, row: FaultRow) -> None:
    drive = Drive(ros, wall)
    victims.start("recorder", out=str(tmp_path / "recording.jsonl"))
    ros.until(lambda: ros.node.count_subscribers("vloc_localizer/status") == 2)
    _start_localizer(victims, map=str(wall.map))
    drive.localize_next(retry_s=_RETRY_S, within_s=_BACK_S)
    since = len(drive.sent)
    victims.signal("recorder", signal.SIGSTOP)
    for _ in range(_HUNG_IMAGES):
        assert drive.status_of(drive.send().stamp_ns).status == LocalizationStatus.OK
    victims.signal("recorder", signal.SIGCONT)
    seconds = drive.localize_next(within_s=_BACK_S)
    statuses = _assert_no_gap(drive, since)
    victims.assert_alive("localizer", "recorder")
    row.record(
        f"a subscriber to status, pose and TF hangs (SIGSTOP) for {_HUNG_IMAGES} images, then continues",
        f"{count_statuses(statuses)} for another subscriber",
        back_s=seconds,
        within_s=_BACK_S,
    )
