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

"""A map as a COLMAP model.

A map keeps which keyframe observes which point, not at which pixel: the 2D points of a model are where the points
project to. Neither descriptors nor keypoints without a point are in a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage.colmap_models import ColmapImage, ColmapPoints


def project_observations(landmark_map: LandmarkMap) -> list[tuple[Array, Array]]:
    """(V,) points that each keyframe observes and the (V, 2) pixels that they project to, if these are in the image.

    Raises:
        MapError: the map does not know the calibrations of its keyframes.
    """
    keyframes = landmark_map.keyframes
    if not keyframes.cameras:
        raise MapError("the map has no calibrations of its keyframes; build it again by this version")
    found = []
    for k, camera in enumerate(keyframes.cameras):
        seen = keyframes.visible(k)
        pixels = camera.project(keyframes.pose(k).inverse().apply(landmark_map.points[seen]))
        inside = camera.contains(pixels)
        found.append((seen[inside], pixels[inside]))
    return found


def make_colmap_model(
    landmark_map: LandmarkMap, colours: Array, *, names: Sequence[str] = ()
) -> tuple[list[ColmapImage], ColmapPoints]:
    """Images and points of a map of one scene, in its map frame.

    Args:
        landmark_map: the map.
        colours: (P, 3) uint8 of its points.
        names: of the files of its keyframes; the keyframes' own by default.

    Raises:
        InputError: the map has several scenes.
        MapError: the map does not know the calibrations of its keyframes.
    """
    scene, keyframes = landmark_map.scene(), landmark_map.keyframes
    observed, pixels = zip(*project_observations(landmark_map), strict=True)
    images = [
        ColmapImage(name, camera, scene.map_from(keyframes.pose(k)))
        for k, (name, camera) in enumerate(zip(names or keyframes.names, keyframes.cameras, strict=True))
    ]
    points = landmark_map.points.astype(np.float64) + scene.origin
    return images, ColmapPoints(points, colours, observed, pixels)
