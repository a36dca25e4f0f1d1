"""Image folders and image files. Damaged files are refused instead of half-decoded."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vloc_ros.core.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png")
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"


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
            f"{_where_images_are(entries)}"
        )
    return tuple(sorted(images, key=lambda p: p.name))


def _images_among(entries: Iterable[Path]) -> list[Path]:
    return [p for p in entries if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and not p.is_dir()]


def _where_images_are(entries: Iterable[Path]) -> str:
    """The remedy for a folder without images: often they are in a folder below it."""
    counts: dict[Path, int] = {}
    for path in sorted(entries):
        with contextlib.suppress(OSError):  # a file, or not readable
            counts[path] = len(_images_among(path.iterdir()))
    found = [path for path, count in counts.items() if count]
    if not found:
        return "name the folder that holds them"
    more = ", and further folders: name one, or put all images into one" if len(found) > 1 else ": name that folder"
    return f"{found[0]} holds {counts[found[0]]}{more}"


def read_image(path: Path) -> npt.NDArray[Any]:
    """Read (H, W) uint8 grey or (H, W, 3) uint8 BGR pixels, not turned by EXIF: calibrations hold for raw pixels.

    Raises:
        InputError: the file is missing, unreadable, cut short or no image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return decode_image(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def decode_image(data: bytes) -> npt.NDArray[Any]:
    """Decode the bytes of a JPEG or PNG file; see `read_image`."""
    if data.startswith(_JPEG_START):
        complete = _jpeg_is_complete(data)
    elif data.startswith(_PNG_START):
        complete = _png_is_complete(data)
    else:
        raise InputError(f"is no JPEG or PNG image ({len(data)} bytes); convert it, or leave it out")
    if not complete:
        raise InputError(f"the image is cut short or damaged ({len(data)} bytes); copy it again, or leave it out")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise InputError(f"the image cannot be decoded ({error.err})") from None
    if image is None:
        raise InputError(f"the image cannot be decoded ({len(data)} bytes); copy it again, or leave it out")
    return np.asarray(image)


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
