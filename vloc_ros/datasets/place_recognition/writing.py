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

"""Data sets of place recognition in the benchmark's layout, written from images of any source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.datasets.place_recognition.layout import IMAGES
from vloc_ros.datasets.place_recognition.place_images import FIELDS, fields_of_name, name_of_fields, parse_image
from vloc_ros.datasets.place_recognition.tables import TableRow
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.images import decode_image

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


@dataclass(frozen=True, slots=True, eq=False)
class ExportImage:
    """An image to write.

    Attributes:
        split: train, val or test.
        role: database, or a set of queries.
        source: names it in messages, and is the key of what is written.
        suffix: of the file.
        fields: text of the fields that are known, by name; `x` and `y` are.
        read: gives the bytes of the file.
        file_name: of a file that is of the layout already; None makes one of the fields.
    """

    split: str
    role: str
    source: str
    suffix: str
    fields: Mapping[str, str]
    read: Callable[[], bytes]
    file_name: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WrittenDataset:
    """What was written.

    Attributes:
        names: below the data set, by source.
        damaged: why an image was left out, by source.
    """

    names: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)


def write_layout(folder: Path, images: Iterable[ExportImage]) -> WrittenDataset:
    """Write images below a folder; one that cannot be read is left out and named.

    Raises:
        InputError: two images have the same name, or a coordinate is no finite number.
        StorageError: a file cannot be written.
    """
    written, taken = WrittenDataset(), dict[str, str]()
    for image in images:
        parse_image(folder, image.source, image.fields, where=image.source)
        file_name = image.file_name or name_of_fields([image.fields.get(f, "") for f in FIELDS], image.suffix)
        name = f"{IMAGES}/{image.split}/{image.role}/{file_name}"
        if (other := taken.setdefault(name, image.source)) != image.source:
            raise InputError(f"{image.source} and {other} have one name, {file_name}; give them different notes")
        try:
            data = image.read()
            decode_image(data)
        except InputError as error:
            written.damaged[image.source] = str(error)
            continue
        write_bytes_atomically(folder / name, data)
        written.names[image.source] = name
    return written


def export_row(row: TableRow) -> ExportImage:
    """A row of a table as it is written: the file's bytes are copied, and a name that says its place is kept."""
    image, own = row.image, fields_of_name(row.image.path.name)
    fields = dict(zip(FIELDS, image.fields, strict=True))
    if own is not None and all(fields[name] == value for name, value in own.items()):
        file_name = image.path.name
    else:
        file_name = None
        fields["note"] = fields["note"] or image.path.with_suffix("").name
    suffix = image.path.suffix.lower()
    return ExportImage(row.split, row.role, image.name, suffix, fields, partial(read_bytes, image.path), file_name)


def fields_of_pose(map_from_camera: Pose, *, note: str = "") -> dict[str, str]:
    """The fields of a camera in a map whose x axis points east and z up; numbers are written exactly."""
    position, axis = map_from_camera.translation, map_from_camera.rotation[:, 2]
    heading = float(np.degrees(np.arctan2(axis[0], axis[1]))) % 360.0
    pitch = float(np.degrees(np.arcsin(np.clip(axis[2], -1.0, 1.0))))
    values = {"x": position[0], "y": position[1], "heading": heading, "pitch": pitch, "height": position[2]}
    return {**{name: repr(float(value)) for name, value in values.items()}, "note": note}


def encode_jpeg(image: Array) -> bytes:
    """The bytes of a JPEG file of (H, W) or (H, W, 3) uint8 pixels; the benchmark reads no other format."""
    done, data = cv2.imencode(".jpg", image, _JPEG)
    assert done
    return bytes(data)


def read_bytes(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
