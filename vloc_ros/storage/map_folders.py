"""What may happen to the files of a map folder: one writer at a time, nothing foreign touched, nothing left over."""

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
    """Name and size in bytes of every file of a map, the manifest last: the order in which to copy them.

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
    """Whether a map that is written there replaces another one.

    Raises:
        StorageError, MapError: something else is there, among which no map is written.
    """
    folder = Path(folder)
    _refuse_foreign(folder)
    return (folder / MANIFEST).exists()


@contextlib.contextmanager
def writing(folder: Path, *, replacing: str | None = None) -> Iterator[None]:
    """Hold the folder alone; at the end, however it comes, remove what its manifest does not name.

    Args:
        folder: of a map.
        replacing: hash of the only map that may be there; None for any, or none.

    Raises:
        StorageError, MapError: it cannot be held, or has something else in it.
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
    """A map is written into an empty or new folder or over a map, never among other files."""
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
