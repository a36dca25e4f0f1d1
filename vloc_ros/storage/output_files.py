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

"""Output files: an existing file is replaced only if it is of the same kind."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vloc_ros.core.errors import InputError

_PAGE_STARTS = (b"<!doctype html", b"<html")
_PAGE_START_BYTES = 4096
_RECORDING_START = b"RRF"
_MAX_JSON_BYTES = 64 * 1024 * 1024
_PLY_START = b"ply\n"
_CALIBRATION_KEY, _CALIBRATION_BYTES = b"distortion_model:", 4096


@dataclass(frozen=True, slots=True)
class Output:
    """A file or folder to write.

    Attributes:
        path: path of it.
        replaces: whether an output of the same kind exists there.
    """

    path: Path
    replaces: bool

    def __str__(self) -> str:
        """The message for people after writing."""
        return f"{'replaced' if self.replaces else 'written'}: {self.path}"


def page_at(path: Path) -> Output:
    """Check an HTML file to write: it is new, empty, or an HTML page.

    Raises:
        InputError: the existing file is something else.
    """
    return _file_at(path, "HTML page", _is_page, _PAGE_START_BYTES)


def recording_at(path: Path) -> Output:
    """Check a recording of rerun to write: it is new, empty, or one.

    Raises:
        InputError: the existing file is something else.
    """
    return _file_at(
        path, "rerun recording", lambda content: content.startswith(_RECORDING_START), len(_RECORDING_START)
    )


def calibration_at(path: Path) -> Output:
    """Check a camera_info YAML to write: it is new, empty, or one.

    Raises:
        InputError: the existing file is something else.
    """
    return _file_at(path, "camera_info YAML", lambda content: _CALIBRATION_KEY in content, _CALIBRATION_BYTES)


def json_at(path: Path, *, key: str, rows: bool = False) -> Output:
    """Check a JSON file to write: it is new, empty, or an object with a key that identifies its kind.

    Args:
        path: path of the file.
        key: key that the object has.
        rows: whether it is a list of such objects instead.

    Raises:
        InputError: the existing file is something else, or larger than the output of any command.
    """
    kind = f"JSON file with {'rows of ' if rows else ''}{key!r}"
    return _file_at(path, kind, lambda content: _has_key(content, key, rows=rows), _MAX_JSON_BYTES + 1)


def ply_at(path: Path) -> Output:
    """Check a PLY file to write: it is new, empty, or a PLY file.

    Raises:
        InputError: the existing file is something else.
    """
    return _file_at(path, "PLY file", lambda content: content == _PLY_START, len(_PLY_START))


def _is_page(content: bytes) -> bool:
    return content.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(_PAGE_STARTS)


def _has_key(content: bytes, key: str, *, rows: bool) -> bool:
    """Whether a complete JSON object has a key; with `rows`, whether all objects of a list have it."""
    if len(content) > _MAX_JSON_BYTES:
        return False
    try:
        values = json.loads(content)  # detects the Unicode encoding
    except (ValueError, RecursionError):
        return False
    if isinstance(values, list) != rows:
        return False
    objects = values if rows else [values]
    return bool(objects) and all(isinstance(found, dict) and key in found for found in objects)


def _file_at(path: Path, kind: str, is_kind: Callable[[bytes], bool], read_bytes: int) -> Output:
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a new {kind}; name a file in it")
    if not path.is_file():  # new, or a pipe such as /dev/stdout
        return Output(path, replaces=False)
    with path.open("rb") as file:
        found = file.read(read_bytes)
    if found and not is_kind(found):
        raise InputError(f"{path}: exists and is no {kind}, expected a new file or one to replace; name another")
    return Output(path, replaces=True)
