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

"""What a photograph says of its lens, from its EXIF data: no calibration, but where one may start from."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

_FULL_FRAME_MM = math.hypot(36.0, 24.0)
_APP1, _EXIF_START, _JPEG_START = 0xE1, b"Exif\0\0", b"\xff\xd8"
_START_OF_SCAN = 0xDA
_EXIF_IFD, _FOCAL_LENGTH_35MM = 0x8769, 0xA405
_SHORT, _LONG = 3, 4
# of a file: EXIF data comes first, in a segment of at most 64 KiB
_HEAD_BYTES = 1 << 17


def read_focal_lengths_35mm(paths: Sequence[Path]) -> dict[Path, int]:
    """FocalLengthIn35mmFilm in mm of the photographs that state it; those that cannot be read are left out."""
    found = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                focal_mm = find_focal_length_35mm(file.read(_HEAD_BYTES))
        except OSError:
            continue
        if focal_mm:
            found[path] = focal_mm
    return found


def focal_length_px(focal_35mm: float, width: int, height: int) -> float:
    """The focal length in pixels with the same diagonal angle of view, which defines the equivalent (CIPA DCG-001)."""
    return focal_35mm * math.hypot(width, height) / _FULL_FRAME_MM


def find_focal_length_35mm(data: bytes) -> int:
    """FocalLengthIn35mmFilm in mm of the beginning of a JPEG file; 0 where it is unknown or the data are damaged."""
    tiff = _find_tiff(data)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        (first_ifd,) = struct.unpack_from(f"{order}I", tiff, 4)
        exif_ifd = _find_entry(tiff, order, first_ifd, _EXIF_IFD)
        return _find_entry(tiff, order, exif_ifd, _FOCAL_LENGTH_35MM) if exif_ifd else 0
    except struct.error:  # cut short
        return 0


def _find_tiff(data: bytes) -> bytes:
    """The EXIF data of a JPEG file, which are in the form of TIFF; empty without any."""
    position = len(_JPEG_START)
    while data[:position].startswith(_JPEG_START) and data[position : position + 1] == b"\xff":
        marker, length = data[position + 1 : position + 2], int.from_bytes(data[position + 2 : position + 4], "big")
        if not marker or marker[0] == _START_OF_SCAN or length < 2:
            break
        segment = data[position + 4 : position + 2 + length]
        if marker[0] == _APP1 and segment.startswith(_EXIF_START):
            return segment[len(_EXIF_START) :]
        position += 2 + length
    return b""


def _find_entry(tiff: bytes, order: str, position: int, wanted: int) -> int:
    """The whole number that a directory at a position gives to a tag; 0 without it."""
    (count,) = struct.unpack_from(f"{order}H", tiff, position)
    for entry in range(position + 2, position + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
        if tag == wanted and kind in (_SHORT, _LONG):
            return int(struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", tiff, entry + 8)[0])
    return 0
