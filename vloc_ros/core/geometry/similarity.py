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

"""Similarity transforms between frames, fitted to points or to poses that both frames know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
import numpy.typing as npt

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose

_SAMPLE = 3
_MAX_SAMPLES = 500
_REFITS = 10
_NORMAL_STD_FROM_MEDIAN = 1.4826
_OUTLIER_STDS = 2.5
_ROUNDING = 1e-9
_LINE_TOLERANCE = 1e-6
_MAX_TWIST_STD = 0.1
# by which all orientations of a camera may be off alike, where its principal point is, or its place on the robot
_COMMON_TURN_RAD = 0.002
# a trajectory bends slowly: however many poses it has, their errors count as of so many independent ones
_INDEPENDENT = 5


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """`target = scale · rotation · source + translation`.

    Attributes:
        scale: positive.
        rotation: (3, 3) float64.
        translation: (3,) float64, in units of the target.

    Raises:
        InputError: the scale is not positive and finite, or rotation and translation are no pose.
    """

    scale: float
    rotation: Array
    translation: Array

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"an alignment has scale {self.scale:g}, expected a positive one")
        checked = Pose(self.rotation, self.translation)
        object.__setattr__(self, "rotation", checked.rotation)
        object.__setattr__(self, "translation", checked.translation)

    @staticmethod
    def fit(
        source: npt.ArrayLike, target: npt.ArrayLike, *, with_scale: bool, max_residual: float | None = None
    ) -> Similarity:
        """The least-squares similarity (Umeyama 1991) of the pairs that agree; the others are left out.

        Which agree is found by least median of squares over triples (Rousseeuw 1984), always the same ones for the
        same input, so just under half of the pairs may be wrong.

        Args:
            source: (N, 3) points and
            target: (N, 3) the same points in the target frame.
            with_scale: False keeps the scale at 1.
            max_residual: pairs further apart than this are wrong; None takes 2.5 robust standard deviations.

        Raises:
            InputError: fewer than three pairs, values that are not finite, or points on a line.
        """
        source, target = _checked_pairs(source, target)
        everything = _least_squares(source, target, with_scale=with_scale)
        best = _least_median(_of_triples(source, target, with_scale=with_scale), source, target) or everything
        limit = _limit(best.residuals(source, target), target) if max_residual is None else max_residual
        kept = best.residuals(source, target) <= limit
        for _ in range(_REFITS):
            if kept.sum() < _SAMPLE:
                raise InputError(
                    f"{int(kept.sum())} of {len(source)} pairs agree within {limit:g}, expected at least {_SAMPLE}; "
                    "check which point belongs to which"
                )
            best = _least_squares(source[kept], target[kept], with_scale=with_scale)
            previous, kept = kept, best.residuals(source, target) <= limit
            if (kept == previous).all():
                break
        _check_twist(source[previous], best.residuals(source[previous], target[previous]) / best.scale)
        return best

    @staticmethod
    def fit_poses(
        source_from_bodies: Sequence[Pose],
        target_from_bodies: Sequence[Pose],
        *,
        with_scale: bool,
        lever_m: float | None = None,
    ) -> Similarity:
        """The similarity that carries poses to the same bodies' poses in the target frame.

        Least squares of positions (Umeyama 1991) and of orientations (the chordal mean, Hartley et al. 2013), so a
        straight line will do, and without scale a single pose. Poses whose position does not agree are left out, as in
        `fit`: which agree is found by least median of squares over pairs of poses.

        Args:
            source_from_bodies: N poses and
            target_from_bodies: N poses of the same bodies in the target frame.
            with_scale: False keeps the scale at 1.
            lever_m: a radian of orientation weighs as much as so many metres; None weighs them as they agree.

        Raises:
            InputError: the counts differ, there is no pose, or all are at one place and the scale is requested.
        """
        turns, at, there = _counterparts(source_from_bodies, target_from_bodies)
        start = _least_median(_of_pairs(turns, at, there, with_scale=with_scale), at, there)
        kept = np.ones(len(turns), dtype=bool) if start is None else start.agreeing(at, there)
        for _ in range(_REFITS):
            best = _from_poses(turns[kept], at[kept], there[kept], with_scale=with_scale, lever_m=lever_m)
            previous, kept = kept, best.agreeing(at, there)
            if (kept == previous).all():
                break
        return best

    @staticmethod
    def umeyama(source: npt.ArrayLike, target: npt.ArrayLike, *, with_scale: bool) -> Similarity:
        """The least-squares similarity of all (N, 3) pairs (Umeyama 1991), wrong ones included, as evo aligns.

        Raises:
            InputError: fewer than three pairs, values that are not finite, or points on a line.
        """
        return _least_squares(*_checked_pairs(source, target), with_scale=with_scale)

    def inverse(self) -> Similarity:
        """The transform `source_from_target`."""
        rotation = self.rotation.T
        return Similarity(1.0 / self.scale, rotation, -rotation @ self.translation / self.scale)

    def apply(self, points: npt.ArrayLike) -> Array:
        """Map (..., 3) points of the source frame into the target frame."""
        return np.asarray(self.scale * np.asarray(points, np.float64) @ self.rotation.T + self.translation)

    def apply_to_pose(self, source_from_body: Pose) -> Pose:
        """target_from_body of a body whose pose in the source frame is known."""
        rotation = Pose(self.rotation, np.zeros(3)) @ Pose(source_from_body.rotation, np.zeros(3))
        return Pose(rotation.rotation, self.apply(source_from_body.translation))

    def residuals(self, source: Array, target: Array) -> Array:
        """(N,) distances between the mapped source points and the target points."""
        return np.asarray(np.linalg.norm(self.apply(source) - target, axis=-1))

    def agreeing(self, source: Array, target: Array) -> Array:
        """(N,) bool: pairs whose residual is within 2.5 robust standard deviations."""
        residuals = self.residuals(source, target)
        return residuals <= _limit(residuals, target)


def _checked_pairs(source: npt.ArrayLike, target: npt.ArrayLike) -> tuple[Array, Array]:
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.ndim != 2 or source.shape[1:] != (3,) or source.shape != target.shape:
        raise InputError(f"point pairs have shapes {source.shape} and {target.shape}, expected (N, 3) twice")
    if len(source) < _SAMPLE:
        raise InputError(
            f"found {len(source)} point pairs, expected at least {_SAMPLE} that are not on a line; add some"
        )
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise InputError("a point pair holds a value that is not finite; leave it out")
    if _on_a_line(source) or _on_a_line(target):
        raise InputError(
            f"the {len(source)} point pairs lie on a line, expected points around it too: any turn about the line fits"
        )
    return source, target


def _counterparts(source: Sequence[Pose], target: Sequence[Pose]) -> tuple[Array, Array, Array]:
    """Of N poses the (N, 3, 3) rotations from source to target, and the (N, 3) positions in both."""
    if not source or len(source) != len(target):
        raise InputError(
            f"found {len(source)} poses and {len(target)} in the target frame, expected as many, at least one"
        )
    turns = np.stack([there.rotation @ here.rotation.T for here, there in zip(source, target, strict=True)])
    return turns, np.stack([pose.translation for pose in source]), np.stack([pose.translation for pose in target])


def _on_a_line(points: Array) -> Array:
    """(...) bool of (..., N, 3) points."""
    spread = np.linalg.svd(points - points.mean(axis=-2, keepdims=True), compute_uv=False)
    return np.asarray(spread[..., 1] <= _LINE_TOLERANCE * np.maximum(spread[..., 0], np.finfo(float).tiny))


def _check_twist(source: Array, residuals: Array) -> None:
    """Refuse pairs whose errors, seen from the line nearest to them, decide the turn about it."""
    spread = np.linalg.svd(source - source.mean(axis=0), compute_uv=False)[1]
    rms = float(np.sqrt((residuals**2).mean()))
    if rms > _MAX_TWIST_STD * spread:
        raise InputError(
            f"{len(source)} point pairs agree to {rms:.2g} only, which leaves the turn open: they lie nearly on a "
            "line, or do not belong together; add pairs beside it, or check their order"
        )


def _least_median(candidates: Iterable[Similarity], source: Array, target: Array) -> Similarity | None:
    """The candidate whose median residual over all pairs is least; None without any."""
    rank = min(len(source) // 2 + (_SAMPLE + 1) // 2, len(source)) - 1
    return min(candidates, key=lambda one: np.partition(one.residuals(source, target), rank)[rank], default=None)


def _of_triples(source: Array, target: Array, *, with_scale: bool) -> Iterator[Similarity]:
    triples = _samples(len(source), _SAMPLE)
    triples = triples[~(_on_a_line(source[triples]) | _on_a_line(target[triples]))]
    return _least_squares_of_each(source[triples], target[triples], with_scale=with_scale)


def _of_pairs(turns: Array, source: Array, target: Array, *, with_scale: bool) -> Iterator[Similarity]:
    """Those of two poses each, of which one place, or places that contradict the orientations, give no scale."""
    for pair in _samples(len(source), 2):
        with suppress(InputError):
            rotation = _nearest_rotation(turns[pair].sum(axis=0))
            yield _under_rotation(rotation, source[pair], target[pair], with_scale=with_scale)


def _samples(count: int, size: int) -> Array:
    """(M, size) indices: all combinations when they are few, otherwise the same random ones every time."""
    every = np.array(list(islice(combinations(range(count), size), _MAX_SAMPLES + 1)), dtype=int).reshape(-1, size)
    if len(every) <= _MAX_SAMPLES:
        return every
    rng = np.random.default_rng(0)
    return np.stack([rng.choice(count, size, replace=False) for _ in range(_MAX_SAMPLES)])


def _limit(residuals: Array, target: Array) -> float:
    """Residual up to which a pair agrees, with Rousseeuw's correction for small samples."""
    correction = 1.0 + 5.0 / max(len(residuals) - _SAMPLE, 1)
    robust_std = _NORMAL_STD_FROM_MEDIAN * correction * float(np.median(residuals))
    return _OUTLIER_STDS * robust_std + _ROUNDING * float(np.abs(target).max())


def _least_squares(source: Array, target: Array, *, with_scale: bool) -> Similarity:
    (found,) = _least_squares_of_each(source[None], target[None], with_scale=with_scale)
    return found


def _least_squares_of_each(source: Array, target: Array, *, with_scale: bool) -> Iterator[Similarity]:
    """Umeyama 1991, equations 40 to 43, of each of (M, N, 3) sets of pairs."""
    source_mean, target_mean = source.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    source_centred, target_centred = source - source_mean, target - target_mean
    left, singular, right = np.linalg.svd(target_centred.swapaxes(1, 2) @ source_centred)
    signs = np.ones((len(source), 3))
    signs[:, 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotations = (left * signs[:, None]) @ right
    scales = np.ones(len(source))
    if with_scale:
        scales = (singular * signs).sum(axis=1) / (source_centred**2).sum(axis=(1, 2))
    rotated = (source_mean @ rotations.swapaxes(1, 2))[:, 0]
    translations = target_mean[:, 0] - scales[:, None] * rotated
    for scale, rotation, translation in zip(scales.tolist(), rotations, translations, strict=True):
        yield Similarity(scale, rotation, translation)


def _from_poses(turns: Array, source: Array, target: Array, *, with_scale: bool, lever_m: float | None) -> Similarity:
    """Least squares of N poses' orientations and positions, weighed by how well each agree.

    Neither will do alone: positions on a line leave a turn about it open, and orientations by a camera whose principal
    point is off by a pixel would turn a street of 100 m by 20 cm.

    Args:
        turns: (N, 3, 3) rotations from the source to the target frame, one of each pose.
        source: (N, 3) positions and
        target: (N, 3) those in the target frame.
        with_scale: see `fit_poses`.
        lever_m: see `fit_poses`.
    """
    best = _under_rotation(_nearest_rotation(turns.sum(axis=0)), source, target, with_scale=with_scale)
    together = (target - target.mean(axis=0)).T @ (source - source.mean(axis=0))
    for _ in range(_REFITS):
        weights = _weights(best, turns, source, target) if lever_m is None else (1.0, lever_m**2)
        previous = best.rotation
        rotation = _nearest_rotation(weights[0] * best.scale * together + 0.5 * weights[1] * turns.sum(axis=0))
        best = _under_rotation(rotation, source, target, with_scale=with_scale)
        if np.abs(best.rotation - previous).max() < _ROUNDING:
            break
    return best


def _weights(best: Similarity, turns: Array, source: Array, target: Array) -> tuple[float, float]:
    """Inverse variances of positions and orientations, by how well each agree under a similarity."""
    alike = max(1.0, len(source) / _INDEPENDENT)
    off = alike * (best.residuals(source, target) ** 2).sum() / max(3 * len(source) - 6, 1)
    # the squared Frobenius distance of two rotations is twice the squared angle between them, where that is small
    turned = alike * 0.5 * ((turns - best.rotation) ** 2).sum() / max(3 * len(turns) - 3, 1)
    turned += len(turns) * _COMMON_TURN_RAD**2
    return 1.0 / max(off, _ROUNDING**2), 1.0 / max(turned, _ROUNDING**2)


def _nearest_rotation(matrix: Array) -> Array:
    left, _, right = np.linalg.svd(matrix)
    return np.asarray((left * [1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))]) @ right)


def _under_rotation(rotation: Array, source: Array, target: Array, *, with_scale: bool) -> Similarity:
    """Least squares of the positions."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_turned = (source - source_mean) @ rotation.T
    scale, spread = 1.0, float((source_turned**2).sum())
    if with_scale:
        if spread <= _LINE_TOLERANCE**2 * max(float((source**2).sum()), np.finfo(float).tiny):
            raise InputError(
                f"all {len(source)} poses are at one place, which leaves the scale open; give poses further apart"
            )
        scale = float((source_turned * (target - target_mean)).sum()) / spread
        if scale <= 0:
            raise InputError(
                f"positions and orientations contradict each other (scale {scale:.2g}, expected a positive one); "
                "check that both are poses of the same optical frames"
            )
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)
