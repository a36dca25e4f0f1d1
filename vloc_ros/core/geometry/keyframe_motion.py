"""Which images of a sequence become keyframes: those between which the camera moved or turned enough."""

from __future__ import annotations

from vloc_ros.core.config import KeyframeConfig
from vloc_ros.core.geometry.pose import Pose

MIN_TRANSLATION_M, MIN_ROTATION_RAD = KeyframeConfig().min_translation_m, KeyframeConfig().min_rotation_rad


def has_moved(
    last: Pose, now: Pose, min_translation_m: float = MIN_TRANSLATION_M, min_rotation_rad: float = MIN_ROTATION_RAD
) -> bool:
    """Whether a camera is further from the last keyframe than either limit."""
    translation_m, rotation_rad = last.distance_to(now)
    return translation_m >= min_translation_m or rotation_rad >= min_rotation_rad
