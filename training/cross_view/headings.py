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

"""Images turned about their middle, for networks whose descriptors depend on the heading."""

from __future__ import annotations

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array


def turn_image(image: Array, angle_deg: float) -> Array:
    """An image of the same size, turned counter-clockwise; what comes in at the corners is mirrored.

    Whole quarters of a square image are exact. By minus the bearing of its upper edge, an image is turned north up.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        angle_deg: of the turn.
    """
    height, width = image.shape[:2]
    quarters, rest = divmod(angle_deg, 90.0)
    if rest == 0.0 and (quarters % 2 == 0 or height == width):
        return np.ascontiguousarray(np.rot90(image, int(quarters)))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned)
