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

"""Atomic writes: files appear complete or not at all.

A reader never sees half a file. A writer that is killed, or meets a full disk, leaves the previous file.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from vloc_ros.core.errors import VlocError

PART_SUFFIX = ".part"


class StorageError(VlocError):
    """A file or folder could not be written; the previous one is unchanged."""


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one step, making its folder where it is missing.

    A path that is no regular file (a pipe, `/dev/stdout`) is simply written to.

    Raises:
        StorageError: the disk is full, the folder is not writable, or the path is a folder.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            _replace(Path(os.path.realpath(path)), data)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); nothing was changed there") from error


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{PART_SUFFIX}")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    sync_folder(path.parent)
