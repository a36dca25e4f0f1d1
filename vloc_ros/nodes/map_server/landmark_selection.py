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

"""Selection of map points for GetLandmarks."""

from __future__ import annotations

import numpy as np

from vloc_msgs.srv import GetLandmarks
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.scene import Scene


def select_points(landmark_map: LandmarkMap, scene: Scene, request: GetLandmarks.Request) -> tuple[Array, bool]:
    """Return the (N,) indices of the selected points of a scene, and whether there were more.

    Raises:
        ConfigError: the selection is unknown, or the sphere is invalid.
    """
    own = slice(scene.points.start, scene.points.stop)
    most = min(request.max_points or request.MAX_POINTS, request.MAX_POINTS)
    if request.selection == GetLandmarks.Request.BY_IDS:
        chosen = np.flatnonzero(np.isin(landmark_map.landmark_ids[own], np.asarray(request.ids, dtype=np.int32)))
    elif request.selection == GetLandmarks.Request.IN_SPHERE:
        chosen = _in_sphere(landmark_map.points[own], scene, request)
    else:
        raise ConfigError(f"selection is {request.selection}, expected BY_IDS (0) or IN_SPHERE (1)")
    return scene.points.start + chosen[:most], len(chosen) > most


def _in_sphere(points: Array, scene: Scene, request: GetLandmarks.Request) -> Array:
    """Return the indices of the points in the sphere, nearest first."""
    centre = np.array([request.centre.x, request.centre.y, request.centre.z])
    if not np.isfinite(centre).all() or not request.radius_m > 0:
        raise ConfigError(f"radius_m is {request.radius_m:g} around {centre.tolist()}, expected a sphere in metres")
    distances = np.linalg.norm(points - (centre - scene.origin), axis=1)
    inside = np.flatnonzero(distances <= request.radius_m)
    return np.asarray(inside[np.argsort(distances[inside], kind="stable")])
