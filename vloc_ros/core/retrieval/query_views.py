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

"""An image as its views for retrieval, as the benchmark makes them, at several scales: each is described by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from vloc_ros.core.errors import ConfigError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.encoders import GlobalDescriptorEncoder
from vloc_ros.core.retrieval.ranking import CENTRAL_CROP, HARD_RESIZE, METHODS, SINGLE_QUERY, normalize

# height and width of the benchmark
DEFAULT_SIZE = (480, 640)


class SizedEncoder(GlobalDescriptorEncoder, Protocol):
    """An encoder of which it is known whether it describes an image at the image's own size."""

    @property
    def takes_any_size(self) -> bool:
        """Whether images are described at their own size; else each is resized to that of the encoder."""
        ...

    def encode_at_own_size(self, images: Sequence[Array]) -> Array:
        """(N, D) float32 L2-normalised descriptors of N >= 1 images, which are not resized."""
        ...


def check_views(
    encoder: SizedEncoder, method: str, scales: Sequence[float], size: tuple[int, int] | None = None
) -> None:
    """Refuse what an encoder of a fixed size cannot do: it would silently be a hard resize, or a second one.

    Raises:
        ConfigError: the method is unknown, a scale is not positive, or the encoder has a fixed size.
    """
    if method not in METHODS:
        raise ConfigError(f"the method is {method!r}, expected one of {', '.join(METHODS)}")
    if not scales or min(scales) <= 0 or not np.isfinite(scales).all():
        raise ConfigError(f"the scales are {list(scales)}, expected numbers above 0")
    if not encoder.takes_any_size and size is not None:
        raise ConfigError(
            f"found a size of {size[0]} {size[1]} pixels for an encoder that resizes each image to its own, expected "
            "none; leave out --resize"
        )
    if not encoder.takes_any_size and (method == SINGLE_QUERY or tuple(scales) != (1.0,)):
        what = SINGLE_QUERY if method == SINGLE_QUERY else "several scales"
        raise ConfigError(
            f"{what} needs an encoder that takes images of any size, found one that resizes each to its own; export "
            "such a model (`vloc model export gem-efficientnet-lite0`), or leave the option out"
        )


def describe_views(
    encoder: SizedEncoder,
    image: Array,
    *,
    method: str,
    size: tuple[int, int] | None = None,
    scales: Sequence[float] = (1.0,),
) -> Array:
    """(V, D) float32 L2-normalised descriptors of an image: the mean over the scales, for each view.

    Args:
        encoder: see `check_views`.
        image: (H, W) uint8 grey or (H, W, 3) uint8 BGR.
        method: of `METHODS`.
        size: height and width in pixels, as `make_views` has it; None is `DEFAULT_SIZE`.
        scales: factors of that size.
    """
    # an encoder of a fixed size resizes the image itself
    whole = not encoder.takes_any_size and method == HARD_RESIZE
    views = [image] if whole else make_views(image, method, size or DEFAULT_SIZE)
    if not encoder.takes_any_size:
        return normalize(encoder.encode(views))
    found = [encoder.encode_at_own_size([_scale(view, scale) for view in views]) for scale in scales]
    return normalize(np.mean(found, axis=0))


def make_views(image: Array, method: str, size: tuple[int, int]) -> list[Array]:
    """The views of an image.

    Args:
        image: (H, W) uint8 grey or (H, W, 3) uint8 BGR.
        method: `hard_resize`: to `size`, whatever the aspect ratio. `single_query`: the shorter side to the smaller
            of `size`. `central_crop`: to cover `size`, of which the middle is taken. All others: five squares of the
            smaller of `size`, in the corners and the middle, after `single_query`.
        size: height and width in pixels.
    """
    if method == HARD_RESIZE:
        return [_resize(image, size)]
    height, width = image.shape[:2]
    if method == CENTRAL_CROP:
        scale = max(size[0] / height, size[1] / width)
        covering = _resize(image, (max(size[0], round(scale * height)), max(size[1], round(scale * width))))
        return [_crop(covering, size, (0.5, 0.5))]
    shorter = min(size)
    scale = shorter / min(height, width)
    whole = _resize(image, (max(shorter, round(scale * height)), max(shorter, round(scale * width))))
    if method == SINGLE_QUERY:
        return [whole]
    places = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))
    return [_crop(whole, (shorter, shorter), place) for place in places]


def _scale(image: Array, scale: float) -> Array:
    if scale == 1.0:
        return image
    height, width = image.shape[:2]
    return _resize(image, (max(1, round(scale * height)), max(1, round(scale * width))))


def _resize(image: Array, size: tuple[int, int]) -> Array:
    if image.shape[:2] == size:
        return image
    smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=interpolation))


def _crop(image: Array, size: tuple[int, int], place: tuple[float, float]) -> Array:
    top, left = (round(at * (length - kept)) for at, length, kept in zip(place, image.shape[:2], size, strict=True))
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])
