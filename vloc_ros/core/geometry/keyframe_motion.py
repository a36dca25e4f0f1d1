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
