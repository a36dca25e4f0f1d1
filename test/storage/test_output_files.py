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

"""A file is written if it is new, empty or of the same kind."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.storage.output_files import json_at, page_at

_BOM = b"\xef\xbb\xbf"


scores_at = functools.partial(json_at, key="queries")
rows_at = functools.partial(json_at, key="encoder", rows=True)


@pytest.mark.parametrize(
    ("at", "content"),
    [
        (page_at, b" <!doctype HTML>"),
        (page_at, _BOM + b"<html>"),
        (scores_at, b'\n{"queries": 1}'),
        (scores_at, _BOM + b'{"a": [1], "queries": []}'),
        (rows_at, b'[{"encoder": "vlad"}, {"encoder": "vlad256"}]'),
    ],
)
def test_files_of_the_kind_and_empty_ones_are_replaced(at, content: bytes, tmp_path: Path) -> None:
    assert not at(tmp_path / "new").replaces
    for old in (content, b""):
        (tmp_path / "old").write_bytes(old)
        assert at(tmp_path / "old").replaces
    with pytest.raises(InputError, match="is a folder, expected a new"):
        at(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # must not block
    assert not at(tmp_path / "pipe").replaces


@pytest.mark.parametrize(
    "content",
    [
        b"[tool.queries]\nline-length = 120\n",
        b"[section]\nkey = 1\n",
        b'{"queries": cut',
        b'{"name": "somebody\'s own"}',
        b'["queries"]',
        b"12",
        b"[" * 100_000,
        _BOM,
        b'{"queries": 1}\xff',
        b" ",
    ],
)
def test_what_is_no_such_json_stays(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(content)
    with pytest.raises(InputError, match=r"pyproject\.toml: exists and is no JSON file with 'queries'"):
        scores_at(tmp_path / "pyproject.toml")


def test_what_is_too_large_for_a_result_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vloc_ros.storage.output_files._MAX_JSON_BYTES", 10)
    (tmp_path / "archive.json").write_bytes(b'{"queries": 1}      and more')  # whose beginning is JSON
    with pytest.raises(InputError, match="exists and is no JSON file"):
        scores_at(tmp_path / "archive.json")


@pytest.mark.parametrize("content", [b'{"encoder": "vlad"}', b"[]", b'[{"encoder": 1}, {}]', b'["encoder"]'])
def test_what_is_no_list_of_such_objects_stays(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_bytes(content)
    with pytest.raises(InputError, match="exists and is no JSON file with rows of 'encoder'"):
        rows_at(tmp_path / "scores.json")
