"""Keypoints with descriptors, and the extractors that find them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from vloc_ros.core.config import ExtractorConfig
from vloc_ros.core.geometry.pose import Array

# COLMAP's pixel centres lie half a pixel further; OpenCV's SIFT doubles the image in a way that shifts its keypoints
# by a quarter of a pixel (mirroring an image shows it), and only newer versions can switch that off
_COLMAP_FROM_OPENCV_SIFT = np.float32(0.5 - 0.25)


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

    def extract(self, image: Array) -> Features:
        """Keypoints of a uint8 grey or BGR image; empty features when it shows none."""
        ...


class RootSift:
    """SIFT (Lowe 2004) from OpenCV with the Hellinger mapping of RootSIFT (Arandjelovic and Zisserman 2012)."""

    dimension = 128

    def __init__(self, config: ExtractorConfig) -> None:
        self._max_keypoints = config.max_keypoints
        self._sift = cv2.SIFT_create(nfeatures=config.max_keypoints, contrastThreshold=config.contrast_threshold)

    def extract(self, image: Array) -> Features:
        """Keypoints of a uint8 grey or BGR image; empty features when it shows none."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
        keypoints, descriptors = self._sift.detectAndCompute(grey, None)
        if descriptors is None or not len(keypoints):
            return Features.empty(self.dimension)
        scores = np.array([k.response for k in keypoints], np.float32)
        order = np.argsort(-scores, kind="stable")[: self._max_keypoints]
        xy = np.asarray(cv2.KeyPoint.convert(keypoints))[order] + _COLMAP_FROM_OPENCV_SIFT
        return Features(xy, _root(descriptors[order]), scores[order])


def extract_scaled(extractor: Extractor, image: Array, scale: float) -> Features:
    """The keypoints of an image looked at smaller: fewer and coarser ones, at their places in the whole image."""
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = extractor.extract(small)
    # OpenCV scales by exactly this where the size is not given, also when the last column is but a part of a pixel
    return replace(found, xy=found.xy / np.float32(scale))


def _root(sift: Array) -> Array:
    """Hellinger mapping: L1-normalise, then square root; the result has unit L2 norm."""
    total = np.maximum(sift.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.sqrt(sift / total), dtype=np.float32)
