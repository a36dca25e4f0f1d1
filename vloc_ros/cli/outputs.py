"""Where commands write: what is there is replaced only by its like, and then it is said.

Asked before the work, so that a mistyped name costs neither an hour nor somebody's own file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vloc_ros.core.errors import InputError

_PAGE_STARTS = (b"<!doctype html", b"<html")
_JSON_STARTS = (b"{", b"[")
_LOOKED_AT_BYTES = 4096


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


def map_at(folder: Path) -> Output:
    """A map folder: new, empty, or a map.

    Raises:
        StorageError, MapError: it is something else.
    """
    from vloc_ros.storage.map_folders import replaces_map

    return Output(folder, replaces_map(folder))


def results_at(folder: Path) -> Output:
    """A folder for results, in which other files stay as they are.

    Raises:
        StorageError: it is a file, or its poses.txt comes from elsewhere.
    """
    from vloc_ros.storage.results import replaces_results

    return Output(folder, replaces_results(folder))


def page_at(path: Path) -> Output:
    """An HTML file: new, empty, or an HTML page.

    Raises:
        InputError: it is something else.
    """
    return _file_at(path, "HTML page", _PAGE_STARTS)


def json_at(path: Path) -> Output:
    """A JSON file: new, empty, or JSON.

    Raises:
        InputError: it is something else.
    """
    return _file_at(path, "JSON file", _JSON_STARTS)


def _file_at(path: Path, kind: str, starts: tuple[bytes, ...]) -> Output:
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a new {kind}; name a file in it")
    if not path.is_file():  # new, or a pipe such as /dev/stdout
        return Output(path, replaces=False)
    with path.open("rb") as file:
        found = file.read(_LOOKED_AT_BYTES)
    if found and not found.lstrip().lower().startswith(starts):
        raise InputError(f"{path}: exists and is no {kind}, expected a new file or one to replace; name another")
    return Output(path, replaces=True)
