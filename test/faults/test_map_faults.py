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

"""Maps that are damaged, foreign or missing, and requests for files outside the map."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from drive import Drive
from fault_rows import FaultRow, count_statuses, seconds_since
from nodes_world import Wall
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import GetMapChunk, LoadMap
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.storage.manifests import MANIFEST, manifest_bytes
from vloc_ros.storage.maps import map_hash

pytestmark = pytest.mark.fault
_BACK_S = 5.0
CHUNK, LOAD = "vloc_map_server/get_map_chunk", "vloc_map_server/load_map"


@pytest.fixture
def maps(wall: Wall, tmp_path: Path) -> Path:
    """A folder of maps that a test may damage: `wall` and `other`."""
    for name, folder in (("wall", wall.map), ("other", wall.other_map)):
        shutil.copytree(folder, tmp_path / "maps" / name)
    return tmp_path / "maps"


def _largest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


def _load(ros: Ros, name: str) -> LoadMap.Response:
    return ros.call(LoadMap, LOAD, LoadMap.Request(name=name))


@pytest.fixture
def served(ros: Ros, drive_with: Callable[..., Drive], maps: Path, tmp_path: Path) -> Drive:
    """A robot that gets its map from a map server."""
    ros.add(MapServerNode, autostart=True, map=str(maps / "wall"), maps_folder=str(maps))
    drive = drive_with(map="", map_cache=str(tmp_path / "cache"))
    drive.await_map(map_hash(maps / "wall"))
    drive.warm_up()
    return drive


@pytest.mark.slow_fault
def test_a_file_truncated_while_the_map_is_fetched(
    ros: Ros, drive_with: Callable[..., Drive], maps: Path, tmp_path: Path, row: FaultRow
) -> None:
    file = _largest(maps / "wall")
    whole = file.read_bytes()
    ros.add(MapServerNode, autostart=True, map=str(maps / "wall"), maps_folder=str(maps))
    file.write_bytes(whole[: len(whole) // 2])
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    drive = drive_with(map="", map_cache=str(tmp_path / "cache"))
    found = diagnostics.wait(lambda all_: any(_faults(m) for m in all_), "the fault on /diagnostics")
    fault = next(text for text in map(_faults, found) if text)
    before = [drive.status_of(drive.send().stamp_ns) for _ in range(3)]
    assert {s.status for s in before} == {LocalizationStatus.NO_MAP}
    file.write_bytes(whole)
    start = time.monotonic()
    drive.await_map(map_hash(maps / "wall"))
    drive.recover(within_s=_BACK_S)
    assert not list((tmp_path / "cache").glob(".*"))
    row.record(
        "the largest file of the map is truncated on disk after the map server verified it and before a localizer "
        "fetches it, then restored",
        f"{count_statuses(before)}; on /diagnostics: {fault}",
        back_s=seconds_since(start),
        within_s=20.0,
    )


@pytest.mark.slow_fault
def test_a_file_repeatedly_truncated_and_restored(served: Drive, maps: Path, row: FaultRow) -> None:
    file, done = _largest(maps / "wall"), threading.Event()
    whole, first = file.read_bytes(), len(served.sent)

    def damage() -> None:
        while not done.is_set():
            file.write_bytes(whole[: len(whole) // 2])
            file.write_bytes(whole)

    damaging = threading.Thread(target=damage)
    damaging.start()
    results: Counter[int] = Counter()
    try:
        while min(results[LoadMap.Response.SUCCESS], results[LoadMap.Response.INVALID_MAP]) < 5:
            results[_load(served.ros, "wall").result] += 1
            assert results.total() < 1000, results
            assert served.status_of(served.send().stamp_ns).map_hash == map_hash(maps / "wall")
    finally:
        done.set()
        damaging.join()
    assert set(results) == {LoadMap.Response.SUCCESS, LoadMap.Response.INVALID_MAP}
    statuses = served.wait_for_statuses()[first:]
    start = time.monotonic()
    assert _load(served.ros, "wall").result == LoadMap.Response.SUCCESS
    served.recover(within_s=_BACK_S)
    row.record(
        f"{results.total()} load_map of a map of which a file is repeatedly truncated and restored",
        f"{results[LoadMap.Response.SUCCESS]} SUCCESS, {results[LoadMap.Response.INVALID_MAP]} INVALID_MAP; "
        f"{count_statuses(statuses)}",
        back_s=seconds_since(start),
        within_s=_BACK_S,
    )


def _faults(message: DiagnosticArray) -> str:
    errors = [s.message for s in message.status if s.level == DiagnosticStatus.ERROR]
    return next((text for text in errors if "did not send" in text), "")


def test_invalid_maps(served: Drive, maps: Path, row: FaultRow) -> None:
    expected = map_hash(maps / "wall")
    seen = {}
    for name, damage in _DAMAGES.items():
        shutil.copytree(maps / "other", maps / name)
        damage(maps / name)
        response = _load(served.ros, name)
        assert response.result == LoadMap.Response.INVALID_MAP, name
        assert response.message
        seen[name] = response.message
        assert served.status_of(served.send().stamp_ns).map_hash == expected
    row.record(
        f"load_map of maps that are {', '.join(name.replace('_', ' ') for name in _DAMAGES)}, one after the other",
        f"{len(seen)} INVALID_MAP, each with its reason; the previous map stays in use",
        back_s=served.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def _truncate(folder: Path) -> None:
    os.truncate(_largest(folder), _largest(folder).stat().st_size // 2)


def _alter(folder: Path) -> None:
    data = bytearray(_largest(folder).read_bytes())
    data[len(data) // 2] ^= 1
    _largest(folder).write_bytes(data)


def _rewrite_manifest(folder: Path, **changes: Any) -> None:
    """Change values of the manifest, with a valid hash."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["hash"]
    text, _ = manifest_bytes(manifest | changes)
    (folder / MANIFEST).write_bytes(text)


def _set_newer_version(folder: Path) -> None:
    _rewrite_manifest(folder, version=99)


def _write_foreign_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({"image": "floor.pgm", "resolution": 0.05, "origin": [0, 0, 0]}))


def _without_a_file(folder: Path) -> None:
    _largest(folder).unlink()


def _with_files_of_another_map(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    arrays = {name: {**entry, "file": "../wall/" + entry["file"]} for name, entry in manifest["arrays"].items()}
    _rewrite_manifest(folder, arrays=arrays)


def _with_a_file_that_is_a_link(folder: Path) -> None:
    file = _largest(folder)
    file.rename(folder.parent / "linked")
    file.symlink_to(folder.parent / "linked")


def _with_a_pipe_for_a_file(folder: Path) -> None:
    file = _largest(folder)
    file.unlink()
    os.mkfifo(file)


def _with_a_pipe_for_a_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)


_DAMAGES = {
    "truncated": _truncate,
    "altered": _alter,
    "of_a_newer_format": _set_newer_version,
    "of_another_program": _write_foreign_manifest,
    "without_a_file": _without_a_file,
    "with_files_of_another_map": _with_files_of_another_map,
    "with_a_file_that_is_a_link": _with_a_file_that_is_a_link,
    "with_a_pipe_for_a_file": _with_a_pipe_for_a_file,
    "with_a_pipe_for_a_manifest": _with_a_pipe_for_a_manifest,
}


def test_requests_for_files_outside_the_map(served: Drive, maps: Path, row: FaultRow) -> None:
    secret = maps.parent / "secret"
    secret.write_text("secret")
    (maps / "link").symlink_to(maps / "other")
    (maps / "inside").mkdir()
    (maps / "inside" / "link").symlink_to(maps / "other")
    names = ["/etc", str(maps / "other"), "..", "../maps/other", "./other", "other/", "other/../other", "link"]
    names += ["inside/link", "", ".", "~", "a" * 4096, "other\n"]
    responses = [_load(served.ros, name) for name in names]
    assert {response.result for response in responses} == {LoadMap.Response.INVALID_NAME}
    digest, codes = map_hash(maps / "wall"), GetMapChunk.Response
    files = ["/etc/passwd", str(secret), "../../secret", "..", "", ".", f"./{MANIFEST}", f"../other/{MANIFEST}"]
    for file in files:
        response = served.ros.call(GetMapChunk, CHUNK, GetMapChunk.Request(map_hash=digest, file=file))
        assert (response.result, len(response.data)) == (codes.UNKNOWN_FILE, 0), file
    swapped = _largest(maps / "wall")
    whole = swapped.read_bytes()
    for replace in (swapped.symlink_to, lambda _: os.mkfifo(swapped)):
        swapped.unlink()
        replace(secret)
        response = served.ros.call(GetMapChunk, CHUNK, GetMapChunk.Request(map_hash=digest, file=swapped.name))
        assert (response.result, len(response.data)) == (codes.READ_FAILED, 0)
    swapped.unlink()
    swapped.write_bytes(whole)
    row.record(
        f"{len(names)} load_map and {len(files) + 2} get_map_chunk with absolute paths, `..`, symbolic links, a pipe, "
        "no name and names of 4096 characters",
        f"{len(names)} INVALID_NAME, {len(files)} UNKNOWN_FILE, 2 READ_FAILED, no byte sent",
        back_s=served.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )
