"""Images with the inliers of the localizer drawn on top."""

from __future__ import annotations

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query

ERROR_MAGNIFICATION = 8.0
_MAX_WIDTH_PX = 640
_JPEG_QUALITY = 82
_GREEN, _RED = (60, 190, 40), (40, 40, 230)
_SUBPIXEL_BITS = 4


def draw_overlay(landmark_map: LandmarkMap, query: Query, result: LocalizationResult) -> bytes:
    """Draw a JPEG of the first view: inliers as circles, their reprojection errors as magnified lines.

    A refused query has no pose, and so no lines.
    """
    view = query.views[0]
    scale = min(1.0, _MAX_WIDTH_PX / view.camera.width)
    canvas = _make_background(view.image, scale)
    mine = result.inlier_views == 0
    xy = result.inlier_xy[mine].astype(np.float64)
    if result.map_from_rig is not None:
        scene_from_rig = landmark_map.scene(result.frame_id).scene_from(result.map_from_rig)
        camera_from_scene = (scene_from_rig @ view.rig_from_camera).inverse()
        seen = view.camera.project(camera_from_scene.apply(landmark_map.points[result.inlier_points[mine]]))
        ends = xy + (seen - xy) * ERROR_MAGNIFICATION
        for start, end in zip(xy[np.isfinite(ends).all(axis=1)], ends[np.isfinite(ends).all(axis=1)], strict=True):
            cv2.line(canvas, _fixed_point(start, scale), _fixed_point(end, scale), _RED, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    for pixel in xy:
        cv2.circle(canvas, _fixed_point(pixel, scale), 3 << _SUBPIXEL_BITS, _GREEN, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    done, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return bytes(data)


def _make_background(image: Array, scale: float) -> Array:
    """Make a grey copy at the size of the page, on which the drawing stands out."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return np.asarray(cv2.cvtColor(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR))


def _fixed_point(pixel: Array, scale: float) -> tuple[int, int]:
    """OpenCV's fixed-point coordinates; its pixel centres are half a pixel nearer to the corner than ours."""
    x, y = np.rint((pixel * scale - 0.5) * (1 << _SUBPIXEL_BITS)).astype(int)
    return int(x), int(y)
