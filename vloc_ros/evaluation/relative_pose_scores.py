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

"""Scores of relative poses and of matches of two views, as SuperGlue's evaluation has them (Sarlin et al. 2020)."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose


def relative_pose_error_deg(found: Pose | None, truth: Pose) -> float:
    """The larger of the angles between rotations, and between directions of translation, either way round.

    Infinite without a pose.
    """
    if found is None:
        return float("inf")
    cosine = abs(found.translation @ truth.translation) / (
        np.linalg.norm(found.translation) * np.linalg.norm(truth.translation)
    )
    translation_deg = float(np.degrees(np.arccos(np.clip(cosine, 0.0, 1.0))))
    return max(float(np.degrees(found.distance_to(truth)[1])), translation_deg)


def epipolar_precision(
    first: Array, second: Array, cameras: tuple[Camera, Camera], truth: Pose, *, limit: float = 1e-3
) -> float:
    """Share of the matches whose mean distance from both epipolar lines is below a limit; 0 without any.

    Args:
        first: (M, 2) pixels of the first view.
        second: (M, 2) of the second view.
        cameras: of both.
        truth: second_from_first.
        limit: distance in normalised coordinates.
    """
    if not len(first):
        return 0.0
    residual, slopes, back = _epipolar_terms(first, second, cameras, truth)
    return float((residual * 0.5 * (1 / slopes + 1 / back) < limit).mean())


def superglue_precision(
    first: Array, second: Array, cameras: tuple[Camera, Camera], truth: Pose, *, limit: float = 5e-4
) -> float:
    """Share of the matches whose symmetric epipolar error is below a limit, as SuperGlue's evaluation has it.

    That is the sum of the squared distances from both epipolar lines; 5e-4 is reached by a match that is 0.016 of a
    focal length away from each. The arguments are those of `epipolar_precision`, but for the limit, which is of
    squares.
    """
    if not len(first):
        return 0.0
    residual, slopes, back = _epipolar_terms(first, second, cameras, truth)
    return float((residual**2 * (1 / slopes**2 + 1 / back**2) < limit).mean())


def _epipolar_terms(
    first: Array, second: Array, cameras: tuple[Camera, Camera], truth: Pose
) -> tuple[Array, Array, Array]:
    """|x'Ex| and the lengths of the normals of both lines, (M,) each."""
    x, y = cameras[0].unproject(first), cameras[1].unproject(second)
    tx, ty, tz = truth.translation / np.linalg.norm(truth.translation)
    essential = np.array([[0, -tz, ty], [tz, 0, -tx], [-ty, tx, 0]]) @ truth.rotation
    lines, back = x @ essential.T, y @ essential
    normals = (np.linalg.norm(side[:, :2], axis=1) for side in (lines, back))
    return np.abs((y * lines).sum(axis=1)), *normals


def pose_auc(errors_deg: Array, limit_deg: float) -> float:
    """Area under the curve of recall over error up to a limit, 0 to 100, mean over the rows of (S, P) errors."""
    areas = []
    for row in np.atleast_2d(errors_deg):
        if not row.size:
            return float("nan")
        ordered = np.sort(row)
        below = ordered[ordered <= limit_deg]
        recall = np.concatenate([[0.0], np.arange(1, len(below) + 1) / len(row)])
        steps = np.concatenate([[0.0], below])
        heights = np.append(recall, recall[-1])
        areas.append(np.diff(np.append(steps, limit_deg)) @ (heights[1:] + heights[:-1]) / 2 / limit_deg)
    return float(100 * np.mean(areas))
