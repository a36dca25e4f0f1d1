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

"""Positions and directions of gravity that were measured beside the images of a folder, by the images' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import MeasuredGravity, MeasuredPosition, PosedImage
from vloc_ros.storage.text import number_of, read_text

_POSITION_ROW = "IMAGE x y z std, metres"
_GRAVITY_ROW = "IMAGE x y z std, a direction in the optical frame and its standard deviation in degrees"
_NUMBERS = 4
_MAX_STD_M, _MAX_STD_DEGREES = 1e3, 90.0


def with_positions(images: Sequence[PosedImage], path: Path) -> list[PosedImage]:
    """The images, with the positions of their cameras where a file has one.

    Rows are `IMAGE x y z std`: the name of an image, metres in a frame whose z axis points up, and the standard
    deviation of each coordinate. `#` begins a comment.

    Raises:
        InputError: the file cannot be read, a row is not as expected, or names no image or one twice.
    """
    rows = _read_rows(path, [image.name for image in images], _POSITION_ROW, _MAX_STD_M)
    return [
        replace(image, position=MeasuredPosition(row[:3], np.repeat(row[3], 3)))
        if (row := rows.get(image.name)) is not None
        else image
        for image in images
    ]


def with_gravity(images: Sequence[PosedImage], path: Path) -> list[PosedImage]:
    """The images, with the direction of gravity where a file has one.

    Rows are `IMAGE x y z std`: the name of an image, the direction of gravity in its camera's optical frame, so about
    (0, 1, 0) for a level camera, and its standard deviation in degrees. `#` begins a comment.

    Raises:
        InputError: the file cannot be read, a row is not as expected, or names no image or one twice.
    """
    rows = _read_rows(path, [image.name for image in images], _GRAVITY_ROW, _MAX_STD_DEGREES)
    if any(not np.linalg.norm(row[:3]) > 0 for row in rows.values()):
        raise InputError(f"{path}: a direction of gravity is 0 0 0, expected {_GRAVITY_ROW}")
    return [
        replace(image, gravity=MeasuredGravity(row[:3] / np.linalg.norm(row[:3]), float(np.radians(row[3]))))
        if (row := rows.get(image.name)) is not None
        else image
        for image in images
    ]


def _read_rows(path: Path, names: Sequence[str], expected: str, max_std: float) -> dict[str, Array]:
    """(4,) numbers by image."""
    known, rows = set(names), dict[str, Array]()
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split("#", 1)[0].replace(",", " ").split()
        if not words:
            continue
        try:
            row = np.array([number_of(word) for word in words[1:]])
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}, expected {expected}") from None
        if row.shape != (_NUMBERS,) or not np.isfinite(row).all() or not 0.0 < row[3] <= max_std:
            raise InputError(
                f"{path}, line {number}: found {' '.join(words[1:])!r}, expected {expected} (0 to {max_std:g})"
            )
        if words[0] not in known or words[0] in rows:
            problem = "names an image twice" if words[0] in rows else "names none of the images"
            raise InputError(f"{path}, line {number}: {words[0]} {problem}, such as {names[0]}; expected {expected}")
        rows[words[0]] = row
    if not rows:
        raise InputError(f"{path}: holds no row, expected {expected}")
    return rows
