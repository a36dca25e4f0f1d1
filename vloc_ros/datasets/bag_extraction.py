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

"""The images of a bag as files: as they were recorded where they are JPEG or PNG, else as PNG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2

from vloc_ros.bags.messages import COMPRESSED_IMAGE, image_of
from vloc_ros.bags.reading import Bag
from vloc_ros.core.errors import InputError
from vloc_ros.core.sources import Progress, silent
from vloc_ros.datasets.bag_frames import stamp_images
from vloc_ros.storage.images import name_of_stamp

_JPEG_START = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True, eq=False)
class ExtractedFile:
    """One image of a bag.

    Attributes:
        stamp_ns: its time.
        name: of a file for it: its time in nanoseconds.
        data: content of the file; None where the image cannot be used.
        reason: why it cannot.
        repeated: whether an earlier image has the same time; this one is not decoded then.
    """

    stamp_ns: int
    name: str
    data: bytes | None
    reason: str = ""
    repeated: bool = False


def extract_files(bag: Bag, topic: str, *, every: int = 1, progress: Progress = silent) -> Iterator[ExtractedFile]:
    """Every n-th image of a topic, in the order of recording, whose stamps need not increase.

    Raises:
        InputError: images have the stamp 0.
    """
    messages = progress(bag.messages([topic]), description="reading the bag", total=bag.count(topic))
    seen = set[int]()
    for number, (stamp_ns, message) in enumerate(stamp_images(bag, messages)):
        if number % every:
            continue
        if stamp_ns in seen:
            yield ExtractedFile(stamp_ns, name_of_stamp(stamp_ns), None, repeated=True)
            continue
        seen.add(stamp_ns)
        try:
            data, suffix = _encode(message.decoded(), compressed=message.msgtype == COMPRESSED_IMAGE)
            yield ExtractedFile(stamp_ns, f"{name_of_stamp(stamp_ns)}{suffix}", data)
        except InputError as error:
            yield ExtractedFile(stamp_ns, name_of_stamp(stamp_ns), None, str(error))


def _encode(message: Any, *, compressed: bool) -> tuple[bytes, str]:
    """Bytes and suffix of a file; whatever cannot be decoded is refused."""
    pixels = image_of(message)
    if compressed:
        data = bytes(message.data)
        return data, ".jpg" if data.startswith(_JPEG_START) else ".png"
    done, encoded = cv2.imencode(".png", pixels)
    assert done
    return encoded.tobytes(), ".png"
