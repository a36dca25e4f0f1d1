"""Maps that are damaged, foreign or gone, and callers that ask for what is not theirs."""

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
from fault_rows import FaultRow, counted, seconds_since
from nodes_world import Wall
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import GetMapChunk, LoadMap
from vloc_ros.nodes.map_server import MapServerNode
from vloc_ros.storage.manifests import MANIFEST, manifest_bytes
from vloc_ros.storage.maps import map_hash

pytestmark = pytest.mark.fault
_BACK_S = 5.0
CHUNK, LOAD = "map_server/get_map_chunk", "map_server/load_map"


@pytest.fixture
def maps(wall: Wall, tmp_path: Path) -> Path:
    """A folder of maps that a test may spoil: `wall` and `other`."""
    for name, folder in (("wall", wall.map), ("other", wall.other_map)):
        shutil.copytree(folder, tmp_path / "maps" / name)
    return tmp_path / "maps"


def _largest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


def _load(ros: Ros, name: str) -> LoadMap.Response:
    return ros.call(LoadMap, LOAD, LoadMap.Request(name=name))


@pytest.fixture
def served(ros: Ros, drive_with: Callable[..., Drive], maps: Path, tmp_path: Path) -> Drive:
    """A robot that has its map from a map server."""
    ros.add(MapServerNode, autostart=True, map=str(maps / "wall"), maps_folder=str(maps))
    drive = drive_with(map="", map_cache=str(tmp_path / "cache"))
    drive.await_map(map_hash(maps / "wall"))
    drive.warm_up()
    return drive


@pytest.mark.slow_fault
def test_a_file_cut_short_while_the_map_is_fetched(
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
    drive.recovered(within_s=_BACK_S)
    assert not list((tmp_path / "cache").glob(".*"))
    row.record(
        "the map's largest file is cut in half on disk after the map server checked it and before a localizer "
        "fetches it, and is whole again",
        f"{counted(before)}; on /diagnostics: {fault}",
        back_s=seconds_since(start),
        within_s=20.0,
    )


@pytest.mark.slow_fault
def test_a_file_cut_short_and_mended_all_the_time(served: Drive, maps: Path, row: FaultRow) -> None:
    file, done = _largest(maps / "wall"), threading.Event()
    whole, first = file.read_bytes(), len(served.sent)

    def spoil() -> None:
        while not done.is_set():
            file.write_bytes(whole[: len(whole) // 2])
            file.write_bytes(whole)

    spoiling = threading.Thread(target=spoil)
    spoiling.start()
    results: Counter[int] = Counter()
    try:
        while min(results[LoadMap.Response.SUCCESS], results[LoadMap.Response.INVALID_MAP]) < 5:
            results[_load(served.ros, "wall").result] += 1
            assert results.total() < 1000, results
            assert served.status_of(served.send().stamp_ns).map_hash == map_hash(maps / "wall")
    finally:
        done.set()
        spoiling.join()
    assert set(results) == {LoadMap.Response.SUCCESS, LoadMap.Response.INVALID_MAP}
    statuses = served.all_answered()[first:]
    start = time.monotonic()
    assert _load(served.ros, "wall").result == LoadMap.Response.SUCCESS
    served.recovered(within_s=_BACK_S)
    row.record(
        f"{results.total()} load_map of a map of which a file is cut short and mended all the time",
        f"{results[LoadMap.Response.SUCCESS]} SUCCESS, {results[LoadMap.Response.INVALID_MAP]} INVALID_MAP; "
        f"{counted(statuses)}",
        back_s=seconds_since(start),
        within_s=_BACK_S,
    )


def _faults(message: DiagnosticArray) -> str:
    errors = [s.message for s in message.status if s.level == DiagnosticStatus.ERROR]
    return next((text for text in errors if "did not give" in text), "")


def test_maps_that_are_none_of_ours(served: Drive, maps: Path, row: FaultRow) -> None:
    expected = map_hash(maps / "wall")
    seen = {}
    for name, spoil in _SPOILT.items():
        shutil.copytree(maps / "other", maps / name)
        spoil(maps / name)
        answer = _load(served.ros, name)
        assert answer.result == LoadMap.Response.INVALID_MAP, name
        assert answer.message
        seen[name] = answer.message
        assert served.status_of(served.send().stamp_ns).map_hash == expected
    row.record(
        f"load_map of maps that are {', '.join(name.replace('_', ' ') for name in _SPOILT)}, one after the other",
        f"{len(seen)} INVALID_MAP, each with its reason; the map before stays in use",
        back_s=served.recovered(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def _cut_short(folder: Path) -> None:
    os.truncate(_largest(folder), _largest(folder).stat().st_size // 2)


def _altered(folder: Path) -> None:
    data = bytearray(_largest(folder).read_bytes())
    data[len(data) // 2] ^= 1
    _largest(folder).write_bytes(data)


def _rewritten(folder: Path, **changes: Any) -> None:
    """The manifest with some values changed and a hash that fits."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["hash"]
    text, _ = manifest_bytes(manifest | changes)
    (folder / MANIFEST).write_bytes(text)


def _newer(folder: Path) -> None:
    _rewritten(folder, version=99)


def _foreign(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({"image": "floor.pgm", "resolution": 0.05, "origin": [0, 0, 0]}))


def _without_a_file(folder: Path) -> None:
    _largest(folder).unlink()


def _with_files_from_elsewhere(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    arrays = {name: {**entry, "file": "../wall/" + entry["file"]} for name, entry in manifest["arrays"].items()}
    _rewritten(folder, arrays=arrays)


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


_SPOILT = {
    "cut_short": _cut_short,
    "altered": _altered,
    "of_a_newer_format": _newer,
    "of_another_program": _foreign,
    "without_a_file": _without_a_file,
    "with_files_from_elsewhere": _with_files_from_elsewhere,
    "with_a_file_that_is_a_link": _with_a_file_that_is_a_link,
    "with_a_pipe_for_a_file": _with_a_pipe_for_a_file,
    "with_a_pipe_for_a_manifest": _with_a_pipe_for_a_manifest,
}


def test_callers_that_ask_for_what_is_not_theirs(served: Drive, maps: Path, row: FaultRow) -> None:
    secret = maps.parent / "secret"
    secret.write_text("not yours")
    (maps / "link").symlink_to(maps / "other")
    (maps / "inside").mkdir()
    (maps / "inside" / "link").symlink_to(maps / "other")
    names = ["/etc", str(maps / "other"), "..", "../maps/other", "./other", "other/", "other/../other", "link"]
    names += ["inside/link", "", ".", "~", "a" * 4096, "other\n"]
    answers = [_load(served.ros, name) for name in names]
    assert {answer.result for answer in answers} == {LoadMap.Response.INVALID_NAME}
    digest, codes = map_hash(maps / "wall"), GetMapChunk.Response
    files = ["/etc/passwd", str(secret), "../../secret", "..", "", ".", f"./{MANIFEST}", f"../other/{MANIFEST}"]
    for file in files:
        answer = served.ros.call(GetMapChunk, CHUNK, GetMapChunk.Request(map_hash=digest, file=file))
        assert (answer.result, len(answer.data)) == (codes.UNKNOWN_FILE, 0), file
    swapped = _largest(maps / "wall")
    whole = swapped.read_bytes()
    for replace in (swapped.symlink_to, lambda _: os.mkfifo(swapped)):
        swapped.unlink()
        replace(secret)
        answer = served.ros.call(GetMapChunk, CHUNK, GetMapChunk.Request(map_hash=digest, file=swapped.name))
        assert (answer.result, len(answer.data)) == (codes.READ_FAILED, 0)
    swapped.unlink()
    swapped.write_bytes(whole)
    row.record(
        f"{len(names)} load_map and {len(files) + 2} get_map_chunk with absolute paths, `..`, symbolic links, a pipe, "
        "no name and names of 4096 characters",
        f"{len(names)} INVALID_NAME, {len(files)} UNKNOWN_FILE, 2 READ_FAILED, not one byte given",
        back_s=served.recovered(within_s=_BACK_S),
        within_s=_BACK_S,
    )
