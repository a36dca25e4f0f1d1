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

"""Keypoints with descriptors, and what an extractor is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The keypoints of one image.

    Attributes:
        xy: (N, 2) float32 pixels, COLMAP's convention (centre of the top-left pixel at (0.5, 0.5)).
        descriptors: (N, D) float32, L2-normalised.
        scores: (N,) float32, larger is better; the keypoints come in descending order of it.
    """

    xy: Array
    descriptors: Array
    scores: Array

    def __post_init__(self) -> None:
        n = len(self.xy)
        assert self.xy.shape == (n, 2)
        assert len(self.descriptors) == len(self.scores) == n

    def __len__(self) -> int:
        return len(self.xy)

    def strongest(self, count: int | None) -> Features:
        """The first so many of them; None for all."""
        if count is None or count >= len(self):
            return self
        return Features(self.xy[:count], self.descriptors[:count], self.scores[:count])

    def seen_through(self, camera: Camera) -> Features:
        """Those that a ray of a camera meets; the others cannot be used."""
        reached = camera.reaches(self.xy)
        return self if reached.all() else Features(self.xy[reached], self.descriptors[reached], self.scores[reached])

    @staticmethod
    def empty(dimension: int) -> Features:
        """No keypoints."""
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, dimension), np.float32), np.zeros(0, np.float32))


class Extractor(Protocol):
    """Finds keypoints in one image. The map is built with the same extractor that the queries use."""

    @property
    def dimension(self) -> int:
        """Length of a descriptor."""
        ...

    @property
    def least_scale(self) -> float:
        """Smallest scale at which the keypoints of an image still match a map of whole ones; tracking keeps to it."""
        ...

    def working_scale(self, width: int, height: int) -> float:
        """Scale, at most 1, to which an image of a size is reduced before its keypoints are found."""
        ...

    def extract(self, image: Array) -> Features:
        """Keypoints of a uint8 grey or BGR image; empty features when it shows none."""
        ...


def scale_to_area(width: int, height: int, max_megapixels: float) -> float:
    """Scale, at most 1, at which an image has no more than so many million pixels."""
    return min(1.0, math.sqrt(1e6 * max_megapixels / (width * height)))


def extract_scaled(extractor: Extractor, image: Array, scale: float) -> Features:
    """The keypoints of an image reduced to a part of what the extractor works on, fewer and coarser."""
    height, width = image.shape[:2]
    return extract_reduced(extractor.extract, image, scale * extractor.working_scale(width, height))


def extract_reduced(extract: Callable[[Array], Features], image: Array, scale: float) -> Features:
    """The keypoints of a reduced image, in pixels of the whole image."""
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = extract(small)
    # OpenCV scales by exactly this where the size is not given, also when the last column is but a part of a pixel
    return replace(found, xy=found.xy / np.float32(scale))
