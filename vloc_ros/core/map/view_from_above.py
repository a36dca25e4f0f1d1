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

"""The view of a map from above: which way is up, the axes of the drawing, and which points it leaves out."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap

# cosine of the angle to an axis of the map within which that points up; and beyond which an axis is nearly level
NEARLY, _LEVEL = 0.94, 0.75
_EXACTLY = 1 - 1e-9
# a point is an outlier beyond the middle 98 % of all by more than this part of their extent, on any axis
_MIDDLE = (1.0, 99.0)
_BEYOND = 0.5


def ground_plane(landmark_map: LandmarkMap) -> Array:
    """(2, 3) axes of the view from above, to the right and forward: those of the map, where one of these points up.

    Else the first map axis that is nearly level points right, as far as it is level: also where images alone chose the
    frame, which is that of one camera, tilted as it was held.
    """
    up = estimate_up_direction(landmark_map)
    nearest = int(np.argmax(np.abs(up)))
    tilted = any(scene.frame_is_arbitrary for scene in landmark_map.scenes)
    if abs(up[nearest]) > (_EXACTLY if tilted else NEARLY):
        up = np.sign(up[nearest]) * np.eye(3)[nearest]
    level = [axis for axis in np.eye(3) if abs(axis @ up) < _LEVEL]
    right = level[0]
    right = right - up * (up @ right)
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(up, right)])


def estimate_up_direction(landmark_map: LandmarkMap) -> Array:
    """(3,) unit vector: the mean upward direction of the map's cameras (the y axis of an image points down).

    It is z where a scene is georeferenced, since the map is then an east-north-up frame, whatever its cameras look at.
    """
    z = np.array([0.0, 0.0, 1.0])
    if any(scene.datum is not None for scene in landmark_map.scenes):
        return z
    up = -landmark_map.keyframes.rotations[:, :, 1].sum(axis=0)
    length = float(np.linalg.norm(up))
    # upright cameras agree on the upward direction; if they do not, it is z as in REP-103
    return np.asarray(up / length) if length > 0.1 * len(landmark_map.keyframes) > 0 else z


def name_axis(axis: Array, *, least_cosine: float = _EXACTLY) -> str:
    """The name of a (3,) direction, such as `x` or `-z`; empty where no axis of the map is as near as that."""
    nearest = int(np.argmax(np.abs(axis)))
    if abs(axis[nearest]) < least_cosine:
        return ""
    return f"{'-' if axis[nearest] < 0 else ''}{'xyz'[nearest]}"


def find_outliers(landmark_map: LandmarkMap) -> Array:
    """(P,) bool: points far from all others, which would make the rest of the drawing small."""
    low, high = np.percentile(landmark_map.points, _MIDDLE, axis=0)
    cameras = landmark_map.keyframes.translations
    low, high = np.minimum(low, cameras.min(axis=0)), np.maximum(high, cameras.max(axis=0))
    margin = _BEYOND * float((high - low).max())
    return np.asarray(((landmark_map.points < low - margin) | (landmark_map.points > high + margin)).any(axis=1))
