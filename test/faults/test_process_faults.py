"""Nodes that are killed, and files that are too large, seen from outside: the nodes are processes."""

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
from fault_rows import FaultRow, counted, seconds_since
from nodes_world import Wall
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import LoadMap
from vloc_ros.evaluation.live_processes import Children
from vloc_ros.nodes.conversion import stamp_ns_of
from vloc_ros.storage.manifests import MANIFEST
from vloc_ros.storage.maps import map_hash

pytestmark = [pytest.mark.fault, pytest.mark.slow_fault]
_BACK_S = 30.0
_RETRY_S = 1.0
_TWO_GB = 2 * 1024**3
_MOST_GROWTH_MB = 100.0
_HUNG_IMAGES = 60  # more than the status keeps for it
LOAD = "map_server/load_map"


class Victims(Children):
    """Nodes as processes, to be killed."""

    def signal(self, name: str, number: int) -> None:
        """Send one a signal."""
        self._children[name].send_signal(number)

    def kill(self, name: str) -> None:
        """End one as the kernel does when memory is short."""
        self.signal(name, signal.SIGKILL)
        assert self._children[name].wait() == -signal.SIGKILL

    def assert_alive(self, *names: str) -> None:
        """None ended."""
        for name in names:
            assert self._children[name].poll() is None, self._obituary(name)

    def peak_mb(self, name: str) -> float:
        """The most memory that one ever held."""
        status = Path(f"/proc/{self._children[name].pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak is not None
        return int(peak[1]) / 1024


@pytest.fixture
def victims(ros_domain: int, tmp_path: Path) -> Iterator[Victims]:
    """In the ROS domain of the test."""
    assert os.environ["ROS_DOMAIN_ID"] == str(ros_domain)
    with Victims(os.environ, tmp_path) as victims:
        yield victims


def _start_localizer(victims: Victims, **parameters: str) -> None:
    victims.start("localizer", image_reliability="reliable", **parameters)


def _assert_no_gap(drive: Drive, since: int) -> list[LocalizationStatus]:
    """Every image from some one on has one status and none is an internal error."""
    sent = drive.sent[since:]
    drive.status_of(sent[-1])
    statuses = [s for s in drive.statuses.messages if stamp_ns_of(s) in set(sent)]
    assert Counter(map(stamp_ns_of, statuses)) == Counter(sent)
    assert not any(s.status == LocalizationStatus.INTERNAL_ERROR for s in statuses)
    return statuses


def test_a_localizer_that_is_killed(ros: Ros, wall: Wall, victims: Victims, row: FaultRow) -> None:
    drive = Drive(ros, wall)
    _start_localizer(victims, map=str(wall.map))
    drive.localized(retry_s=_RETRY_S, within_s=_BACK_S)
    slowest_s, statuses = 0.0, []
    for _ in range(3):
        since = len(drive.sent)
        drive.warm_up()
        statuses += _assert_no_gap(drive, since)
        drive.send()  # the worker has it in hand
        victims.kill("localizer")
        start = time.monotonic()
        _start_localizer(victims, map=str(wall.map))
        drive.localized(retry_s=_RETRY_S, within_s=_BACK_S)
        slowest_s = max(slowest_s, seconds_since(start))
        victims.assert_alive("localizer")
    row.record(
        "the localizer is killed (SIGKILL) with an image in hand and started again, three times",
        f"images of its lives: {counted(statuses)}",
        back_s=slowest_s,
        within_s=_BACK_S,
    )


def test_a_map_server_that_is_killed(ros: Ros, wall: Wall, victims: Victims, tmp_path: Path, row: FaultRow) -> None:
    drive = Drive(ros, wall)
    served = {"map": str(wall.map), "maps_folder": str(wall.map.parent)}
    victims.start("map_server", **served)
    _start_localizer(victims, map_cache=str(tmp_path / "cache"))
    drive.localized(retry_s=_RETRY_S, within_s=_BACK_S)
    since = len(drive.sent)
    victims.kill("map_server")
    for _ in range(10):
        assert drive.status_of(drive.send().stamp_ns).status == LocalizationStatus.OK
    start = time.monotonic()
    victims.start("map_server", **served)
    for name, folder in (("other", wall.other_map), ("wall", wall.map)):
        _load_map(ros, name)
        _drive_until_map(drive, map_hash(folder))
    drive.localized(within_s=_BACK_S)
    seconds = seconds_since(start)
    statuses = _assert_no_gap(drive, since)
    victims.assert_alive("localizer", "map_server")
    row.record(
        "the map server is killed; ten images later it is started again, and load_map goes to another map and back",
        f"{counted(statuses[:10])} without a map server; both maps were taken from the new one",
        back_s=seconds,
        within_s=_BACK_S,
    )


def _load_map(ros: Ros, name: str) -> None:
    """Ask until there is an answer: DDS believes in a server that was killed for some seconds more."""
    client, deadline = ros.node.create_client(LoadMap, LOAD), time.monotonic() + _BACK_S
    answered = threading.Event()
    while not answered.is_set():
        assert time.monotonic() < deadline, "load_map was not answered"
        future = client.call_async(LoadMap.Request(name=name))
        future.add_done_callback(lambda _: answered.set())
        answered.wait(_RETRY_S)
    ros.node.destroy_client(client)


def _drive_until_map(drive: Drive, digest: str) -> None:
    deadline = time.monotonic() + _BACK_S
    while drive.status_of(drive.send().stamp_ns).map_hash != digest:
        assert time.monotonic() < deadline, "the localizer did not take the map"


def test_both_killed_and_the_cache_gone(ros: Ros, wall: Wall, victims: Victims, tmp_path: Path, row: FaultRow) -> None:
    drive, cache = Drive(ros, wall), tmp_path / "cache"
    victims.start("map_server", map=str(wall.map))
    _start_localizer(victims, map_cache=str(cache))
    drive.localized(retry_s=_RETRY_S, within_s=_BACK_S)
    victims.kill("map_server")
    victims.kill("localizer")
    shutil.rmtree(cache)
    heard = len(drive.statuses.messages)
    _start_localizer(victims, map_cache=str(cache))
    ros.until(lambda: bool(drive.send()) and len(drive.statuses.messages) > heard)
    since = len(drive.sent)
    alone = [drive.status_of(drive.send().stamp_ns) for _ in range(5)]
    assert {s.status for s in alone} == {LocalizationStatus.NO_MAP}
    start = time.monotonic()
    victims.start("map_server", map=str(wall.map))
    drive.localized(retry_s=_RETRY_S, within_s=_BACK_S)
    seconds = seconds_since(start)
    _assert_no_gap(drive, since)
    victims.assert_alive("localizer", "map_server")
    row.record(
        "map server and localizer are killed and the cache of maps is deleted; the localizer is started five images "
        "before the map server",
        f"{counted(alone)} until the map server was there",
        back_s=seconds,
        within_s=_BACK_S,
    )


def test_maps_of_two_gigabytes_of_nothing(
    ros: Ros, wall: Wall, victims: Victims, tmp_path: Path, row: FaultRow
) -> None:
    drive, maps = Drive(ros, wall), tmp_path / "maps"
    for name in ("array", "manifest"):
        shutil.copytree(wall.other_map, maps / name)
    os.truncate(max((maps / "array").iterdir(), key=lambda path: path.stat().st_size), _TWO_GB)
    os.truncate(maps / "manifest" / MANIFEST, _TWO_GB)
    victims.start("map_server", map=str(wall.map), maps_folder=str(maps))
    _start_localizer(victims, map_cache=str(tmp_path / "cache"))
    drive.localized(retry_s=_RETRY_S, within_s=_BACK_S)
    since, peak_mb = len(drive.sent), victims.peak_mb("map_server")
    reasons = []
    for name in ("array", "manifest"):
        answer = ros.call(LoadMap, LOAD, LoadMap.Request(name=name))
        assert answer.result == LoadMap.Response.INVALID_MAP
        assert str(_TWO_GB) in answer.message
        reasons.append(answer.message.partition(": ")[2])
    grown_mb = victims.peak_mb("map_server") - peak_mb
    assert grown_mb < _MOST_GROWTH_MB
    seconds = drive.localized(within_s=_BACK_S)
    _assert_no_gap(drive, since)
    victims.assert_alive("localizer", "map_server")
    row.record(
        "load_map of a map with an array of 2 GB (a sparse file), and with a manifest of 2 GB",
        f"2 INVALID_MAP: {'; '.join(reasons)}; the map server's memory grew by less than {_MOST_GROWTH_MB:.0f} MB",
        back_s=seconds,
        within_s=_BACK_S,
    )


def test_a_subscriber_that_hangs(ros: Ros, wall: Wall, victims: Victims, tmp_path: Path, row: FaultRow) -> None:
    drive = Drive(ros, wall)
    victims.start("recorder", out=str(tmp_path / "recording.jsonl"))
    ros.until(lambda: ros.node.count_subscribers("localizer/status") == 2)
    _start_localizer(victims, map=str(wall.map))
    drive.localized(retry_s=_RETRY_S, within_s=_BACK_S)
    since = len(drive.sent)
    victims.signal("recorder", signal.SIGSTOP)
    for _ in range(_HUNG_IMAGES):
        assert drive.status_of(drive.send().stamp_ns).status == LocalizationStatus.OK
    victims.signal("recorder", signal.SIGCONT)
    seconds = drive.localized(within_s=_BACK_S)
    statuses = _assert_no_gap(drive, since)
    victims.assert_alive("localizer", "recorder")
    row.record(
        f"a subscriber to status, pose and TF hangs (SIGSTOP) for {_HUNG_IMAGES} images and goes on",
        f"{counted(statuses)} for another subscriber",
        back_s=seconds,
        within_s=_BACK_S,
    )
