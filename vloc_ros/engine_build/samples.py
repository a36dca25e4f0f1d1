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

"""Inputs of a model made of images, to calibrate int8 and to measure what a precision loses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.models import Model
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.storage.images import read_image

Sample = dict[str, Array]
# larger images are reduced: calibration keeps the extremes of every value in memory
_LARGEST_PX = 1024


def make_sampler(model: Model) -> Callable[[Array], Sample]:
    """From an image, grey or BGR, to the inputs of the model's graph.

    Raises:
        InputError: a model of this kind does not take images.
    """
    kind = model.manifest.get("kind")
    if kind == "keypoints":
        return lambda image: _keypoint_sample(model, image)
    if kind in ("global descriptor", "place encoder"):
        preprocessing = Preprocessing.from_manifest(model.entry("preprocessing"))
        return lambda image: {"images": preprocessing.apply(image)[None]}
    raise InputError(f"a model of kind {kind!r} takes no images, expected keypoints or a global descriptor; leave "
                     "--images out, and use fp32 or fp16")  # fmt: skip


def read_samples(model: Model, paths: Sequence[Path]) -> Iterator[Sample]:
    """One sample an image."""
    if not paths:
        return iter(())
    sampler = make_sampler(model)
    return (sampler(read_image(path)) for path in paths)


def _keypoint_sample(model: Model, image: Array) -> Sample:
    scale = min(1.0, _LARGEST_PX / max(image.shape[:2]))
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if model.entry("image", "color") == "grey":
        pixels = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    else:
        pixels = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.ndim == 3 else cv2.COLOR_GRAY2RGB)
    stride = int(model.entry("image", "stride"))
    height, width = (size // stride * stride for size in pixels.shape[:2])
    return {
        "image": np.ascontiguousarray(pixels[:height, :width]),
        "max_keypoints": np.array([model.entry("keypoints", "default_max_keypoints")], np.int64),
        "min_score": np.array([model.entry("keypoints", "default_min_score")], np.float32),
    }
