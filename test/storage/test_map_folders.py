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

"""A folder always holds the old map or the new one; one writer at a time; foreign files stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stored_map import contents, make_map

from vloc_ros.core.errors import MapError
from vloc_ros.storage import map_folders, maps
from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.maps import map_files, map_hash, read_map, write_map


def test_writing_over_a_map_sweeps_the_old_arrays(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / ".manifest.json.1.part").write_text("left by a killed build")
    write_map(make_map(seed=1), folder)
    assert set(contents(folder)) == {name for name, _ in map_files(folder)} | {"notes.txt"}
    np.testing.assert_array_equal(read_map(folder).points, make_map(seed=1).points)


def test_a_full_disk_leaves_the_old_map(folder: Path, full_disk: int) -> None:
    before = contents(folder)
    with pytest.raises(StorageError, match="cannot be written"):
        write_map(make_map(seed=1, points=full_disk), folder)
    assert contents(folder) == before


def test_a_full_disk_leaves_no_new_folder(tmp_path: Path, full_disk: int) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_map(make_map(points=full_disk), tmp_path / "map")
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize("writes", range(24))
def test_an_interruption_at_any_moment_leaves_the_old_map(
    folder: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """As at a power cut: left-over files are not removed either."""
    before, write, left = map_hash(folder), maps.write_bytes_atomically, [writes]

    def interrupted(path: Path, data: bytes) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, data)

    monkeypatch.setattr(maps, "write_bytes_atomically", interrupted)
    monkeypatch.setattr(map_folders, "_sweep", lambda _: None)
    names = len(map_files(folder))
    if writes < names:
        with pytest.raises(KeyboardInterrupt):
            write_map(make_map(seed=1), folder)
        assert map_hash(folder) == before
        np.testing.assert_array_equal(read_map(folder).points, make_map().points)
    else:
        write_map(make_map(seed=1), folder)
        np.testing.assert_array_equal(read_map(folder).points, make_map(seed=1).points)


def test_two_writers(folder: Path) -> None:
    with map_folders.lock_map_folder(folder), pytest.raises(StorageError, match="another process is writing"):
        write_map(make_map(), folder)
    write_map(make_map(), folder)


def test_never_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(StorageError, match=r"holds photo\.jpg and no map"):
        write_map(make_map(), tmp_path)
    assert contents(tmp_path) == {"photo.jpg": b"precious"}
    with pytest.raises(StorageError, match="cannot be written"):
        write_map(make_map(), tmp_path / "photo.jpg")


def test_never_over_somebody_elses_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "web page"}')
    with pytest.raises(MapError, match="is not the manifest of a map"):
        write_map(make_map(), tmp_path)
    assert contents(tmp_path) == {"manifest.json": b'{"name": "web page"}'}
