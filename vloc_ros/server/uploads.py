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

"""Images of requests: bounded in bytes before they are read, in pixels before they are decoded."""

from __future__ import annotations

from collections.abc import AsyncIterator

from vloc_ros.core.config import MOST_MEGAPIXELS
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.images import BrokenImageError, decode_image, read_image_size

MOST_BYTES, MOST_PIXELS, LEAST_PX = 32 << 20, int(MOST_MEGAPIXELS * 1e6), 32
_REMEDY = "choose another photograph, or convert it to JPEG or PNG"


class UploadTooLargeError(InputError):
    """More bytes or pixels than are accepted."""


async def read_bounded(stream: AsyncIterator[bytes], *, stated: str | None, most: int = MOST_BYTES) -> bytes:
    """The bytes of a request.

    Args:
        stream: of its body.
        stated: what its header Content-Length says; None where it says nothing.
        most: bytes that are read at most.

    Raises:
        UploadTooLargeError: there are more, stated or sent.
    """
    refusal = f"the upload has more than {most >> 20} MB, expected a photograph; reduce it"
    if stated is not None and stated.isdecimal() and int(stated) > most:
        raise UploadTooLargeError(refusal)
    parts, size = list[bytes](), 0
    async for part in stream:
        size += len(part)
        if size > most:
            raise UploadTooLargeError(refusal)
        parts.append(part)
    return b"".join(parts)


def decode_upload(data: bytes, *, most_pixels: int = MOST_PIXELS) -> Array:
    """(H, W) or (H, W, 3) uint8 pixels of a JPEG or PNG image.

    Raises:
        UploadTooLargeError: its header states more pixels than are decoded, as a decompression bomb's does.
        InputError: it is empty, of another kind, damaged, or too small to show anything.
    """
    if not data:
        raise InputError("the upload is empty, expected a JPEG or PNG image; choose a photograph")
    try:
        _check_size(*read_image_size(data), most_pixels)
        return decode_image(data)
    except BrokenImageError as error:
        raise InputError(f"{error.found}; {_REMEDY}") from None


def _check_size(width: int, height: int, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise UploadTooLargeError(
            f"the image has {width}x{height} pixels, expected {most_pixels / 1e6:g} million at most; reduce it"
        )
    if min(width, height) < LEAST_PX:
        raise InputError(
            f"the image has {width}x{height} pixels, expected {LEAST_PX} at least each way; choose another"
        )
