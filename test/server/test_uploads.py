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

"""Uploads: bounded in bytes and pixels, and of two kinds of images."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator

import cv2
import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.server.uploads import UploadTooLargeError, decode_upload, read_bounded


def encode(suffix: str, width: int = 64, height: int = 48) -> bytes:
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.imencode(suffix, image)[1].tobytes()


def make_bomb(width: int, height: int) -> bytes:
    """A PNG file of few bytes that states many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_photograph_is_decoded(suffix: str) -> None:
    assert decode_upload(encode(suffix)).shape == (48, 64, 3)


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UploadTooLargeError):
        decode_upload(make_bomb(60_000, 60_000))
    large = bytearray(encode(".jpg"))
    frame = large.index(b"\xff\xc0")
    large[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(UploadTooLargeError):
        decode_upload(bytes(large))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a" + b"\0" * 50,
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\0\0" + b"\0" * 50,
        b"\x89PNG\r\n\x1a\n",
        encode(".jpg")[:300],
        encode(".png")[:-20],
        encode(".png", 8, 200),
    ],
)
def test_what_is_no_whole_photograph_is_refused_with_one_remedy(data: bytes) -> None:
    with pytest.raises(InputError) as error:
        decode_upload(data)
    assert str(error.value).count("; ") == 1
    assert "choose" in str(error.value)
    assert "leave it out" not in str(error.value)


def test_no_more_is_read_than_is_accepted() -> None:
    read = []

    async def send() -> AsyncIterator[bytes]:
        for number in range(100):
            read.append(number)
            yield b"x" * 10

    assert asyncio.run(read_bounded(send(), stated=None, most=1000)) == b"x" * 1000
    read.clear()
    with pytest.raises(UploadTooLargeError):
        asyncio.run(read_bounded(send(), stated="12", most=100))
    assert len(read) == 11
    read.clear()
    with pytest.raises(UploadTooLargeError):
        asyncio.run(read_bounded(send(), stated="200000000", most=100))
    assert not read
