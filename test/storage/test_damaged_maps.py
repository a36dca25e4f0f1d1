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

"""Every kind of damage to the files of a map is refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from stored_map import array_file, refused

from vloc_ros.core.errors import MapError
from vloc_ros.storage.arrays import encode_array
from vloc_ros.storage.maps import map_files, read_map


def test_no_map(tmp_path: Path) -> None:
    refused(tmp_path, "holds no map")
    refused(tmp_path / "none", "does not exist")


def test_every_truncated_file(folder: Path) -> None:
    for name, size in map_files(folder):
        whole = (folder / name).read_bytes()
        for kept in (0, size // 2, size - 3):
            (folder / name).write_bytes(whole[:kept])
            refused(folder, "cut short|damaged|cannot hold")
        (folder / name).write_bytes(whole)
    read_map(folder)


def test_every_altered_file(folder: Path) -> None:
    for name, size in map_files(folder):
        whole = (folder / name).read_bytes()
        for position in (3, size // 2, size - 6):
            altered = bytearray(whole)
            altered[position] ^= 0x10
            (folder / name).write_bytes(altered)
            with pytest.raises(MapError):
                read_map(folder)
        (folder / name).write_bytes(whole)
    read_map(folder)


def test_every_missing_file(folder: Path) -> None:
    for name, _ in map_files(folder):
        (folder / name).rename(folder / "away")
        refused(folder, "cannot be read|holds no map")
        (folder / "away").rename(folder / name)


def test_a_well_formed_file_with_other_values(folder: Path) -> None:
    values = read_map(folder).points.copy()
    values[3, 1] += 1
    array_file(folder, "points").write_bytes(encode_array("points", values)[1])
    refused(folder, "was altered, its checksum differs")


def test_a_manifest_edited_by_hand(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"kitchen"', '"bathroom"'))
    refused(folder, "was altered, its hash does not fit")


@pytest.mark.parametrize("version", [2, 5, "4", None, 3.5, True])
def test_another_format(folder: Path, version: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))
    refused(folder, "has format version .*, this installation reads 3 and 4; update")


def test_links_and_devices_are_not_followed(folder: Path) -> None:
    path = array_file(folder, "points")
    path.rename(folder.parent / "outside")
    path.symlink_to(folder.parent / "outside")
    refused(folder, "cannot be read")
    path.unlink()
    os.mkfifo(path)
    refused(folder, "no regular file")


def test_a_file_too_large_for_its_array(folder: Path) -> None:
    path = next(folder.glob("points-*.z"))
    os.truncate(path, 2 * 1024**3)
    refused(folder, "has 2147483648 bytes, expected at most")
