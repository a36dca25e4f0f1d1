"""Moving a map into another frame, and the turn that makes its z axis point up."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import CovarianceCalibration, Keyframes, LandmarkMap

_LEVEL_WEIGHT = 0.01
_MIN_MEAN_UP = 0.1
_MAX_COORDINATE_M = 1e5
_TINY_TURN = 1e-9


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


def transform_map(
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
        InputError: the map has several scenes, or the target is so far from its origin that the map's 32-bit points
            lose the centimetres.
    """
    scene = landmark_map.scene()
    calibration = _moved_calibration(scene.calibration, similarity)
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
        scenes=(replace(scene, frame_id=frame_id or scene.frame_id, calibration=calibration),),
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


def _least_turn_to_z(up: Array) -> Array:
    """(3, 3) rotation about a horizontal axis that turns a unit vector to z."""
    axis = np.array([up[1], -up[0], 0.0])
    sine = float(np.linalg.norm(axis))
    if sine < _TINY_TURN:
        axis, sine = np.array([1.0, 0.0, 0.0]), 1.0
        angle = 0.0 if up[2] > 0 else np.pi
    else:
        angle = float(np.arctan2(sine, up[2]))
    return np.asarray(cv2.Rodrigues(axis / sine * angle)[0])
