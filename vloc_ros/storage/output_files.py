"""Files that are written as a whole: what is there is replaced only by its like, and then it is said."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vloc_ros.core.errors import InputError

_PAGE_STARTS = (b"<!doctype html", b"<html")
_PAGE_LOOKED_AT_BYTES = 4096
_JSON_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Output:
    """A file or folder to write.

    Attributes:
        path: where.
        replaces: whether something of the kind was there before.
    """

    path: Path
    replaces: bool

    def __str__(self) -> str:
        """For people, when it is done."""
        return f"{'replaced' if self.replaces else 'written'}: {self.path}"


def page_at(path: Path) -> Output:
    """An HTML file: new, empty, or an HTML page.

    Raises:
        InputError: it is something else.
    """
    return _file_at(path, "HTML page", _is_page, _PAGE_LOOKED_AT_BYTES)


def json_at(path: Path, *, key: str, rows: bool = False) -> Output:
    """A JSON file: new, empty, or an object with a key that tells what it is: the manifest of a map is JSON too.

    Args:
        path: of the file.
        key: that the object has.
        rows: it is a list of such objects instead.

    Raises:
        InputError: it is something else, or larger than what any command writes.
    """
    kind = f"JSON file with {'rows of ' if rows else ''}{key!r}"
    return _file_at(path, kind, lambda content: _has_key(content, key, rows=rows), _JSON_MOST_BYTES + 1)


def _is_page(content: bytes) -> bool:
    return content.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(_PAGE_STARTS)


def _has_key(content: bytes, key: str, *, rows: bool) -> bool:
    """Of an object that is JSON wholly, or of all in a list."""
    if len(content) > _JSON_MOST_BYTES:
        return False
    try:
        values = json.loads(content)  # whichever Unicode it is in
    except (ValueError, RecursionError):
        return False
    if isinstance(values, list) != rows:
        return False
    objects = values if rows else [values]
    return bool(objects) and all(isinstance(found, dict) and key in found for found in objects)


def _file_at(path: Path, kind: str, is_kind: Callable[[bytes], bool], looked_at_bytes: int) -> Output:
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a new {kind}; name a file in it")
    if not path.is_file():  # new, or a pipe such as /dev/stdout
        return Output(path, replaces=False)
    with path.open("rb") as file:
        found = file.read(looked_at_bytes)
    if found and not is_kind(found):
        raise InputError(f"{path}: exists and is no {kind}, expected a new file or one to replace; name another")
    return Output(path, replaces=True)
