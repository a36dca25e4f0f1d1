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

"""Files appear complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vloc_ros.storage.atomic import StorageError, write_bytes_atomically


def test_writes_and_replaces_making_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_bytes_atomically(path, b"one")
    write_bytes_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_full_disk_leaves_the_old_file_and_no_part(tmp_path: Path, full_disk: int) -> None:
    path = tmp_path / "file.txt"
    write_bytes_atomically(path, b"old")
    with pytest.raises(StorageError, match=r"file\.txt: cannot be written .* nothing was changed"):
        write_bytes_atomically(path, bytes(full_disk + 1))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_interruption_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes_atomically(tmp_path / "file.txt", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file.txt").mkdir()
    with pytest.raises(StorageError, match=r"file\.txt: cannot be written"):
        write_bytes_atomically(tmp_path / "file.txt", b"x")


def test_a_file_as_parent_is_named(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        write_bytes_atomically(tmp_path / "plain" / "file.txt", b"x")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_bytes_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_pipe_is_written_to() -> None:
    reading, writing = os.pipe()
    write_bytes_atomically(Path(f"/dev/fd/{writing}"), b"through")
    assert os.read(reading, 100) == b"through"
    os.close(reading)
    os.close(writing)
