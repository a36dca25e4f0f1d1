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
from pathlib import Path

import pytest

from vloc_ros.core.errors import MapError
from vloc_ros.storage.manifests import MANIFEST, VERSION, manifest_bytes, read_manifest

CONTENT = {"name": "wall", "arrays": {}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "holds no map"),
        (b"", "cut short"),
        (b'{"format"', "cut short"),
        (b"\xff\xfe\x00manifest", "is not a text file"),
        (b"[]", "is not the manifest of a map"),
        (manifest_bytes(CONTENT)[0].replace(b"wall", b"hall"), "was altered"),
        (manifest_bytes(CONTENT)[0].replace(b'"version": %d' % VERSION, b'"version": 99'), "format version 99"),
    ],
)
def test_a_damaged_manifest_is_a_map_error(tmp_path: Path, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / MANIFEST).write_bytes(data)
    with pytest.raises(MapError, match=message):
        read_manifest(tmp_path)


@pytest.mark.parametrize(("name", "remedy"), [("kitchn", "did you mean {}/kitchen?"), ("garden", "check the name")])
def test_a_folder_that_does_not_exist_is_named_with_the_map_beside_it(tmp_path: Path, name: str, remedy: str) -> None:
    for folder in ("kitchen", "kitch"):
        (tmp_path / folder).mkdir()
    (tmp_path / "kitchen" / MANIFEST).write_bytes(manifest_bytes(CONTENT)[0])
    with pytest.raises(MapError) as raised:
        read_manifest(tmp_path / name)
    assert str(raised.value).startswith(f"{tmp_path / name}: does not exist")
    assert remedy.format(tmp_path) in str(raised.value)


def test_a_folder_that_does_not_exist_may_have_no_neighbours(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="does not exist"):
        read_manifest(tmp_path / "gone" / "kitchen")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MANIFEST)
    with pytest.raises(MapError, match="no regular file"):
        read_manifest(tmp_path)


def test_what_is_no_file_or_folder_is_a_map_error(tmp_path: Path) -> None:
    (tmp_path / "map" / MANIFEST).mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for folder, message in ((tmp_path / "map", "cannot be read"), (tmp_path / "file", "is a file and holds no map")):
        with pytest.raises(MapError, match=message):
            read_manifest(folder)
    with pytest.raises(MapError, match="cannot be read"):
        read_manifest(tmp_path / ("long" * 100))


def test_a_manifest_comes_back_with_its_hash(tmp_path: Path) -> None:
    data, digest = manifest_bytes(CONTENT)
    (tmp_path / MANIFEST).write_bytes(data)
    assert read_manifest(tmp_path)["hash"] == digest
