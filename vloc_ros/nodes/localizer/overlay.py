"""The debug image: inliers and the result drawn into the image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.result import LocalizationResult

_GREEN, _RED, _BLACK = (80, 220, 80), (60, 60, 235), (0, 0, 0)


def draw_result(images: Sequence[Array], result: LocalizationResult) -> Array:
    """Return an (H, W, 3) BGR image of all views side by side, with inliers as circles and a line of text."""
    colour = _GREEN if result.ok else _RED
    canvas = _side_by_side(images)
    lefts = np.cumsum([0, *(image.shape[1] for image in images)])
    # COLMAP's pixel centres are at halves, OpenCV draws at integers
    for (x, y), view in zip(np.rint(result.inlier_xy - 0.5).astype(int), result.inlier_views, strict=True):
        cv2.circle(canvas, (int(x + lefts[view]), int(y)), 3, colour, 1, cv2.LINE_AA)
    text = f"{result.status.name}  {result.inliers}/{result.matches} inliers  {result.candidate}"
    for tint, width in ((_BLACK, 3), (colour, 1)):
        cv2.putText(canvas, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, tint, width, cv2.LINE_AA)
    return canvas


def _side_by_side(images: Sequence[Array]) -> Array:
    """Return a copy of all images, padded with black to the same height."""
    canvas = np.zeros((max(i.shape[0] for i in images), sum(i.shape[1] for i in images), 3), np.uint8)
    left = 0
    for image in images:
        height, width = image.shape[:2]
        bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
        canvas[:height, left : left + width] = bgr
        left += width
    return canvas
