"""Moving a map into another frame: similarity transforms from points, from poses and from gravity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, islice

import cv2
import numpy as np
import numpy.typing as npt

from vloc_ros.core.errors import InputError
from vloc_ros.core.landmark_map import CovarianceCalibration, Keyframes, LandmarkMap
from vloc_ros.core.pose import Array, Pose

_SAMPLE = 3
_MAX_SAMPLES = 500
_REFITS = 10
_NORMAL_STD_FROM_MEDIAN = 1.4826
_OUTLIER_STDS = 2.5
_ROUNDING = 1e-9
_LINE_TOLERANCE = 1e-6
_MAX_TWIST_STD = 0.1
_LEVEL_WEIGHT = 0.01
_MIN_MEAN_UP = 0.1
_MAX_COORDINATE_M = 1e5


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
        best = _least_median(source, target, with_scale=with_scale)
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


def gravity_alignment(landmark_map: LandmarkMap) -> Similarity:
    """The rotation about the map's origin that turns z up, with the least turn and so without a change of heading.

    Up is estimated from the keyframes: their cameras are held level, so that their x axes are horizontal, and the
    mean of their up axes (-y) decides what the x axes leave open, the pitch when all look the same way.

    Raises:
        InputError: the cameras' up axes point everywhere.
    """
    rotations = landmark_map.keyframes.rotations
    mean_up = -rotations[:, :, 1].mean(axis=0)
    if np.linalg.norm(mean_up) < _MIN_MEAN_UP:
        raise InputError("the keyframes' cameras are not held upright, so gravity cannot be told; give point pairs")
    sideways = rotations[:, :, 0]
    up = np.linalg.solve(sideways.T @ sideways / len(sideways) + _LEVEL_WEIGHT * np.eye(3), mean_up)
    return Similarity(1.0, _least_turn_to_z(up / np.linalg.norm(up)), np.zeros(3))


def moved(
    landmark_map: LandmarkMap, similarity: Similarity, *, frame_id: str | None = None, metric: bool | None = None
) -> LandmarkMap:
    """The same map in another frame.

    Of the calibrated covariance floor, turned with the map, the variances along the new axes are kept.

    Args:
        landmark_map: the map.
        similarity: target_from_map.
        frame_id: name of the target frame; None keeps the map's.
        metric: whether the target's lengths are metres; None keeps what the map says.

    Raises:
        InputError: the target is so far from its origin that the map's 32-bit points lose the centimetres.
    """
    points = similarity.apply(landmark_map.points)
    if np.abs(points).max() > _MAX_COORDINATE_M:
        raise InputError(
            f"the moved map has coordinates up to {np.abs(points).max():.0f} m, expected at most "
            f"{_MAX_COORDINATE_M:.0f} m; subtract a local origin from the target coordinates"
        )
    return replace(
        landmark_map,
        points=points.astype(np.float32),
        keyframes=_moved_keyframes(landmark_map.keyframes, similarity),
        calibration=_moved_calibration(landmark_map.calibration, similarity),
        frame_id=landmark_map.frame_id if frame_id is None else frame_id,
        metric=landmark_map.metric if metric is None else metric,
    )


def _moved_keyframes(keyframes: Keyframes, similarity: Similarity) -> Keyframes:
    poses = [similarity.apply_to_pose(keyframes.pose(k)) for k in range(len(keyframes))]
    rotations = np.array([pose.rotation for pose in poses]).reshape(-1, 3, 3)
    translations = np.array([pose.translation for pose in poses]).reshape(-1, 3)
    return replace(keyframes, rotations=rotations, translations=translations)


def _moved_calibration(calibration: CovarianceCalibration, similarity: Similarity) -> CovarianceCalibration:
    turned = similarity.rotation**2  # diag(R diag(v) Rᵀ) = (R∘R) v
    floor = np.concatenate([similarity.scale**2 * turned @ calibration.floor[:3], turned @ calibration.floor[3:]])
    return replace(calibration, floor=floor)


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


def _on_a_line(points: Array) -> bool:
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(spread[1] <= _LINE_TOLERANCE * max(spread[0], np.finfo(float).tiny))


def _check_twist(source: Array, residuals: Array) -> None:
    """Refuse pairs so near to a line that their noise decides the turn about it."""
    spread = np.linalg.svd(source - source.mean(axis=0), compute_uv=False)[1]
    if np.sqrt((residuals**2).sum() / len(source)) > _MAX_TWIST_STD * spread:
        raise InputError(
            f"the {len(source)} point pairs that agree lie nearly on a line and their errors hide the turn about it; "
            "add pairs beside the line"
        )


def _least_median(source: Array, target: Array, *, with_scale: bool) -> Similarity:
    """The fit to a triple whose median residual over all pairs is least."""
    rank = min(len(source) // 2 + (_SAMPLE + 1) // 2, len(source)) - 1
    best, best_residual = _least_squares(source, target, with_scale=with_scale), np.inf
    for triple in _triples(len(source)):
        if _on_a_line(source[triple]) or _on_a_line(target[triple]):
            continue
        candidate = _least_squares(source[triple], target[triple], with_scale=with_scale)
        residual = np.partition(candidate.residuals(source, target), rank)[rank]
        if residual < best_residual:
            best, best_residual = candidate, residual
    return best


def _triples(count: int) -> Array:
    """(M, 3) index triples: all of them when they are few, otherwise the same random ones every time."""
    every = np.array(list(islice(combinations(range(count), _SAMPLE), _MAX_SAMPLES + 1)))
    if len(every) <= _MAX_SAMPLES:
        return every
    rng = np.random.default_rng(0)
    return np.stack([rng.choice(count, _SAMPLE, replace=False) for _ in range(_MAX_SAMPLES)])


def _limit(residuals: Array, target: Array) -> float:
    """Residual up to which a pair agrees, with Rousseeuw's correction for small samples."""
    correction = 1.0 + 5.0 / max(len(residuals) - _SAMPLE, 1)
    robust_std = _NORMAL_STD_FROM_MEDIAN * correction * float(np.median(residuals))
    return _OUTLIER_STDS * robust_std + _ROUNDING * float(np.abs(target).max())


def _least_squares(source: Array, target: Array, *, with_scale: bool) -> Similarity:
    """Umeyama 1991, equations 40 to 43."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_centred, target_centred = source - source_mean, target - target_mean
    left, singular, right = np.linalg.svd(target_centred.T @ source_centred)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * signs) @ right
    scale = float(singular @ signs / (source_centred**2).sum()) if with_scale else 1.0
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def _least_turn_to_z(up: Array) -> Array:
    """(3, 3) rotation about a horizontal axis that turns a unit vector to z."""
    axis = np.array([up[1], -up[0], 0.0])
    sine = float(np.linalg.norm(axis))
    if sine < _ROUNDING:
        axis, sine = np.array([1.0, 0.0, 0.0]), 1.0
        angle = 0.0 if up[2] > 0 else np.pi
    else:
        angle = float(np.arctan2(sine, up[2]))
    return np.asarray(cv2.Rodrigues(axis / sine * angle)[0])
