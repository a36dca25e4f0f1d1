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

"""The images of a report: some of the queries with their inliers, each with the keyframe that shares most of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.sources import QuerySource
from vloc_ros.evaluation.page import image_address
from vloc_ros.storage.images import read_image
from vloc_ros.storage.results import ResultRecord
from vloc_ros.storage.runs import QueryRow

WORST, SAMPLED = 40, 40
_WIDTH_PX = 480
_JPEG_QUALITY = 72
_MAX_INLIERS = 150


def choose_images(rows: Sequence[QueryRow]) -> list[int]:
    """Which queries are shown: the worst, and an even sample of all.

    The worst are false accepts, then refused ones, then those of the largest error. Among negatives a refused image is
    the worse, the more inliers it has.
    """
    without_truth = all(row.truth is None for row in rows)

    def badness(i: int) -> tuple[bool, bool, float]:
        row = rows[i]
        evidence = float(row.inliers) if without_truth else row.translation_m or 0.0
        return row.false_accept, not row.accepted and not without_truth, evidence

    worst = sorted(range(len(rows)), key=badness, reverse=True)[:WORST]
    sample = np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).round().astype(int)
    return sorted({*worst, *sample.tolist()})


def make_images(
    landmark_map: LandmarkMap,
    sources: Sequence[QuerySource],
    records: Sequence[ResultRecord],
    chosen: Sequence[int],
    keyframe_images: Sequence[Path],
) -> dict[str, Any]:
    """The chosen images as values for a page: `queries` by their number, `keyframes` by theirs.

    Args:
        landmark_map: the map of the localizer.
        sources: of all queries.
        records: of all queries.
        chosen: numbers of the queries.
        keyframe_images: file of every keyframe; none where the map's images are not at hand.

    Raises:
        InputError: an image cannot be read.
    """
    queries, keyframes = dict[int, Any](), dict[int, Any]()
    for i in chosen:
        shown = _query(landmark_map, sources[i].read(), records[i])
        queries[i] = shown
        k = shown["keyframe"]
        if k is None or not keyframe_images:
            continue
        pixels = read_image(keyframe_images[k])
        if k not in keyframes:
            keyframes[k] = {"name": landmark_map.keyframes.names[k], **thumbnail(pixels, _WIDTH_PX)}
    return {"queries": queries, "keyframes": keyframes}


def thumbnail(image: Array, width_px: int) -> dict[str, Any]:
    """A JPEG of an image of any size, as values for a page, with the size of the image in pixels."""
    height, width = image.shape[:2]
    scale = min(1.0, width_px / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return {"src": image_address(bytes(data), "jpeg"), "width": width, "height": height}


def _query(landmark_map: LandmarkMap, query: Query, record: ResultRecord) -> dict[str, Any]:
    """The first view, and per inlier: its pixel, where its point projects to, and its pixel in the keyframe."""
    if not query.views:
        raise InputError(f"{record.image}: has no image, expected a query with one; leave --report out")
    view, result = query.views[0], record.result
    mine = np.flatnonzero(result.inlier_views == 0)
    mine = mine[np.linspace(0, len(mine) - 1, min(_MAX_INLIERS, len(mine))).round().astype(int)]
    points, pixels = result.inlier_points[mine], result.inlier_xy[mine].astype(np.float64)
    projected = np.full((len(mine), 2), np.nan)
    if result.map_from_rig is not None:
        scene_from_rig = landmark_map.scene(result.frame_id).scene_from(result.map_from_rig)
        camera_from_scene = (scene_from_rig @ view.rig_from_camera).inverse()
        projected = view.camera.project(camera_from_scene.apply(landmark_map.points[points]))
    k = _keyframe_of(landmark_map.keyframes, result.inlier_points)
    in_keyframe = np.full((len(mine), 2), np.nan) if k is None else _pixels_in_keyframe(landmark_map, k, points)
    rows = np.hstack([pixels, projected, in_keyframe])
    return {
        **thumbnail(view.image, _WIDTH_PX),
        "inliers": [[round(v, 1) if np.isfinite(v) else None for v in row] for row in rows.tolist()],
        "first_view_inliers": int((result.inlier_views == 0).sum()),
        "keyframe": k,
    }


def _keyframe_of(keyframes: Keyframes, points: Array) -> int | None:
    """The keyframe that observes most of some points; None where there are none, or it observes none of them."""
    if not len(points) or not len(keyframes):
        return None
    observed = np.isin(keyframes.point_indices, points)
    shared = np.bincount(keyframes.keyframe_of_observation[observed], minlength=len(keyframes))
    return int(shared.argmax()) if shared.max() else None


def _pixels_in_keyframe(landmark_map: LandmarkMap, k: int, points: Array) -> Array:
    """(N, 2) where points that a keyframe observes project to in its image; NaN for other points."""
    keyframes, pixels = landmark_map.keyframes, np.full((len(points), 2), np.nan)
    if not keyframes.cameras:
        return pixels
    observed = np.isin(points, keyframes.visible(k))
    camera_from_scene: Pose = keyframes.pose(k).inverse()
    projected = keyframes.cameras[k].project(camera_from_scene.apply(landmark_map.points[points[observed]]))
    pixels[observed] = np.where(keyframes.cameras[k].contains(projected)[:, None], projected, np.nan)
    return pixels
