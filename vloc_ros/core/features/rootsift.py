"""RootSIFT keypoints."""

from __future__ import annotations

import cv2
import numpy as np

from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array

# COLMAP's pixel centres lie half a pixel further; OpenCV's SIFT doubles the image in a way that shifts its keypoints
# by a quarter of a pixel (mirroring an image shows it), and only newer versions can switch that off
_COLMAP_FROM_OPENCV_SIFT = np.float32(0.5 - 0.25)


class RootSift:
    """SIFT (Lowe 2004) from OpenCV with the Hellinger mapping of RootSIFT (Arandjelovic and Zisserman 2012)."""

    dimension = 128

    def __init__(self, config: RootSiftConfig) -> None:
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


def _root(sift: Array) -> Array:
    """Hellinger mapping: L1-normalise, then square root; the result has unit L2 norm."""
    total = np.maximum(sift.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.sqrt(sift / total), dtype=np.float32)
