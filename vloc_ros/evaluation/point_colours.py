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

"""The colours of a map's points, sampled from the images of its keyframes; maps hold none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage.images import read_image

_GREY = 150


def sample_point_colours(landmark_map: LandmarkMap, keyframe_images: Sequence[Path]) -> Array:
    """(P, 3) uint8 RGB: the mean over the keyframes that observe a point; grey for one that none shows.

    Args:
        landmark_map: of one scene.
        keyframe_images: file of every keyframe.

    Raises:
        MapError: the map does not hold the cameras of its keyframes.
        InputError: an image cannot be read, or is of another size than its camera.
    """
    keyframes = landmark_map.keyframes
    if not keyframes.cameras:
        raise MapError(f"the map {landmark_map.name} does not hold the cameras of its keyframes; build it again")
    sums, counts = np.zeros((len(landmark_map.points), 3)), np.zeros(len(landmark_map.points))
    for k, path in enumerate(keyframe_images):
        image, camera, visible = read_image(path), keyframes.cameras[k], keyframes.visible(k)
        if image.shape[:2] != (camera.height, camera.width):
            raise InputError(
                f"{path}: is {image.shape[1]}x{image.shape[0]}, the keyframe is {camera.width}x{camera.height}; give "
                "the images that the map was built from"
            )
        pixels = camera.project(keyframes.pose(k).inverse().apply(landmark_map.points[visible]))
        inside = camera.contains(pixels)
        # what lies on the last edge is of the last pixel
        last = camera.width - 1, camera.height - 1
        columns, lines = np.minimum(np.floor(pixels[inside]).astype(int), last).T
        found = image[lines, columns].reshape(inside.sum(), -1)
        np.add.at(sums, visible[inside], found[:, ::-1] if found.shape[1] == 3 else np.repeat(found, 3, axis=1))
        np.add.at(counts, visible[inside], 1)
    mean = sums / np.maximum(counts, 1)[:, None]
    return np.asarray(np.where(counts[:, None] > 0, np.rint(mean), _GREY).astype(np.uint8))
