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

"""JPEG files with EXIF data, as cameras write them."""

from __future__ import annotations

import struct


def with_exif(jpeg: bytes, focal_35mm: int, *, order: str = "<") -> bytes:
    """The same file with FocalLengthIn35mmFilm, in the byte order of `struct`."""
    tiff = exif_data(focal_35mm, order=order)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + jpeg[2:]


def exif_data(focal_35mm: int, *, order: str = "<") -> bytes:
    """Two directories: that of the image, with its orientation, and that of EXIF with an exposure and the length."""
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    orientation = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 1, 0)
    image = struct.pack(f"{order}H", 2) + orientation + struct.pack(f"{order}HHIII", 0x8769, 4, 1, 38, 0)
    exposure = struct.pack(f"{order}HHII", 0x829A, 5, 1, 100)
    focal = struct.pack(f"{order}HHIHH", 0xA405, 3, 1, focal_35mm, 0)
    return header + image + struct.pack(f"{order}H", 2) + exposure + focal + struct.pack(f"{order}I", 0)
