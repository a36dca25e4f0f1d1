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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.regular_files import open_regular

FILE_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*-[0-9a-f]{16}\.z")
_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "int64", "float32", "float64")
_MAX_DIMENSIONS = 4
_MAX_DEFLATE_RATIO = 1040
_LEVEL = 9
_REMEDY = "copy the map again or build it again"


def encode_array(name: str, array: Array) -> tuple[dict[str, Any], bytes]:
    """The manifest entry of an array and the bytes of its file."""
    array = np.ascontiguousarray(array)
    assert array.dtype.name in _DTYPES, f"{name}: {array.dtype}"
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.sha256(little.tobytes()).hexdigest()
    delta = array.ndim == 1 and array.dtype.kind in "iu"
    entry = {
        "file": f"{name.replace('/', '.')}-{digest[:16]}.z",
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "sha256": digest,
        "encoding": "delta" if delta else "plain",
    }
    stored = np.diff(_unsigned(little), prepend=_unsigned(little)[:1] * 0) if delta else little
    return entry, zlib.compress(_planes(stored).tobytes(), _LEVEL)


def decode_array(folder: Path, name: str, entry: Mapping[str, Any]) -> Array:
    """Read one array and check it against its manifest entry.

    Raises:
        MapError: the file is missing, cut short, altered, no regular file, or the entry is impossible.
    """
    where = folder / plain_file_name(name, entry)
    dtype, shape = layout(name, entry)
    expected_bytes = math.prod(shape) * dtype.itemsize
    data = _file_bytes(where, most=expected_bytes + expected_bytes // 1000 + 64)  # what zlib cannot compress grows
    if expected_bytes > len(data) * _MAX_DEFLATE_RATIO:
        raise MapError(f"{where}: {len(data)} bytes cannot hold an array of shape {list(shape)}; {_REMEDY}")
    stored = _inflated(where, data, expected_bytes)
    array = np.frombuffer(stored, np.uint8).reshape(_row_bytes(shape, dtype), -1).T.copy().view(dtype).reshape(shape)
    if entry["encoding"] == "delta":
        array = np.cumsum(_unsigned(array), dtype=_unsigned(array).dtype).view(dtype)
    if hashlib.sha256(array.tobytes()).hexdigest() != entry["sha256"]:
        raise MapError(f"{where}: was altered, its checksum differs from the manifest's; {_REMEDY}")
    array = array.astype(dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


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


def _file_bytes(path: Path, *, most: int) -> bytes:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise MapError(f"{path}: has {size} bytes, expected at most {most} for its array; {_REMEDY}")
            return file.read()
    except OSError as error:
        raise MapError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from error


def _inflated(path: Path, data: bytes, expected_bytes: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        values = inflater.decompress(data, expected_bytes + 1)
    except zlib.error:
        raise MapError(f"{path}: is damaged; {_REMEDY}") from None
    if len(values) != expected_bytes or not inflater.eof:
        raise MapError(f"{path}: is cut short or of another size, expected {expected_bytes} bytes; {_REMEDY}")
    return values


def _row_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes from one value of the first axis to the next."""
    return max(math.prod(shape[1:]), 1) * dtype.itemsize


def _planes(array: Array) -> Array:
    """All first bytes, then all second bytes, …: like bytes side by side compress better."""
    return np.ascontiguousarray(array.reshape(-1).view(np.uint8).reshape(-1, _row_bytes(array.shape, array.dtype)).T)


def _unsigned(array: Array) -> Array:
    """The same bytes as unsigned integers: differences wrap round and come back exactly."""
    return array.view(np.dtype(f"u{array.dtype.itemsize}").newbyteorder("<"))
