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

"""How blurred an image is, without another one to compare it with."""

from __future__ import annotations

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array

_WIDTH_PX = 640
_FILTER_PX = 11


def measure_blur(image: Array) -> float:
    """Measure blur from 0 (sharp) to 1 (nothing is left of an edge), along the axis in which there is more of it.

    Blurring a sharp image once more changes the differences between its pixels a lot, that of a blurred one little
    (Crété-Roffet et al., The blur effect, SPIE 2007). Images are reduced to a width of 640 pixels first, so that
    cameras of different resolutions are comparable.

    Args:
        image: (H, W) grey or (H, W, 3) BGR uint8 pixels.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if grey.shape[1] > _WIDTH_PX:
        height = max(round(grey.shape[0] * _WIDTH_PX / grey.shape[1]), 1)
        grey = cv2.resize(grey, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    pixels = np.asarray(grey, dtype=np.float32)
    return max(_blur_along(pixels, axis) for axis in (0, 1))


def _blur_along(pixels: Array, axis: int) -> float:
    """Share of the differences along an axis that a further blur along it leaves."""
    size = (1, _FILTER_PX) if axis == 0 else (_FILTER_PX, 1)
    before = np.abs(np.diff(pixels, axis=axis))
    after = np.abs(np.diff(cv2.blur(pixels, size), axis=axis))
    total = float(before.sum())
    return 1.0 - float(np.maximum(before - after, 0.0).sum()) / total if total > 0 else 1.0
