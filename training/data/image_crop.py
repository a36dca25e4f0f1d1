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

"""Crops of images, and where positions in an image lie in its crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array


@dataclass(frozen=True, slots=True)
class ImageCrop:
    """A crop of an image, possibly mirrored.

    Attributes:
        left: edge of the crop, as a share of the width, 0 to 1.
        top: edge of the crop, as a share of the height, 0 to 1.
        right: edge of the crop, as a share of the width, 0 to 1.
        bottom: edge of the crop, as a share of the height, 0 to 1.
        mirrored: whether left and right are exchanged after cropping.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0
    mirrored: bool = False

    def apply(self, image: Array) -> Array:
        """The crop of an (H, W) or (H, W, 3) image."""
        height, width = image.shape[:2]
        rows = slice(round(self.top * height), max(round(self.bottom * height), round(self.top * height) + 1))
        columns = slice(round(self.left * width), max(round(self.right * width), round(self.left * width) + 1))
        part = image[rows, columns]
        return np.ascontiguousarray(part[:, ::-1] if self.mirrored else part)

    def contains(self, uv: Array) -> Array:
        """(V,) bool, which of (V, 2) positions in the image lie in the crop."""
        there = self.transform(uv)
        return np.asarray(((there >= 0) & (there < 1)).all(axis=1))

    def transform(self, uv: Array) -> Array:
        """(V, 2) positions in the crop from those in the image; outside the crop they are outside 0 to 1."""
        there = (uv - [self.left, self.top]) / [self.right - self.left, self.bottom - self.top]
        return np.column_stack([1 - there[:, 0], there[:, 1]]) if self.mirrored else np.asarray(there)
