"""The debug image: inliers and the verdict drawn into the image."""

from __future__ import annotations

import cv2
import numpy as np

from vloc_ros.core.pose import Array
from vloc_ros.core.result import LocalizationResult

_GREEN, _RED, _BLACK = (80, 220, 80), (60, 60, 235), (0, 0, 0)


def drawn(image: Array, result: LocalizationResult) -> Array:
    """(H, W, 3) BGR copy of a grey or BGR image with its inliers as circles and a line of text."""
    canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
    colour = _GREEN if result.ok else _RED
    # COLMAP's pixel centres are at halves, OpenCV draws at integers
    for x, y in np.rint(result.inlier_xy - 0.5).astype(int):
        cv2.circle(canvas, (int(x), int(y)), 3, colour, 1, cv2.LINE_AA)
    text = f"{result.status.name}  {result.inliers}/{result.matches} inliers  {result.proposal}"
    for tint, width in ((_BLACK, 3), (colour, 1)):
        cv2.putText(canvas, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, tint, width, cv2.LINE_AA)
    return canvas
