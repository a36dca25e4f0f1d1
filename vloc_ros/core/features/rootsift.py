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

"""RootSIFT keypoints."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Features, extract_reduced, scale_to_area
from vloc_ros.core.geometry.pose import Array

# COLMAP's pixel centres lie half a pixel further; OpenCV's SIFT doubles the image in a way that shifts its keypoints
# by a quarter of a pixel (mirroring an image shows it), and only newer versions can switch that off
_COLMAP_FROM_OPENCV_SIFT = np.float32(0.5 - 0.25)
# of OpenCV's SIFT: a keypoint's response, times this, is what its contrast threshold is compared with
_OCTAVE_LAYERS = 3
# smaller images are expected to show fewer keypoints in proportion
_FULL_SIZE_PX = 640 * 480


class RootSift:
    """SIFT (Lowe 2004) from OpenCV with the Hellinger mapping of RootSIFT (Arandjelovic and Zisserman 2012).

    The contrast threshold adapts to the image. Darkness and blur shrink all contrast: then the strongest keypoints
    below the threshold are taken, up to the number that an image of its size should show. A well-lit image with
    texture has that many above it and is not changed.
    """

    dimension = 128
    least_scale = 0.0  # the pyramid has all smaller scales

    def __init__(self, config: RootSiftConfig) -> None:
        self._config = config
        self._max_keypoints, self._max_megapixels = config.max_keypoints, config.max_megapixels
        self._min_keypoints = min(config.min_keypoints, config.max_keypoints)
        self._strong = config.contrast_threshold / _OCTAVE_LAYERS
        thresholds = (config.contrast_threshold, min(config.contrast_threshold, config.min_contrast_threshold))
        self._sift, self._sensitive = (
            cv2.SIFT_create(nfeatures=config.max_keypoints, nOctaveLayers=_OCTAVE_LAYERS, contrastThreshold=threshold)
            for threshold in thresholds
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process builds it again: what OpenCV has of it cannot be sent."""
        return RootSift, (self._config,)

    def working_scale(self, width: int, height: int) -> float:
        """Scale, at most 1, to which an image of a size is reduced before its keypoints are found."""
        return scale_to_area(width, height, self._max_megapixels)

    def extract(self, image: Array) -> Features:
        """Keypoints of a uint8 grey or BGR image; empty features when it shows none."""
        height, width = image.shape[:2]
        scale = self.working_scale(width, height)
        return self._extract(image) if scale == 1.0 else extract_reduced(self._extract, image, scale)

    def _extract(self, image: Array) -> Features:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
        expected = self._expected(grey.size)
        keypoints, descriptors = self._sift.detectAndCompute(grey, None)
        if len(keypoints) < expected:
            keypoints, descriptors = self._sensitive.detectAndCompute(grey, None)
        if descriptors is None or not len(keypoints):
            return Features.empty(self.dimension)
        scores = np.array([k.response for k in keypoints], np.float32)
        order = np.argsort(-scores, kind="stable")
        order = order[: self.count_kept(scores[order], grey.size)]
        xy = np.asarray(cv2.KeyPoint.convert(keypoints))[order] + _COLMAP_FROM_OPENCV_SIFT
        return Features(xy, _root(descriptors[order]), scores[order])

    def count_kept(self, scores: Array, area_px: int) -> int:
        """How many of (N,) descending scores an image of an area keeps, given all down to the least contrast."""
        return min(self._max_keypoints, max(self._expected(area_px), int((scores >= self._strong).sum())))

    def _expected(self, area_px: int) -> int:
        return round(self._min_keypoints * min(1.0, area_px / _FULL_SIZE_PX))


def _root(sift: Array) -> Array:
    """Hellinger mapping: L1-normalise, then square root; the result has unit L2 norm."""
    total = np.maximum(sift.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.sqrt(sift / total), dtype=np.float32)
