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

"""How views are augmented at every step of a training of global descriptors: crops and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.image_crop import ImageCrop
from vloc_ros.core.config import Checked, parameter


@dataclass(frozen=True, slots=True)
class ViewAugmentationConfig(Checked):
    """How images are augmented at every step of training; `image_augmentation` is of keypoints, once before it."""

    crop: float = parameter(0.3, "largest share of width and of height that is cropped", low=0.0, high=0.9)
    mirror: float = parameter(0.5, "share of batches that are mirrored", low=0.0, high=1.0)
    light: float = parameter(0.4, "largest change of brightness, contrast and each colour", low=0.0, high=0.9)
    dusk: float = parameter(0.15, "share of images relit as at dusk", low=0.0, high=1.0)
    night: float = parameter(0.15, "share of images relit as at night, by lamps", low=0.0, high=1.0)
    blur_px: float = parameter(1.0, "largest sigma of a blur", unit="px", low=0.0, high=20.0)


def draw_crop(rng: np.random.Generator, augmentation: ViewAugmentationConfig, *, mirrored: bool) -> ImageCrop:
    """A random crop; width and height are drawn independently."""
    width, height = 1 - rng.uniform(0, augmentation.crop, 2)
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return ImageCrop(left, top, left + width, top + height, mirrored)
