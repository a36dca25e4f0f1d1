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

"""Cache folder of fetched maps. Each is named by its hash and complete; only the newest few are kept."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from vloc_ros.core.errors import MapError
from vloc_ros.storage.arrays import FILE_NAME
from vloc_ros.storage.atomic import PART_SUFFIX
from vloc_ros.storage.maps import map_files, map_hash, read_map

HASH = re.compile(r"[0-9a-f]{64}")
_MAX_MAPS = 5
_ABANDONED_AFTER_S = 24 * 3600.0


def is_intact(folder: Path, digest: str) -> bool:
    """Return whether a folder holds the complete map of that hash."""
    try:
        if map_hash(folder) != digest:
            return False
        map_files(folder)
        read_map(folder, mapped=False)
    except MapError:
        return False
    return True


@contextlib.contextmanager
def create_part(folder: Path) -> Iterator[Path]:
    """Create a new private folder beside the entry; remove it at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=PART_SUFFIX))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def copy_cached_files(part: Path, sizes: Mapping[str, int]) -> set[str]:
    """Copy arrays that other maps of the cache hold into a part; return their names, which are those of their content.

    Only the name and the size are compared: the map is verified when it is whole.
    """
    others = [path for path in part.parent.iterdir() if HASH.fullmatch(path.name)]
    copied = set()
    for name, size in sizes.items():
        for folder in others if FILE_NAME.fullmatch(name) else ():
            with contextlib.suppress(OSError):  # another process removed it, or it has no such array
                if (folder / name).stat().st_size == size:
                    shutil.copyfile(folder / name, part / name)
                    copied.add(name)
                    break
    return copied


def install_part(part: Path, folder: Path, digest: str) -> None:
    """Rename a part to the entry, replacing a damaged one; keep an intact one that another process made meanwhile."""
    if is_intact(folder, digest):
        return
    with create_part(folder) as grave, contextlib.suppress(FileNotFoundError):
        os.rename(folder, grave / "damaged")
    try:
        part.rename(folder)
    except OSError:
        if not is_intact(folder, digest):
            raise


def keep_newest(folder: Path) -> None:
    """Mark an entry as used, and remove the least recently used ones beyond a few."""
    with contextlib.suppress(OSError):
        os.utime(folder)
    entries = {path: _last_used_s(path) for path in folder.parent.iterdir()}
    maps = sorted((path for path in entries if HASH.fullmatch(path.name)), key=entries.__getitem__)
    parts = (path for path in entries if path.name.startswith(".") and path.name.endswith(PART_SUFFIX))
    abandoned = [path for path in parts if time.time() - entries[path] > _ABANDONED_AFTER_S]
    for path in [*maps[:-_MAX_MAPS], *abandoned]:
        shutil.rmtree(path, ignore_errors=True)


def _last_used_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process was faster
        return 0.0
