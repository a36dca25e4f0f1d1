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

"""Output folders: the content of an existing folder is replaced only if it is of the same kind."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vloc_ros.core.errors import InputError
from vloc_ros.storage.atomic import PART_SUFFIX, StorageError, sync_folder
from vloc_ros.storage.text import read_text

# file name of the manifests of maps and models
_MANIFEST = "manifest.json"


def is_unfinished(name: str) -> bool:
    """Whether a file name is that of a part left by a killed writer."""
    return name.startswith(".") and name.endswith(PART_SUFFIX)


def replaces_folder(folder: Path, *, manifest: str, format_: str, kind: str) -> bool:
    """Whether writing to a folder would replace another output of its kind.

    Args:
        folder: the folder to write.
        manifest: name of the JSON file in it that states its format.
        format_: expected value of the entry `format` of that file.
        kind: name of the kind for messages, such as `model`.

    Raises:
        StorageError: the folder holds something else.
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
    """Raise unless a folder is new, empty, or holds only files whose names `may_hold` allows.

    Raises:
        StorageError: the folder holds something else.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StorageError(f"{folder}: is a file, expected a folder for the {kind}; name an empty or new one")
    if foreign := sorted(path.name for path in folder.iterdir() if not may_hold(path.name)):
        what = _format_of(folder / _MANIFEST)
        found = f"a {what} ({_MANIFEST})" if isinstance(what, str) else foreign[0]
        raise StorageError(f"{folder}: holds {found} and no {kind}, expected nothing; name an empty or new folder")


@contextlib.contextmanager
def fill_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, whose content is moved to a free folder at the end; after an error nothing is there.

    It is inside, so that a folder that is mounted can be filled; `check_free` takes what a killed writer leaves.

    Raises:
        StorageError: the folder cannot be written.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder, prefix=".", suffix=PART_SUFFIX))
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror}); nothing was changed there") from error
    try:
        yield part
        for path in sorted(part.iterdir()):
            path.rename(folder / path.name)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    part.rmdir()
    sync_folder(folder)


def _format_of(path: Path) -> Any:
    """The format that a manifest states; None if it cannot be read."""
    try:
        content = json.loads(read_text(path)) if path.is_file() else None
    except (InputError, ValueError, RecursionError):
        return None
    return content.get("format") if isinstance(content, dict) else None
