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

"""Map folders: a readable `manifest.json`, and array files named by their content.

Arrays are written first and the manifest replaced last, so that a folder holds the old map or the new one, whatever
happens in between. Global descriptors are stored with 8 bits per value; everything else comes back exactly.
"""

from __future__ import annotations

from pathlib import Path

from vloc_ros.core.errors import MapError, VlocError
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.manifests import MANIFEST, read_manifest
from vloc_ros.storage.map_decoding import decode_map
from vloc_ros.storage.map_encoding import KEYPOINT_GRAPH, encode_map
from vloc_ros.storage.map_folders import lock_map_folder, map_files

__all__ = [
    "keypoint_model_bytes",
    "map_bytes",
    "map_files",
    "map_hash",
    "read_manifest",
    "read_map",
    "size_on_disk",
    "write_map",
]


def write_map(landmark_map: LandmarkMap, folder: Path, *, replacing: str | None = None) -> str:
    """Write a map; the same content gives the same files. Returns the map's hash.

    Args:
        landmark_map: to write.
        folder: of the map.
        replacing: hash of the only map that may be replaced; None for any, or none.

    Raises:
        StorageError: the disk is full, the folder is not writable or holds something else than a map, or another
            process is writing there or has written. The map that was there before, if any, is as it was.
        MapError: there is a map to be replaced no longer.
    """
    folder = Path(folder)
    text, digest, arrays = encode_map(landmark_map)
    with lock_map_folder(folder, replacing=replacing):
        for file, data in arrays.items():
            write_bytes_atomically(folder / file, data)
        write_bytes_atomically(folder / MANIFEST, text)
    return digest


def size_on_disk(landmark_map: LandmarkMap) -> int:
    """The bytes that `write_map` would write."""
    text, _, arrays = encode_map(landmark_map)
    return len(text) + sum(map(len, arrays.values()))


def keypoint_model_bytes(folder: Path) -> int:
    """Size on disk of the keypoint model that a map carries, which no compression of the map changes; 0 for none.

    Raises:
        MapError: there is no map, or a file is missing.
    """
    entry = read_manifest(folder)["arrays"].get(KEYPOINT_GRAPH)
    return 0 if entry is None else dict(map_files(folder))[str(entry["file"])]


def read_map(folder: Path, *, mapped: bool = True) -> LandmarkMap:
    """Read a map and verify the checksum of every file that is read.

    Args:
        folder: of the map.
        mapped: large arrays are memory-mapped from a private cache (`array_cache`); one that is there already is taken
            from it, and its file in the folder is not read. False reads every file.

    Raises:
        MapError: there is no map, or it is damaged, altered, or of a newer format.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    try:
        return decode_map(folder, manifest, mapped=mapped)
    except MapError as error:
        if str(folder) in str(error):
            raise
        raise MapError(f"{folder}: {error}") from error
    except (VlocError, KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise MapError(f"{folder / MANIFEST}: does not describe a map ({error!r}); build it again") from error


def map_bytes(folder: Path) -> int:
    """Size of a map on disk in bytes."""
    return sum(size for _, size in map_files(folder))


def map_hash(folder: Path) -> str:
    """SHA-256 of a map's content: equal for equal maps, wherever they lie."""
    return str(read_manifest(folder)["hash"])
