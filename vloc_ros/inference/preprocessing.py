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

"""Preprocessing of images for a global descriptor model, the same in training and on the robot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import cv2
import numpy as np

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.geometry.pose import Array

_MOST_PX = 8192
# least divisor: the contrast of an image with less deviation, such as a dark wall, is mostly noise
_LEAST_STD = 0.1


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The whole image is resized, divided by `scale`, and standardised by `mean` and `std`, then by its own statistics.

    The last step makes the input independent of an image's overall brightness and contrast, so that exposure need not
    be learned.

    Attributes:
        size: height and width in pixels; the aspect ratio is not kept.
        mean: of each channel after the division by `scale`; ImageNet's by default.
        std: of each channel after the division by `scale`; ImageNet's by default.
        color: order of the channels.
        interpolation: `area`, of cv2.resize, which averages all pixels when it reduces an image.
        scale: value of a white pixel.
        own: also standardise by the image's own mean and deviation, over all pixels and channels.

    Raises:
        ModelError: a value is not supported.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    color: str = "rgb"
    interpolation: str = "area"
    scale: float = 255.0
    own: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _check_numbers("size", self.size, 2, whole=True))
        object.__setattr__(self, "mean", _check_numbers("mean", self.mean, 3))
        object.__setattr__(self, "std", _check_numbers("std", self.std, 3))
        object.__setattr__(self, "scale", _check_numbers("scale", (self.scale,), 1)[0])
        if not all(1 <= length <= _MOST_PX for length in self.size):
            raise ModelError(f"preprocessing.size is {list(self.size)}, expected 1 to {_MOST_PX} pixels each")
        if min(self.std) <= 0 or self.scale <= 0:
            raise ModelError(f"preprocessing divides by {list(self.std)} and {self.scale:g}, expected more than 0")
        if type(self.own) is not bool:
            raise ModelError(f"preprocessing.own is {self.own!r}, expected true or false; train the model again")
        for name, supported in (("color", "rgb"), ("interpolation", "area")):
            if getattr(self, name) != supported:
                raise ModelError(
                    f"preprocessing.{name} is {getattr(self, name)!r}, this version supports {supported!r}"
                )

    def apply(self, image: Array) -> Array:
        """(3, H, W) float32, contiguous, from an image of any size.

        Args:
            image: (h, w) uint8 grey or (h, w, 3) uint8 BGR.

        Raises:
            InputError: the image has another shape or type, or no pixels.
        """
        check_image(image)
        small = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA)
        rgb = cv2.cvtColor(small, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        values = (rgb.astype(np.float32) / np.float32(self.scale) - mean) / std
        if self.own:
            values = (values - values.mean()) / max(float(values.std()), _LEAST_STD)
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def at(self, size: tuple[int, int]) -> Preprocessing:
        """The same to another height and width."""
        return replace(self, size=size)

    def to_manifest(self) -> dict[str, Any]:
        """All values as JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @staticmethod
    def from_manifest(mapping: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_manifest`, without defaults: a default that changed later would change the descriptors.

        Raises:
            ModelError: an entry is missing, unknown or not supported.
        """
        names = [field.name for field in fields(Preprocessing)]
        found = sorted(mapping) if isinstance(mapping, Mapping) else mapping
        if found != sorted(names):
            raise ModelError(f"preprocessing has {found}, expected {', '.join(names)}; train the model again")
        return Preprocessing(**mapping)


def check_image(image: Array) -> None:
    """Raise InputError unless an image is (h, w) uint8 grey or (h, w, 3) uint8 BGR, with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InputError(f"an image has shape {image.shape} of {image.dtype}, expected uint8 grey or BGR")
    if not image.size:
        raise InputError(f"an image has shape {image.shape}, expected at least one pixel")


def _check_numbers(name: str, values: Any, count: int, *, whole: bool = False) -> tuple[Any, ...]:
    """The values as a tuple; they must be `count` finite numbers."""
    types: tuple[type, ...] = (int,) if whole else (int, float)
    is_list = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == count
    if not is_list or not all(type(value) in types and math.isfinite(value) for value in values):
        kind = "whole numbers" if whole else "numbers"
        raise ModelError(f"preprocessing.{name} is {values!r}, expected {count} {kind}; train the model again")
    return tuple(values if whole else map(float, values))
