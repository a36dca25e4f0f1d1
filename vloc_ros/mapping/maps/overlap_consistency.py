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

"""Whether two registered maps hold the same points where both observed: what distinguishes a place from a similar one.

Points that agree are weak evidence: of a room whose copy next door has the same posters and shelves, most agree. Strong
evidence is what one map should hold and does not. A point that many keyframes of one map observe should be in the other
one too, if keyframes of the other observed points around it from a similar viewpoint at the same depth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial import cKDTree

from vloc_ros.core.features.descriptor_statistics import DescriptorLimit
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import expand_ranges
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.mapping.maps.point_registration import RegistrationSide

# of a point that is detected from everywhere, and so should be in both maps
_MIN_KEYFRAMES = 5
# keyframes of the other map that should have observed a point
_MIN_VIEWS = 3
_MAX_KEYFRAMES = 200
# a similar viewpoint: this angle around the point, and this ratio of distances
_MAX_ANGLE_RAD, _MAX_DISTANCE_RATIO = 0.3, 1.35
_MIN_SIMILAR = 2
# a point beside an observed one, by the tangent of the angle and the relative depth: it is not occluded
_MAX_TANGENT, _MAX_RELATIVE_DEPTH = 0.08, 0.1
_MIN_POINTS = 20
_NEIGHBOURS = 8
# points whose neighbours are compared at once, which takes some 100 MB
_BLOCK = 1 << 13


def overlap_consistency(side: RegistrationSide, other: RegistrationSide) -> tuple[int, int]:
    """How many points of one map the other one should hold, and how many of them it holds.

    Args:
        side: the map whose points are searched for.
        other: the other map, in the frame of the first.
    """
    expected, tree = _expected(side, other), cKDTree(other.points)
    blocks = (expected[start : start + _BLOCK] for start in range(0, len(expected), _BLOCK))
    return len(expected), sum(_count_held(side, block, other, tree) for block in blocks)


def _count_held(side: RegistrationSide, points: Array, other: RegistrationSide, tree: cKDTree) -> int:
    """How many of (N,) points of one map have a similar point of the other beside them."""
    count = min(_NEIGHBOURS, len(other.points))
    apart_m, near = (a.reshape(-1, count) for a in tree.query(side.points[points], k=count))
    theirs = other.descriptors_of(near.reshape(-1)).reshape(*near.shape, -1)
    distances = np.linalg.norm(side.descriptors_of(points)[:, None] - theirs, axis=2)
    close = apart_m < np.maximum(side.radius_m[points][:, None], other.radius_m[near])
    held = (distances < side.scene.descriptor_limit(DescriptorLimit.EVIDENCE)) & close
    return int(held.any(axis=1).sum())


def _expected(side: RegistrationSide, other: RegistrationSide) -> Array:
    """(E,) points of one map that enough keyframes of the other should observe as its own do."""
    robust = np.flatnonzero(side.keyframe_counts >= _MIN_KEYFRAMES)
    views = np.zeros(len(side.points), np.int64)
    for centre, seen in _views(side.points[robust], other):
        points = robust[seen]
        views[points[_count_similar_views(side, points, centre) >= _MIN_SIMILAR]] += 1
    return np.flatnonzero(views >= _MIN_VIEWS)


def _views(points: Array, other: RegistrationSide) -> Iterator[tuple[Array, Array]]:
    """Of keyframes of a map: its centre, and (S,) which points it must observe, since nothing occludes them."""
    keyframes = other.scene.keyframes
    for k in np.unique(np.linspace(0, len(keyframes) - 1, _MAX_KEYFRAMES).astype(int)):
        visible = other.points[keyframes.visible(int(k))]
        if len(visible) >= _MIN_POINTS:
            beside = _beside(_project(keyframes, int(k), visible), _project(keyframes, int(k), points))
            yield keyframes.translations[k], beside


def _beside(visible: tuple[Array, Array], points: tuple[Array, Array]) -> Array:
    """(S,) indices of points, of tangents and depths each, that lie beside a visible one at about its depth."""
    (visible_tangents, visible_depth), (tangents, depth) = visible, points
    ahead = np.flatnonzero(depth > 0)
    apart, nearest = cKDTree(visible_tangents).query(tangents[ahead], distance_upper_bound=_MAX_TANGENT)
    near = np.isfinite(apart)
    ahead, nearest = ahead[near], nearest[near]
    return np.asarray(ahead[np.abs(depth[ahead] / visible_depth[nearest] - 1.0) < _MAX_RELATIVE_DEPTH])


def _project(keyframes: Keyframes, k: int, points: Array) -> tuple[Array, Array]:
    """(N, 2) tangents and (N,) depths of points in a keyframe."""
    in_camera = (points - keyframes.translations[k]) @ keyframes.rotations[k]
    depth = in_camera[:, 2]
    return in_camera[:, :2] / np.maximum(depth, 1e-6)[:, None], np.where(np.abs(depth) < 1e-6, 1e-6, depth)


def _count_similar_views(side: RegistrationSide, points: Array, centre: Array) -> Array:
    """(N,) number of keyframes that observe each of (N,) points much as a camera at a centre does."""
    counts = side.index.observation_counts(points)
    owner = np.repeat(np.arange(len(points)), counts)
    keyframes = side.index.observers[expand_ranges(side.index.point_offsets[points], counts)]
    own_rays = side.scene.keyframes.translations[keyframes] - side.points[points][owner]
    ray = (centre - side.points[points])[owner]
    own_distance, distance = np.linalg.norm(own_rays, axis=1), np.linalg.norm(ray, axis=1)
    aligned = np.einsum("ni,ni->n", own_rays, ray) > np.cos(_MAX_ANGLE_RAD) * own_distance * distance
    similar = aligned & (np.abs(np.log(own_distance / distance)) < np.log(_MAX_DISTANCE_RATIO))
    return np.bincount(owner[similar], minlength=len(points))
