"""Whether two aligned maps hold the same where both looked: what tells a place from one that is furnished like it.

Points that agree say little by themselves: of a room whose copy next door has the same posters and shelves, most agree.
What counts is what one map should hold and does not. A point that many keyframes of one map saw should be in the other
one too, if keyframes of that looked there from a similar place and saw things around it, just as far away.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial import cKDTree

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import expand_ranges
from vloc_ros.core.map.landmark_map import Keyframes
from vloc_ros.mapping.maps.point_registration import RegistrationSide

# of a point that is found from everywhere, and so should be found again
_LEAST_KEYFRAMES = 5
# keyframes of the other map that looked there
_LEAST_LOOKS = 3
_MOST_LOOKING = 200
# a similar view: this far around the point, and this much nearer or farther
_TURN_RAD, _NEARER = 0.3, 1.35
_LEAST_SIMILAR = 2
# what is seen beside a point, as tangent of the angle, and how far it is in front of or behind it: nothing hides it
_BESIDE, _BEHIND = 0.08, 0.1
_LEAST_POINTS = 20
# as far as the descriptors of one point lie apart in two maps, rarely more
_ALIKE = 0.6
_NEIGHBOURS = 8
# points whose neighbours are compared at once, which takes some 100 MB
_AT_ONCE = 1 << 13


def overlap_consistency(some: RegistrationSide, other: RegistrationSide) -> tuple[int, int]:
    """How many points of one map the other one should hold, and how many of them it holds.

    Args:
        some: its points are asked for.
        other: the other map, in the frame of the first.
    """
    expected, tree = _expected(some, other), cKDTree(other.points)
    blocks = (expected[start : start + _AT_ONCE] for start in range(0, len(expected), _AT_ONCE))
    return len(expected), sum(_held(some, block, other, tree) for block in blocks)


def _held(some: RegistrationSide, asked: Array, other: RegistrationSide, tree: cKDTree) -> int:
    """How many of (A,) points of one map have a point of the other beside them that looks alike."""
    count = min(_NEIGHBOURS, len(other.points))
    apart, near = (a.reshape(-1, count) for a in tree.query(some.points[asked], k=count))
    theirs = other.descriptors_of(near.reshape(-1)).reshape(*near.shape, -1)
    unlike = np.linalg.norm(some.descriptors_of(asked)[:, None] - theirs, axis=2)
    held = (unlike < _ALIKE) & (apart < np.maximum(some.reach[asked][:, None], other.reach[near]))
    return int(held.any(axis=1).sum())


def _expected(some: RegistrationSide, other: RegistrationSide) -> Array:
    """(E,) points of one map that enough keyframes of the other looked at as its own did."""
    robust = np.flatnonzero(some.keyframe_counts >= _LEAST_KEYFRAMES)
    views = _Views(some)
    looks = np.zeros(len(some.points), np.int64)
    for centre, seen in _looks(some.points[robust], other):
        looked_at = robust[seen]
        looks[looked_at[views.similar(looked_at, centre) >= _LEAST_SIMILAR]] += 1
    return np.flatnonzero(looks >= _LEAST_LOOKS)


def _looks(points: Array, other: RegistrationSide) -> Iterator[tuple[Array, Array]]:
    """Of keyframes of a map: its centre, and (S,) which points it must have seen, as nothing hides them."""
    keyframes = other.scene.keyframes
    for k in np.unique(np.linspace(0, len(keyframes) - 1, _MOST_LOOKING).astype(int)):
        visible = other.points[keyframes.visible(int(k))]
        if len(visible) >= _LEAST_POINTS:
            yield keyframes.translations[k], _among(_seen(keyframes, int(k), visible), _seen(keyframes, int(k), points))


def _among(visible: tuple[Array, Array], asked: tuple[Array, Array]) -> Array:
    """(S,) indices of the asked, of tangents and depths each, that lie beside a visible one and about as far."""
    (beside, depth), (tangents, asked_depth) = visible, asked
    ahead = np.flatnonzero(asked_depth > 0)
    off, nearest = cKDTree(beside).query(tangents[ahead], distance_upper_bound=_BESIDE)
    near = np.isfinite(off)
    ahead, nearest = ahead[near], nearest[near]
    return ahead[np.abs(asked_depth[ahead] / depth[nearest] - 1.0) < _BEHIND]


def _seen(keyframes: Keyframes, k: int, points: Array) -> tuple[Array, Array]:
    """(N, 2) tangents and (N,) depths of points in a keyframe."""
    in_camera = (points - keyframes.translations[k]) @ keyframes.rotations[k]
    depth = in_camera[:, 2]
    return in_camera[:, :2] / np.maximum(depth, 1e-6)[:, None], np.where(np.abs(depth) < 1e-6, 1e-6, depth)


class _Views:
    """From where each point of a map was seen."""

    def __init__(self, side: RegistrationSide) -> None:
        keyframes = side.scene.keyframes
        keyframe = np.repeat(np.arange(len(keyframes), dtype=np.int32), np.diff(keyframes.point_offsets))
        self._points, self._centres = side.points, keyframes.translations
        self._starts = np.concatenate([[0], np.cumsum(side.keyframe_counts)])
        self._keyframe = keyframe[np.argsort(keyframes.point_indices, kind="stable")]

    def similar(self, points: Array, centre: Array) -> Array:
        """(N,) number of keyframes that saw each of some points much as a camera at a centre does."""
        counts = self._starts[points + 1] - self._starts[points]
        owner = np.repeat(np.arange(len(points)), counts)
        rays = self._centres[self._keyframe[expand_ranges(self._starts[points], counts)]] - self._points[points][owner]
        asked = (centre - self._points[points])[owner]
        near, far = np.linalg.norm(rays, axis=1), np.linalg.norm(asked, axis=1)
        along = np.einsum("ni,ni->n", rays, asked) > np.cos(_TURN_RAD) * near * far
        alike = along & (np.abs(np.log(near / far)) < np.log(_NEARER))
        return np.bincount(owner[alike], minlength=len(points))
