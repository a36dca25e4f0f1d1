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

"""Images of the ground seen from straight above, each pixel of one size: what aerial maps are cut from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

# what is known of an image's ground size is off by less: a finer one than this much shows nothing more
SIZE_TOLERANCE = 1.05


class GroundRaster(Protocol):
    """A raster along the axes of a map, x to the right and y up, read in parts: all of it need not fit in memory."""

    @property
    def left_m(self) -> float:
        """x of the left edge, metres in the map."""
        ...

    @property
    def top_m(self) -> float:
        """y of the upper edge, metres in the map."""
        ...

    @property
    def ground_size_m(self) -> float:
        """Side of a pixel on the ground."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        ...

    def resample(self, ground_size_m: float) -> GroundRaster:
        """The same ground in coarser pixels; finer ones would show nothing more."""
        ...

    def may_show(self, rows: slice, columns: slice) -> bool:
        """Whether a part may show ground; False, without reading it, where it surely shows none."""
        ...

    def read(self, rows: slice, columns: slice) -> tuple[Array, Array]:
        """(H, W, 3) or (H, W) uint8 pixels of a part, and (H, W) bool where they show ground."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class GroundImage:
    """A ground raster in memory.

    Attributes:
        image: (H, W, 3) or (H, W) uint8.
        shown: (H, W) bool, where there is ground; not beyond the edge of a mosaic.
        left_m: x of the left edge, metres in the map.
        top_m: y of the upper edge, metres in the map.
        ground_size_m: side of a pixel on the ground.
    """

    image: Array
    shown: Array
    left_m: float
    top_m: float
    ground_size_m: float

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.shape[:2] != self.shown.shape or self.shown.dtype != bool:
            raise InputError(
                f"a ground image has shape {self.image.shape} of {self.image.dtype} and a mask of {self.shown.shape}, "
                "expected uint8 pixels and as many of a bool mask"
            )
        if not np.isfinite([self.left_m, self.top_m]).all() or not 0 < self.ground_size_m < np.inf:
            raise InputError(
                f"a ground image lies at {self.left_m}, {self.top_m} with pixels of {self.ground_size_m} m, expected "
                "finite metres and a size above 0"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        height, width = self.shown.shape
        return width, height

    def may_show(self, rows: slice, columns: slice) -> bool:
        """See `GroundRaster`."""
        return bool(self.shown[rows, columns].any())

    def read(self, rows: slice, columns: slice) -> tuple[Array, Array]:
        """See `GroundRaster`."""
        return np.ascontiguousarray(self.image[rows, columns]), self.shown[rows, columns]

    def resample(self, ground_size_m: float) -> GroundImage:
        """See `GroundRaster`."""
        check_coarser(ground_size_m, self.ground_size_m)
        scale = self.ground_size_m / ground_size_m
        height, width = (max(1, round(scale * size)) for size in self.shown.shape)
        image = cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)
        shown = cv2.resize(self.shown.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        return GroundImage(np.asarray(image), shown, self.left_m, self.top_m, ground_size_m)


def check_coarser(ground_size_m: float, own_m: float) -> None:
    """Raise InputError where tiles would be finer than what they are cut from."""
    if own_m / ground_size_m > 1.0 + 1e-6:
        raise InputError(
            f"tiles with pixels of {ground_size_m:g} m were requested of an image with {own_m:g} m; give a ground size "
            "no finer than the image's"
        )


def interpolate_nodes(numbers: range, step: int) -> tuple[Array, Array]:
    """(K,) places among N consecutive numbers, and (K, N) weights by which what is known there is interpolated.

    With `rows` of one side and `columns` of the other, `rows.T @ values @ columns` has all of (K, L) values.
    """
    count = max(2, len(numbers) // step + 1)
    nodes = np.linspace(numbers[0], max(numbers[-1], numbers[0] + 1), count)
    at = (np.asarray(numbers) - nodes[0]) / (nodes[1] - nodes[0])
    return nodes, np.maximum(0.0, 1.0 - np.abs(at - np.arange(count)[:, None]))
