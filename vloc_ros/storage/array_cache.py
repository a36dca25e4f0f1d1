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

"""Large arrays of maps, unpacked once into a private cache and memory-mapped from there.

Mapped pages are read on demand and dropped when memory is short; processes that read the same map share them. A file in
a map folder is never mapped: another user may truncate it, and reading a missing page ends the process (SIGBUS). A file
of the cache belongs to this user, is named by the SHA-256 of its values, and appears complete or not at all. It may be
deleted at any time: existing mappings stay valid.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.arrays import check_array_size, decode_array, layout
from vloc_ros.storage.atomic import PART_SUFFIX, sync_folder
from vloc_ros.storage.regular_files import open_regular

# the codes of a map of 250 000 points; a smaller array is read faster than it is looked up, and needs little memory
# beside OpenCV and FAISS
MAPPED_FROM_BYTES = 16 << 20
# the arrays of 50 million points; the smallest disks of robots have some tens of GB
MOST_CACHED_BYTES = 4 << 30
_SUFFIX = ".values"
_ABANDONED_AFTER_S = 24 * 3600.0
_DIGEST_LENGTH = 64
_LOG = logging.getLogger(__name__)


def load_array(folder: Path, name: str, entry: Mapping[str, Any]) -> Array:
    """Load an array of a map folder, read-only: a small one into memory, a large one mapped from the cache.

    The checksum is verified when the array is read or unpacked. If the cache cannot be used, a large array is read into
    memory too, with a warning.

    Raises:
        MapError: see `decode_array`.
    """
    dtype, shape = layout(name, entry)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    cache = cache_folder()
    if size < MAPPED_FROM_BYTES or cache is None or not _is_digest(entry["sha256"]):
        return decode_array(folder, name, entry)
    path = cache / f"{entry['sha256']}{_SUFFIX}"
    try:
        with contextlib.suppress(FileNotFoundError):
            return _map_entry(path, dtype, shape, size)
        check_array_size(folder, name, entry)
        _write_entry(path, size, lambda values: decode_array(folder, name, entry, out=values))
        _keep_newest(cache)
        return _map_entry(path, dtype, shape, size)
    except OSError as error:
        _LOG.warning("%s: cannot be used (%s); the map is read into memory", cache, error.strerror)
        return decode_array(folder, name, entry)


def cache_folder() -> Path | None:
    """`$XDG_CACHE_HOME/vloc_ros/arrays`, by default below ~/.cache; None if there is no home folder either."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):
        return Path(named) / "vloc_ros" / "arrays"
    try:
        return Path.home() / ".cache" / "vloc_ros" / "arrays"
    except RuntimeError:
        return None


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == _DIGEST_LENGTH and set(value) <= set("0123456789abcdef")


def _map_entry(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], size: int) -> Array:
    """Map a file of the cache and update its time of use; FileNotFoundError if there is none of this user."""
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_size != size:
            raise FileNotFoundError
        with contextlib.suppress(OSError):
            os.utime(file.fileno())
        # as an ndarray: every operation on a memmap would return a memmap
        return np.asarray(np.memmap(file, dtype, "r", shape=shape))


def _write_entry(path: Path, size: int, decode: Callable[[Array], object]) -> None:
    """Make a file of the cache, decoded where it is mapped, so that it needs no memory that cannot be taken back."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=PART_SUFFIX)
    try:
        with os.fdopen(descriptor, "r+b") as file:
            _reserve(file.fileno(), size)
            values = np.memmap(file, np.uint8, "r+", shape=(size,))
            decode(np.asarray(values))
            values.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    sync_folder(path.parent)


def _reserve(descriptor: int, size: int) -> None:
    """Reserve the bytes of a file: a full disk is an error here, and in mapped pages a SIGBUS.

    Raises:
        OSError: they do not fit; nothing was reserved, which for a moment would leave nothing to others.
    """
    if os.fstatvfs(descriptor).f_bavail * os.fstatvfs(descriptor).f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.posix_fallocate(descriptor, 0, size)


def _keep_newest(cache: Path) -> None:
    """Remove the least recently used entries beyond the bound, and abandoned parts.

    The entry that exceeds the bound stays: it may be larger than that, and would be unpacked at every start.
    """
    now, total = time.time(), 0
    for path, used_s, size in sorted(_entries(cache), key=lambda e: -e[1]):
        is_part = path.name.startswith(".") and path.name.endswith(PART_SUFFIX)
        if is_part and now - used_s <= _ABANDONED_AFTER_S:
            continue
        if is_part or (path.name.endswith(_SUFFIX) and total > MOST_CACHED_BYTES):
            with contextlib.suppress(OSError):
                path.unlink()
        total += size if path.name.endswith(_SUFFIX) else 0


def _entries(cache: Path) -> list[tuple[Path, float, int]]:
    found = []
    for path in cache.iterdir():
        with contextlib.suppress(OSError):  # another process was faster
            status = path.stat(follow_symlinks=False)
            found.append((path, status.st_mtime, status.st_size))
    return found
