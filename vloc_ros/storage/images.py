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

"""Image folders and image files. Damaged files are refused instead of half-decoded."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vloc_ros.core.errors import InputError
from vloc_ros.storage.text import naming_file

SUFFIXES = (".jpg", ".jpeg", ".png")
_OTHER_SUFFIXES = (".bmp", ".gif", ".heic", ".jp2", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
_NO_SIZE = "the image is damaged: it does not state its size ({} bytes)"
_COPY = "copy it again, or leave it out"
_CONVERT = "convert it, or leave it out"
# bits of a pixel that cameras give in two bytes
_DEPTHS = (8, 10, 12, 14, 16)
_AS_RECORDED = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
# start-of-frame markers of JPEG: all of C0 to CF but DHT, JPG and DAC
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# markers without a length, none of which comes before the frame; decoders pass over some of them
_LONE_MARKERS = {0x00, 0x01, *range(0xD0, 0xDA)}


class BrokenImageError(InputError):
    """Bytes that are no whole image.

    Attributes:
        found: what they are, without what to do with a file of them.
    """

    def __init__(self, found: str, remedy: str = "") -> None:
        """With both as its message; where a file is named in front, they are one text."""
        super().__init__(f"{found}; {remedy}" if remedy else found)
        self.found = found


def list_images(folder: Path) -> tuple[Path, ...]:
    """The JPEG and PNG files of a folder in name order; hidden files are skipped.

    Raises:
        InputError: the folder is missing, is a file, or holds no image; folders within it are not looked into.
    """
    folder = Path(folder)
    try:
        entries = list(folder.iterdir())
    except NotADirectoryError:
        raise InputError(f"{folder}: is a file, expected a folder of images; name the one that holds them") from None
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be listed ({error.strerror}), expected a folder of images; check the name"
        ) from error
    images = _images_among(entries)
    if not images:
        raise InputError(
            f"{folder}: holds no image among {len(entries)} entries, expected .jpg, .jpeg or .png files; "
            f"{_where_images_are(folder)}"
        )
    return tuple(sorted(images, key=lambda p: p.name))


def name_of_stamp(stamp_ns: int) -> str:
    """The name of an image without a suffix: its nanoseconds in 19 digits, which other commands read."""
    return f"{stamp_ns:019}"


def _images_among(entries: Iterable[Path]) -> list[Path]:
    return [p for p in entries if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and not p.is_dir()]


def count_images_passed_over(folder: Path) -> dict[str, int]:
    """How many images `list_images` does not list, by the folder below that holds them or a pattern such as `*.tif`."""
    entries = sorted(Path(folder).iterdir())
    counts = {}
    for path in entries:
        with contextlib.suppress(OSError):  # a file, or not readable
            counts[str(path)] = len(_images_among(path.iterdir()))
    for suffix in _OTHER_SUFFIXES:
        counts[f"*{suffix}"] = sum(path.suffix.lower() == suffix for path in entries)
    return {where: count for where, count in counts.items() if count}


def _where_images_are(folder: Path) -> str:
    """The remedy for a folder without images: often they are in a folder below it, or of another format."""
    counts = count_images_passed_over(folder)
    if not counts:
        return "name the folder that holds them"
    first, *others = counts
    if first.startswith("*"):
        return f"it holds {counts[first]} {first} files: convert them to .png"
    more = ", and further folders: name one, or put all images into one" if others else ": name that folder"
    return f"{first} holds {counts[first]}{more}"


def read_image(path: Path) -> npt.NDArray[Any]:
    """Read (H, W) uint8 grey or (H, W, 3) uint8 BGR pixels, not turned by EXIF: calibrations hold for raw pixels.

    Raises:
        InputError: the file is missing, unreadable, cut short or no image.
    """
    data = _read_bytes(path)
    try:
        return decode_image(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_bytes(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def decode_image(data: bytes) -> npt.NDArray[Any]:
    """Decode the bytes of a JPEG or PNG file; see `read_image`.

    Raises:
        BrokenImageError: they are cut short, or no image.
    """
    return _decode(data, _AS_RECORDED)


def read_opaque_image(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Read (H, W, 3) uint8 BGR pixels, and (H, W) bool which are opaque: all of an image without transparency.

    Raises:
        InputError: see `read_image`.
    """
    with naming_file(path):
        pixels = _decode(_read_bytes(path), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 2:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR))
    opaque = pixels[..., 3] > 127 if pixels.shape[2] == 4 else np.ones(pixels.shape[:2], bool)
    return np.ascontiguousarray(pixels[..., :3]), opaque


def _decode(data: bytes, how: int) -> npt.NDArray[Any]:
    if data.startswith(_JPEG_START):
        complete = _jpeg_is_complete(data)
    elif data.startswith(_PNG_START):
        complete = _png_is_complete(data)
    else:
        raise BrokenImageError(
            f"the content is no JPEG or PNG image ({len(data)} bytes)", "convert it, or leave it out"
        )
    if not complete:
        raise BrokenImageError(f"the image is cut short or damaged ({len(data)} bytes)", _COPY)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        raise BrokenImageError(f"the image cannot be decoded ({error.err})", _COPY) from None
    if image is None:
        raise BrokenImageError(f"the image cannot be decoded ({len(data)} bytes)", _COPY)
    return reduce_to_eight_bits(np.asarray(image))


def read_image_size(data: bytes | memoryview) -> tuple[int, int]:
    """Width and height that the header of a JPEG or PNG file states, without decoding it.

    Raises:
        BrokenImageError: it is neither, or has no size where decoders look for it.
    """
    if data[: len(_PNG_START)] == _PNG_START:
        if data[12:16] == b"IHDR" and len(data) >= 24:
            width, height = struct.unpack(">II", data[16:24])
            return int(width), int(height)
    elif data[: len(_JPEG_START)] == _JPEG_START:
        return _read_jpeg_size(data)
    else:
        raise BrokenImageError(
            f"the content is no JPEG or PNG image ({len(data)} bytes)", "convert it, or leave it out"
        )
    raise BrokenImageError(_NO_SIZE.format(len(data)), _COPY)


def read_first_size(paths: Iterable[Path]) -> tuple[int, int]:
    """Width and height of the first image whose header can be read: damaged ones are named when they are used.

    Raises:
        InputError: of the last one, where none can be read.
    """
    failed = InputError("found no image, expected at least one")
    for path in paths:
        try:
            with naming_file(path):
                return read_image_size(path.read_bytes())
        except OSError as error:
            failed = InputError(f"{path}: cannot be read ({error.strerror})")
        except InputError as error:
            failed = error
    raise failed


def _read_jpeg_size(data: bytes | memoryview) -> tuple[int, int]:
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _FRAMES:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return int(width), int(height)
        elif marker in _LONE_MARKERS or length < 2:
            break
        else:
            position += 2 + length
    raise BrokenImageError(_NO_SIZE.format(len(data)), _COPY)


def reduce_to_eight_bits(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """uint8 pixels of uint16 ones, whose range is that of the smallest depth which holds the largest of them.

    Cameras of 10 or 12 bits fill two bytes from below: taken for 16 bits, their images would be black.
    """
    if pixels.dtype == np.uint8:
        return pixels
    largest = int(pixels.max(initial=0))
    bits = next(depth for depth in _DEPTHS if largest < 2**depth)
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=255.0 / (2**bits - 1))).reshape(pixels.shape)


def _jpeg_is_complete(data: bytes) -> bool:
    """Whether an end marker follows the start of the pixels; OpenCV silently fills in a missing part."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:  # start of scan
            return data.rfind(_JPEG_END) > position
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False


def _png_is_complete(data: bytes) -> bool:
    """Whether the chunks have good checksums and continue to the end chunk."""
    position = len(_PNG_START)
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if zlib.crc32(data[position + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return False
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position = end + 4
    return False
