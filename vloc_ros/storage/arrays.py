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

"""Array files: little-endian values, byte planes apart, zlib; named and checked by the hash of their values.

The hash is of the values, not of the compressed bytes, so that it does not depend on the zlib that wrote them.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.regular_files import open_regular

FILE_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*-[0-9a-f]{16}\.z")
_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "int64", "float32", "float64")
_MAX_DIMENSIONS = 4
_MAX_DEFLATE_RATIO = 1040
# large arrays take a fifth of the time so, and half a percent more bytes
_LEVEL, _LEVEL_OF_LARGE, _LARGE_BYTES = 9, 6, 64 << 20
# bytes of large arrays that are transposed together, and those that zlib reads and returns at once
_GROUP_BYTES, _READ_BYTES, _INFLATED_BYTES = 256 << 20, 1 << 18, 1 << 22
_REMEDY = "copy the map again or build it again"


def encode_array(name: str, array: Array) -> tuple[dict[str, Any], bytes]:
    """The manifest entry of an array and the bytes of its file."""
    array = np.ascontiguousarray(array)
    assert array.dtype.name in _DTYPES, f"{name}: {array.dtype}"
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.sha256(_bytes_of(little).data).hexdigest()
    delta = array.ndim == 1 and array.dtype.kind in "iu"
    entry = {
        "file": f"{name.replace('/', '.')}-{digest[:16]}.z",
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "sha256": digest,
        "encoding": "delta" if delta else "plain",
    }
    stored = np.diff(_unsigned(little), prepend=_unsigned(little)[:1] * 0) if delta else little
    return entry, _deflate(stored)


def decode_array(folder: Path, name: str, entry: Mapping[str, Any], *, out: Array | None = None) -> Array:
    """Read one array and check it against its manifest entry.

    Args:
        folder: of the map.
        name: of the array.
        entry: of the manifest.
        out: (B,) uint8 the memory to decode into, such as that of a mapped file; None for new memory.

    Raises:
        MapError: the file is missing, cut short, altered, no regular file, or the entry is impossible.
    """
    dtype, shape = layout(name, entry)
    with _open_array(folder, name, entry) as (where, file, size):
        flat = np.empty(size, np.uint8) if out is None else out
        _inflate(where, file, flat.reshape(-1, _row_bytes(shape, dtype)))
    array = flat.view(dtype).reshape(shape)
    if entry["encoding"] == "delta":
        np.cumsum(_unsigned(array), dtype=_unsigned(array).dtype, out=_unsigned(array))
    if hashlib.sha256(flat.data).hexdigest() != entry["sha256"]:
        raise MapError(f"{where}: was altered, its checksum differs from the manifest's; {_REMEDY}")
    array = array.astype(dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


def check_array_size(folder: Path, name: str, entry: Mapping[str, Any]) -> int:
    """Bytes of an array, which its file can hold: to be asked before as many are reserved.

    Raises:
        MapError: the file is missing, no regular file, of an impossible size, or the entry is impossible.
    """
    with _open_array(folder, name, entry) as (_, _, size):
        return size


@contextmanager
def _open_array(folder: Path, name: str, entry: Mapping[str, Any]) -> Iterator[tuple[Path, BinaryIO, int]]:
    """The file of an array, opened, and the bytes of its values, which it can hold."""
    where = folder / plain_file_name(name, entry)
    dtype, shape = layout(name, entry)
    size = math.prod(shape) * dtype.itemsize
    try:
        with open_regular(where) as file:
            _check_size(where, file, size)
            yield where, file, size
    except OSError as error:
        raise MapError(f"{where}: cannot be read ({error.strerror}); {_REMEDY}") from error


def plain_file_name(name: str, entry: Mapping[str, Any]) -> str:
    """The file of a manifest entry: a plain name inside the map folder, never a path."""
    file = entry["file"]
    if not isinstance(file, str) or not FILE_NAME.fullmatch(file):
        raise MapError(f"the manifest names {file!r} for {name}, expected a plain file name; {_REMEDY}")
    return file


def layout(name: str, entry: Mapping[str, Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Little-endian type and shape of an array, from its manifest entry.

    Raises:
        MapError: the entry is impossible.
    """
    shape = entry["shape"]
    good = isinstance(shape, list) and 0 < len(shape) <= _MAX_DIMENSIONS
    if not good or any(type(n) is not int or n < 0 for n in shape):
        raise MapError(f"the manifest gives {name} the shape {shape!r}, expected a few sizes; {_REMEDY}")
    if entry["dtype"] not in _DTYPES or entry["encoding"] not in ("plain", "delta"):
        raise MapError(f"the manifest gives {name} the type {entry['dtype']!r} {entry['encoding']!r}; {_REMEDY}")
    dtype = np.dtype(entry["dtype"]).newbyteorder("<")
    if entry["encoding"] == "delta" and (len(shape) != 1 or dtype.kind not in "iu"):
        raise MapError(f"the manifest gives {name} an encoding that does not fit its shape {shape}; {_REMEDY}")
    return dtype, tuple(shape)


def _check_size(path: Path, file: BinaryIO, expected_bytes: int) -> None:
    """Refuse a file whose size cannot be that of an array, before anything is read."""
    size = os.fstat(file.fileno()).st_size
    most = expected_bytes + expected_bytes // 1000 + 64  # what zlib cannot compress grows
    if size > most:
        raise MapError(f"{path}: has {size} bytes, expected at most {most} for its array; {_REMEDY}")
    if expected_bytes > size * _MAX_DEFLATE_RATIO:
        raise MapError(f"{path}: {size} bytes cannot hold an array of {expected_bytes} bytes; {_REMEDY}")


def _deflate(array: Array) -> bytes:
    """All first bytes of the rows, then all second bytes, …, compressed: like bytes side by side compress better."""
    rows = _bytes_of(array).reshape(-1, _row_bytes(array.shape, array.dtype))
    compressor = zlib.compressobj(_LEVEL if array.nbytes < _LARGE_BYTES else _LEVEL_OF_LARGE)
    parts = [compressor.compress(_bytes_of(np.ascontiguousarray(rows[:, some].T)).data) for some in _columns(rows)]
    return b"".join([*parts, compressor.flush()])


def _inflate(path: Path, file: BinaryIO, rows: Array) -> None:
    """The inverse of `_deflate`, into (N, B) uint8 rows."""
    inflater = zlib.decompressobj()
    damaged = f"{path}: is cut short or of another size, expected {rows.size} bytes; {_REMEDY}"
    try:
        for some in _columns(rows):
            part = np.empty((some.stop - some.start, len(rows)), np.uint8)
            if _inflate_some(inflater, file, _bytes_of(part).data) < part.size:
                raise MapError(damaged)
            rows[:, some] = part.T
        # reads to the end of the stream, which is where zlib compares its own checksum
        if _inflate_some(inflater, file, memoryview(bytearray(1))) or not inflater.eof:
            raise MapError(damaged)
    except zlib.error:
        raise MapError(f"{path}: is damaged; {_REMEDY}") from None


def _inflate_some(inflater: zlib._Decompress, file: BinaryIO, out: memoryview) -> int:
    """Fill a buffer with the next bytes of a stream; how many there were."""
    filled = 0
    while filled < len(out) and not inflater.eof:
        stored = inflater.unconsumed_tail or file.read(_READ_BYTES)
        piece = inflater.decompress(stored, min(len(out) - filled, _INFLATED_BYTES))
        if not stored and not piece:
            break
        out[filled : filled + len(piece)] = piece
        filled += len(piece)
    return filled


def _columns(rows: Array) -> list[slice]:
    """The columns of (N, B) rows in groups that take little memory beside all of them."""
    count = rows.shape[1]
    step = max(1, min(count, _GROUP_BYTES // max(len(rows), 1)))
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def _bytes_of(array: Array) -> Array:
    """(B,) uint8 the bytes of a contiguous array, not copied."""
    return array.reshape(-1).view(np.uint8)


def _row_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes from one value of the first axis to the next."""
    return max(math.prod(shape[1:]), 1) * dtype.itemsize


def _unsigned(array: Array) -> Array:
    """The same bytes as unsigned integers: differences wrap round and come back exactly."""
    return array.view(np.dtype(f"u{array.dtype.itemsize}").newbyteorder("<"))
