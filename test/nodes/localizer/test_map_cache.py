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

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from nodes_world import Wall

from vloc_ros.nodes.localizer import map_cache
from vloc_ros.storage.maps import map_hash


@pytest.mark.parametrize("before", ["nothing", "damaged", "whole"])
def test_a_part_replaces_any_previous_entry(wall: Wall, tmp_path: Path, before: str) -> None:
    digest = map_hash(wall.map)
    entry = tmp_path / digest
    with map_cache.create_part(entry) as part:
        shutil.copytree(wall.map, part, dirs_exist_ok=True)
        if before != "nothing":  # put there by another process while this one fetched
            shutil.copytree(wall.map, entry)
        if before == "damaged":
            (entry / "manifest.json").write_bytes(b"\xff")
        map_cache.install_part(part, entry, digest)
    assert map_cache.is_intact(entry, digest)
    assert list(tmp_path.iterdir()) == [entry]


def test_two_fetches_of_the_same_map_have_a_part_each(tmp_path: Path) -> None:
    with map_cache.create_part(tmp_path / "map") as mine:
        with map_cache.create_part(tmp_path / "map") as theirs:
            assert mine != theirs
        assert mine.is_dir()


def test_the_newest_maps_are_kept_and_other_files_are_not_touched(tmp_path: Path) -> None:
    maps = [tmp_path / (digit * 64) for digit in "0123456789"]
    abandoned, fresh, foreign = tmp_path / ".a.part", tmp_path / ".b.part", tmp_path / "notes"
    for age, folder in enumerate([*reversed(maps), abandoned, foreign]):
        folder.mkdir()
        os.utime(folder, (1e9 - age, 1e9 - age))
    fresh.mkdir()
    map_cache.keep_newest(maps[0])  # the oldest, and in use
    assert set(tmp_path.iterdir()) == {maps[0], *maps[-4:], fresh, foreign}
