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

"""Large arrays are mapped from a private cache; damaged entries never reach a map."""

from __future__ import annotations

import errno
import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from plane_scene import make_plane_scene

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage import array_cache
from vloc_ros.storage.array_cache import MAPPED_FROM_BYTES, MOST_CACHED_BYTES, cache_folder
from vloc_ros.storage.maps import read_manifest, read_map, write_map


@pytest.fixture(scope="module")
def wall() -> LandmarkMap:
    return make_plane_scene().landmark_map


@pytest.fixture
def folder(wall: LandmarkMap, tmp_path: Path) -> Path:
    write_map(wall, tmp_path / "map")
    return tmp_path / "map"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for arrays of 100 kB and more: the codes of the wall."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(array_cache, "MAPPED_FROM_BYTES", 100_000)
    return tmp_path / "cache/vloc_ros/arrays"


def _is_mapped(array: Array) -> bool:
    while isinstance(array, np.ndarray) and array.base is not None:
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return isinstance(array, np.memmap)


def test_a_large_array_is_mapped_and_a_small_one_is_not(folder: Path, cache: Path, wall: LandmarkMap) -> None:
    for _ in range(2):  # unpacked, then found
        back = read_map(folder)
        assert _is_mapped(back.codes)
        assert type(back.codes) is np.ndarray
        assert not back.codes.flags.writeable
        assert not _is_mapped(back.points)
        np.testing.assert_array_equal(back.codes, wall.codes)
    digest = read_manifest(folder)["arrays"]["codes"]["sha256"]
    assert [p.name for p in cache.iterdir()] == [f"{digest}.values"]
    assert cache.stat().st_mode & 0o077 == 0
    assert (cache / f"{digest}.values").stat().st_mode & 0o077 == 0


def test_usual_maps_do_without_the_cache(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert not _is_mapped(read_map(folder).codes)
    assert not cache.exists()


def test_a_map_that_is_truncated_later_does_no_harm(folder: Path, cache: Path, wall: LandmarkMap) -> None:
    back = read_map(folder)
    for path in folder.glob("codes-*"):
        path.write_bytes(b"")
    for path in cache.iterdir():
        path.unlink()
    np.testing.assert_array_equal(back.codes, wall.codes)
    with pytest.raises(MapError, match="codes"):
        read_map(folder)


def test_an_altered_map_never_reaches_the_cache(folder: Path, cache: Path) -> None:
    (path,) = folder.glob("codes-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(MapError):
        read_map(folder)
    assert not cache.exists() or not list(cache.iterdir())


@pytest.mark.parametrize("damage", ["cut short", "a link", "a folder's"])
def test_a_damaged_entry_is_not_used(folder: Path, cache: Path, wall: LandmarkMap, damage: str, tmp_path: Path) -> None:
    read_map(folder)
    (entry,) = cache.iterdir()
    if damage == "cut short":
        entry.write_bytes(entry.read_bytes()[:-1])
    else:
        whole = entry.read_bytes()
        entry.unlink()
        (tmp_path / "other").write_bytes(whole[::-1])
        entry.symlink_to(tmp_path / "other") if damage == "a link" else entry.mkdir()
    np.testing.assert_array_equal(read_map(folder).codes, wall.codes)


def test_the_least_recently_used_entries_are_removed(
    folder: Path, cache: Path, wall: LandmarkMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_cache, "MOST_CACHED_BYTES", int(1.5 * wall.codes.nbytes))
    read_map(folder)
    (first,) = cache.iterdir()
    abandoned, under_way, foreign = (cache / name for name in (".old.part", ".new.part", "notes.txt"))
    for path in (abandoned, under_way, foreign):
        path.write_bytes(b"x")
    os.utime(abandoned, (0, 0))
    entries = [first]
    for number in range(1, 3):
        os.utime(entries[-1], (time.time() - 10 + number,) * 2)
        write_map(replace(wall, codes=wall.codes ^ np.uint8(number)), tmp_path / f"map{number}")
        read_map(tmp_path / f"map{number}")
        entries += [p for p in cache.glob("*.values") if p not in entries]
    assert sorted(cache.iterdir()) == sorted([*entries[1:], under_way, foreign])


def test_an_array_larger_than_the_bound_stays(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(array_cache, "MOST_CACHED_BYTES", 1)
    with caplog.at_level(logging.WARNING):
        assert _is_mapped(read_map(folder).codes)
    assert not caplog.text
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_a_full_disk_is_told_before_pages_are_mapped(
    folder: Path,
    cache: Path,
    wall: LandmarkMap,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    is_known: bool,
) -> None:
    """Where too little is known to be free, none of it is taken from others for a moment."""
    reserved = []

    def refuse(*_: int) -> None:
        reserved.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    if is_known:
        monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=1, f_frsize=4096))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read_map(folder).codes, wall.codes)
    assert "No space left" in caplog.text
    assert bool(reserved) == (not is_known)
    assert not list(cache.iterdir())


def test_without_a_usable_cache_the_map_is_read_with_a_warning(
    folder: Path, cache: Path, wall: LandmarkMap, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        back = read_map(folder)
    np.testing.assert_array_equal(back.codes, wall.codes)
    assert not _is_mapped(back.codes)
    assert "the map is read into memory" in caplog.text


def test_the_map_server_and_the_check_of_what_was_fetched_use_no_cache(folder: Path, cache: Path) -> None:
    assert not _is_mapped(read_map(folder, mapped=False).codes)
    assert not cache.exists()


def test_an_entry_of_the_right_name_and_size_is_trusted(folder: Path, cache: Path) -> None:
    """The page on security states this, and who may write there."""
    read_map(folder)
    (entry,) = cache.iterdir()
    entry.write_bytes(bytes(entry.stat().st_size))
    assert not read_map(folder).codes.any()


def test_the_page_on_security_states_these_bounds() -> None:
    page = (Path(__file__).parents[2] / "docs/security.md").read_text()
    assert f"arrays of {MAPPED_FROM_BYTES >> 20} MiB and more" in page
    assert f"The most recently used {MOST_CACHED_BYTES >> 30} GiB are kept" in page


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for named, expected in (("/var/fast", "/var/fast/vloc_ros/arrays"), ("not/absolute", None), ("", None)):
        monkeypatch.setenv("XDG_CACHE_HOME", named)
        assert cache_folder() == Path(expected or "/home/somebody/.cache/vloc_ros/arrays")
