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

"""Safe writing of map folders: one writer at a time, foreign files untouched, no files left over."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from vloc_ros.core.errors import MapError
from vloc_ros.storage.arrays import FILE_NAME, plain_file_name
from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.manifests import MANIFEST, read_manifest
from vloc_ros.storage.output_folders import check_free, is_unfinished


def map_files(folder: Path) -> list[tuple[str, int]]:
    """Name and size in bytes of every file of a map, in the order in which to copy them: the manifest last.

    Raises:
        MapError: there is no map, or a file is missing.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    names = sorted({plain_file_name(name, entry) for name, entry in manifest["arrays"].items()})
    try:
        return [(name, (folder / name).stat().st_size) for name in [*names, MANIFEST]]
    except OSError as error:
        raise MapError(f"{error.filename}: cannot be read ({error.strerror}); copy the map again") from error


def replaces_map(folder: Path) -> bool:
    """Whether a map written to a folder would replace another one.

    Raises:
        StorageError, MapError: the folder holds something other than a map.
    """
    folder = Path(folder)
    _refuse_foreign(folder)
    return (folder / MANIFEST).exists()


@contextlib.contextmanager
def lock_map_folder(folder: Path, *, replacing: str | None = None) -> Iterator[None]:
    """Lock a folder for one writer. At the end, also after an error, remove map files that its manifest does not name.

    Args:
        folder: the map folder; made if it is missing.
        replacing: hash of the map that must be there; None for any map or none.

    Raises:
        StorageError, MapError: the folder cannot be locked, or holds something else.
    """
    created = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        _lock(folder, descriptor)
        _refuse_foreign(folder)
        _refuse_other(folder, replacing)
        try:
            yield
        finally:
            _sweep(folder)
    finally:
        os.close(descriptor)
        if created:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _lock(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StorageError(f"{folder}: another process is writing a map there; wait for it") from None


def _refuse_foreign(folder: Path) -> None:
    """Raise unless the folder is new, empty, or holds a map."""
    if (folder / MANIFEST).exists():
        read_manifest(folder, verify=False)
        return
    check_free(folder, kind="map", may_hold=_is_ours)


def _refuse_other(folder: Path, expected: str | None) -> None:
    if expected is not None and (found := str(read_manifest(folder)["hash"])) != expected:
        raise StorageError(
            f"{folder}: holds the map {found[:12]} now, expected {expected[:12]}: it was changed meanwhile; run the "
            "command again"
        )


def _sweep(folder: Path) -> None:
    with contextlib.suppress(OSError, MapError, KeyError):
        has_map = (folder / MANIFEST).exists()
        kept = {file for file, _ in map_files(folder)} if has_map else set()
        for path in folder.iterdir():
            if _is_ours(path.name) and path.name not in kept:
                path.unlink()


def _is_ours(name: str) -> bool:
    return is_unfinished(name) or FILE_NAME.fullmatch(name) is not None
