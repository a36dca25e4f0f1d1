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

"""The view from above: the map's points as a picture, its cameras, and the path of the queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.view_from_above import ground_plane, name_axis
from vloc_ros.evaluation.page import image_address
from vloc_ros.storage.runs import QueryRow

_PICTURE_PX = 1100
_MARGIN = 0.25
_LEAST_MARGIN_M = 0.3
# width by height of the drawing: wider than high, so that it fits a page
_LEAST_ASPECT, _LARGEST_ASPECT = 1.45, 2.6
# of the densest pixels, so many are as dark as it gets
_DARK_SHARE = 0.02
_INK = 150.0


def view_from_above(
    landmark_map: LandmarkMap, rows: Sequence[QueryRow], truth: Sequence[Pose | None]
) -> dict[str, Any]:
    """The queries' poses seen from above, with the map around them, as values for a page.

    Args:
        landmark_map: of one scene.
        rows: of the queries; those with poses in another scene have none here.
        truth: of each query, in the frame of the map; None where that is not known.
    """
    scene, plane = landmark_map.scene(), ground_plane(landmark_map)
    unit = "m" if landmark_map.metric else "units of the map"

    def flat(pose: Pose | None) -> list[float] | None:
        return None if pose is None else _rounded(plane @ pose.translation)

    true = [flat(pose) for pose in truth]
    estimates = [flat(row.map_from_rig) if row.frame_id in ("", scene.frame_id) else None for row in rows]
    keyframes = (landmark_map.keyframes.translations + scene.origin) @ plane.T
    known = any(pose is not None for pose in truth)
    path = np.array([at for at in (true if known else estimates) if at is not None]).reshape(-1, 2)
    low, high = _extent(np.vstack([keyframes, path]))
    return {
        "truth": true,
        "estimates": estimates,
        "keyframes": np.round(keyframes, 4).tolist(),
        "low": _rounded(low),
        "high": _rounded(high),
        "points": image_address(_draw_points((landmark_map.points + scene.origin) @ plane.T, low, high), "png"),
        "axes": [", ".join(filter(None, (name_axis(axis), unit))) for axis in plane],
    }


def _extent(positions: Array) -> tuple[Array, Array]:
    """Corners of the drawing: the cameras with a margin, whatever outliers the map has."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    margin = max(_MARGIN * float((high - low).max()), _LEAST_MARGIN_M)
    centre, half = (low + high) / 2, (high - low) / 2 + margin
    half[0] = max(half[0], _LEAST_ASPECT * half[1])
    half[1] = max(half[1], half[0] / _LARGEST_ASPECT)
    return centre - half, centre + half


def _draw_points(points: Array, low: Array, high: Array) -> bytes:
    """A transparent PNG of (P, 2) points, darker where there are more of them."""
    size = high - low
    width, height = np.maximum(1, np.rint(_PICTURE_PX * size / size.max())).astype(int)
    counts, _, _ = np.histogram2d(
        points[:, 1], points[:, 0], bins=(int(height), int(width)), range=[(low[1], high[1]), (low[0], high[0])]
    )
    density = cv2.GaussianBlur(counts[::-1].astype(np.float32), (0, 0), 1.0)
    seen = density[density > 1e-3]
    full = float(np.quantile(seen, 1 - _DARK_SHARE)) if len(seen) else 1.0
    alpha = np.clip(np.sqrt(density / full), 0, 1) * _INK
    picture = np.dstack([np.full((*density.shape, 3), (0x70, 0x65, 0x5B), np.uint8), alpha.astype(np.uint8)])
    done, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done
    return bytes(data)


def _rounded(values: Array) -> list[float]:
    return [round(float(value), 4) for value in values]
