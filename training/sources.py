"""Content hashes of training data, for a model's manifest and for the check of a run that is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from vloc_ros.core.errors import InputError

_AT_ONCE_BYTES = 1 << 20


def hash_file(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(_AT_ONCE_BYTES):
                digest.update(part)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a file; check the name") from error
    return digest.hexdigest()


def hash_images(folder: Path, paths: Sequence[Path]) -> str:
    """SHA-256 of the names and sizes in bytes of a folder's images, whose content is not read."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()
