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

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

# what is known of an image's ground size is off by less: a finer one than this much shows nothing more
SIZE_TOLERANCE = 1.05


@dataclass(frozen=True, slots=True, eq=False)
class GroundImage:
    """A raster along the axes of a map: x to the right, y up.

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

    def resample(self, ground_size_m: float) -> GroundImage:
        """The same ground in coarser pixels; finer ones would show nothing more."""
        scale = self.ground_size_m / ground_size_m
        if scale > 1.0 + 1e-6:
            raise InputError(
                f"tiles with pixels of {ground_size_m:g} m were requested of an image with {self.ground_size_m:g} m; "
                "give a ground size no finer than the image's"
            )
        height, width = (max(1, round(scale * size)) for size in self.shown.shape)
        image = cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)
        shown = cv2.resize(self.shown.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        return GroundImage(np.asarray(image), shown, self.left_m, self.top_m, ground_size_m)
