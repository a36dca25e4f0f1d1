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

"""Which keypoints of two views match, which have no match, and which nobody knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.iterative_matching.views import PosedGeometry, View, reproject
from vloc_ros.core.geometry.pose import Array, Pose

UNMATCHED, UNKNOWN = -1, -2
# logarithm of the ratio of two depths near each other in an image, up to which they are of one surface
_SAME_SURFACE = 0.1
_NO_TRANSLATION = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class MatchLabels:
    """The true matches of two views.

    Attributes:
        first: (N,) int64 row of the second view, `UNMATCHED` or `UNKNOWN`.
        second: (M,) int64 row of the first view, `UNMATCHED` or `UNKNOWN`.
    """

    first: Array
    second: Array

    @property
    def matches(self) -> int:
        """How many keypoints of the first view have a match."""
        return int((self.first >= 0).sum())


def label_pair(first: View, second: View, *, positive_px: float, negative_px: float) -> MatchLabels:
    """Labels of two views of one scene, from the depth of keypoints and poses, or from homographies.

    Two keypoints match if each is the other's nearest, and lies within an error of where the other is projected, in
    both views; then what hides one of them leaves no match. A keypoint has none if all are farther off than a larger
    error. In between, and where depth is unknown but for the epipolar line, nobody knows.

    Args:
        first: N keypoints.
        second: M keypoints.
        positive_px: largest error of a match.
        negative_px: least error of what is no match.
    """
    if not len(first) or not len(second):
        return label_strangers(first, second)
    errors = reprojection_errors(first, second)
    rows, columns = errors.argmin(axis=1), errors.argmin(axis=0)
    found = MatchLabels(
        _label(errors.min(axis=1), rows, columns, positive_px, negative_px),
        _label(errors.min(axis=0), columns, rows, positive_px, negative_px),
    )
    possible = possible_without_depth(first, second, negative_px)
    return MatchLabels(
        *(
            np.where((labels == UNMATCHED) & doubtful, UNKNOWN, labels)
            for labels, doubtful in zip((found.first, found.second), possible, strict=True)
        )
    )


def label_strangers(first: View, second: View) -> MatchLabels:
    """Labels of views of different places: nothing matches."""
    return MatchLabels(np.full(len(first), UNMATCHED), np.full(len(second), UNMATCHED))


def reprojection_errors(first: View, second: View) -> Array:
    """(N, M) float32 larger error of the two directions in pixels; infinite where one is not known."""
    there, back = reproject(first, second), reproject(second, first)
    return np.asarray(np.maximum(_distances(there, second.xy), _distances(back, first.xy).T))


def shown_share(source: View, target: View) -> float:
    """Share of the source's keypoints with a known depth that the target shows; 0 without any.

    Of a scene in depth that is where the nearest keypoint of the target has about its depth.
    """
    pixels = reproject(source, target)
    known = ~np.isnan(pixels[:, 0])
    pixels = pixels[known]
    shown = np.isfinite(pixels[:, 0])
    one, other = source.geometry, target.geometry
    if not isinstance(one, PosedGeometry) or not isinstance(other, PosedGeometry) or not len(target):
        return float(shown.mean()) if len(shown) else 0.0
    rays = one.camera.unproject(source.xy[known]) * np.nan_to_num(one.depth[known], posinf=1.0)[:, None]
    depth = (other.scene_from_camera.inverse() @ one.scene_from_camera).apply(rays)[:, 2]
    distances = _distances(pixels, target.xy)
    distances[:, ~np.isfinite(other.depth)] = np.inf
    nearest = other.depth[distances.argmin(axis=1)]
    with np.errstate(invalid="ignore", divide="ignore"):
        shown &= np.abs(np.log(depth / nearest)) < _SAME_SURFACE
    return float(shown.mean()) if len(shown) else 0.0


def possible_without_depth(first: View, second: View, negative_px: float) -> tuple[Array, Array]:
    """(N,) and (M,) bool, which keypoints may match one although a depth is unknown.

    Those near each other's epipolar lines may, whatever their depth.
    """
    one, other = first.geometry, second.geometry
    possible = np.zeros(len(first), bool), np.zeros(len(second), bool)
    if not isinstance(one, PosedGeometry) or not isinstance(other, PosedGeometry):
        return possible
    rows, columns = np.arange(len(first)), np.arange(len(second))
    unknown = np.flatnonzero(np.isnan(one.depth)), np.flatnonzero(np.isnan(other.depth))
    for some, others in ((unknown[0], columns), (rows, unknown[1])):
        if len(some) and len(others):
            near = _epipolar_bound(first.select(some), second.select(others)) < negative_px
            possible[0][some] |= near.any(axis=1)
            possible[1][others] |= near.any(axis=0)
    return possible


def _epipolar_bound(first: View, second: View) -> Array:
    """(N, M) least error of pairs of which a depth is unknown; what is known bounds it too."""
    one, other = first.geometry, second.geometry
    assert isinstance(one, PosedGeometry)
    assert isinstance(other, PosedGeometry)
    second_from_first = other.scene_from_camera.inverse() @ one.scene_from_camera
    bound = np.maximum(
        _line_distances(first.xy, one, second.xy, other, second_from_first),
        _line_distances(second.xy, other, first.xy, one, second_from_first.inverse()).T,
    )
    there, back = reproject(first, second), reproject(second, first)
    for pixels, xy, transposed in ((there, second.xy, False), (back, first.xy, True)):
        distances = _distances(pixels, xy)
        distances[np.isnan(pixels[:, 0])] = 0.0
        bound = np.maximum(bound, distances.T if transposed else distances)
    return np.asarray(bound)


def _label(least: Array, nearest: Array, back: Array, positive_px: float, negative_px: float) -> Array:
    mutual = back[nearest] == np.arange(len(nearest))
    labels = np.where(mutual & (least < positive_px), nearest, UNKNOWN)
    return np.asarray(np.where(least > negative_px, UNMATCHED, labels), np.int64)


def _distances(pixels: Array, xy: Array) -> Array:
    """(N, M) float32 distances of pixels, infinite where one is not finite."""
    there, here = pixels.astype(np.float32), xy.astype(np.float32)
    with np.errstate(invalid="ignore"):
        squared = np.subtract.outer(there[:, 0], here[:, 0]) ** 2
        squared += np.subtract.outer(there[:, 1], here[:, 1]) ** 2
    squared[~np.isfinite(there[:, 0])] = np.inf
    return np.asarray(np.sqrt(squared))


def _line_distances(
    xy: Array, source: PosedGeometry, other_xy: Array, target: PosedGeometry, target_from_source: Pose
) -> Array:
    """(N, M) distance of the target's keypoints from the epipolar lines of the source's, pixels near the centre."""
    rays, others = source.camera.unproject(xy) @ target_from_source.rotation.T, target.camera.unproject(other_xy)
    length = float(np.linalg.norm(target_from_source.translation))
    if length < _NO_TRANSLATION:
        return _distances(target.camera.project(rays), other_xy)
    lines = np.cross(target_from_source.translation / length, rays)
    widths = np.maximum(np.linalg.norm(lines[:, :2], axis=1), 1e-12)
    return np.asarray(np.abs(lines @ others.T) / widths[:, None] * min(target.camera.intrinsics[:2]))
