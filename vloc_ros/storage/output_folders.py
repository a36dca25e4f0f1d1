"""Folders that are written as a whole: what is in one of them is replaced only by its like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vloc_ros.core.errors import InputError
from vloc_ros.storage.atomic import PART_SUFFIX, StorageError
from vloc_ros.storage.text import read_text

# of maps and models alike
_MANIFEST = "manifest.json"


def is_unfinished(name: str) -> bool:
    """Whether it is what a killed writer of ours left."""
    return name.startswith(".") and name.endswith(PART_SUFFIX)


def replaces_folder(folder: Path, *, manifest: str, format_: str, kind: str) -> bool:
    """Whether what is written into a folder replaces another one of its kind.

    Args:
        folder: to write.
        manifest: name of the JSON file in it that says what it holds,
        format_: by its entry `format`.
        kind: for messages, such as `model`.

    Raises:
        StorageError: something else is there.
    """
    if (folder / manifest).exists():
        found = _format_of(folder / manifest)
        if found != format_:
            raise StorageError(
                f"{folder}: holds a {manifest} of format {found!r}, expected nothing or a {kind} ({format_!r}); "
                "name an empty or new folder"
            )
        return True
    check_free(folder, kind=kind)
    return False


def check_free(folder: Path, *, kind: str, may_hold: Callable[[str], bool] = is_unfinished) -> None:
    """See that a folder is new, empty, or holds nothing but what may be there, by file name.

    Raises:
        StorageError: something else is there.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StorageError(f"{folder}: is a file, expected a folder for the {kind}; name an empty or new one")
    if foreign := sorted(path.name for path in folder.iterdir() if not may_hold(path.name)):
        what = _format_of(folder / _MANIFEST)
        found = f"a {what} ({_MANIFEST})" if isinstance(what, str) else foreign[0]
        raise StorageError(f"{folder}: holds {found} and no {kind}, expected nothing; name an empty or new folder")


def _format_of(path: Path) -> Any:
    """What a manifest says that it is of; None where it says nothing that can be read."""
    try:
        content = json.loads(read_text(path)) if path.is_file() else None
    except (InputError, ValueError, RecursionError):
        return None
    return content.get("format") if isinstance(content, dict) else None
