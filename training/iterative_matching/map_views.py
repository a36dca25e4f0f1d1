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

"""Views of a map's own images, and of others whose poses in the map are known.

Depth is known of the keypoints that show a map point. What nobody knows of the others, but for epipolar lines, is left
out of the loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.data.localized_images import TrainingImage
from training.framework.provenance import hash_file
from training.iterative_matching.views import PosedGeometry, View, make_view
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.maps.guided_matching import NONE, label_keypoints

_IDENTITY = ("name", "model", "model_hash")


class MapViews:
    """A `ViewSource` of one map, a scene for each scene of the map."""

    def __init__(
        self,
        landmark_map: LandmarkMap,
        images: Sequence[TrainingImage],
        extractor: Mapping[str, Any],
        *,
        map_hash: str,
        keypoints: int,
    ) -> None:
        """Views of images.

        Args:
            landmark_map: the map.
            images: with poses in it.
            extractor: that is trained for, as JSON types.
            map_hash: of the map.
            keypoints: strongest ones of an image that are kept.

        Raises:
            InputError: the map has keypoints of another extractor.
        """
        of_map = {name: getattr(landmark_map.extractor, name, "") for name in _IDENTITY}
        wanted = {name: extractor.get(name, "") for name in _IDENTITY}
        if of_map != wanted:
            raise InputError(
                f"the map {landmark_map.name} has keypoints of {of_map['name']} ({of_map['model'] or 'no model'}), the "
                f"training is for {wanted['name']} ({wanted['model'] or 'no model'}); give --extractor that of the map"
            )
        self._map, self._images, self._keypoints = landmark_map, images, keypoints
        starts = np.array([scene.points.start for scene in landmark_map.scenes])
        firsts = [int(image.points.min(initial=0)) for image in images]
        self.scenes: Array = np.searchsorted(starts, firsts, side="right") - 1
        self.places: Array = np.zeros_like(self.scenes)  # scenes of a map may show the same until they are merged
        self.pairs: Array | None = None
        self.description = {
            "source": "map",
            "map": map_hash,
            "images": _hash_views(images),
            "keypoints": keypoints,
            "extractor": dict(extractor),
        }

    def make(self, index: int, extractor: Extractor, *, version: int) -> View:
        """An image of the map; all versions are the same."""
        one = self._images[index]
        pixels = one.load()
        size = one.camera.width, one.camera.height
        if pixels.shape[1::-1] != size:
            raise InputError(
                f"{one.name} is {pixels.shape[1]}x{pixels.shape[0]}, its camera calibration is for "
                f"{size[0]}x{size[1]}; give the images that belong to the calibration"
            )
        features = extractor.extract(pixels).seen_through(one.camera)
        geometry = PosedGeometry(one.camera, one.scene_from_camera, self._depth(one, features))
        return make_view(features, size, geometry, keypoints=self._keypoints)

    def _depth(self, image: TrainingImage, features: Features) -> Array:
        shown = label_keypoints(self._map, image.points, features, image.camera, image.scene_from_camera)
        points = self._map.points[np.maximum(shown, 0)]
        depth = image.scene_from_camera.inverse().apply(points)[:, 2]
        return np.where(shown != NONE, depth, np.nan).astype(np.float32)


def _hash_views(images: Sequence[TrainingImage]) -> str:
    """SHA-256 of all that the views of images follow from: content, calibration, pose and points."""
    digest = hashlib.sha256()
    for one in images:
        content = hash_file(one.path) if one.path else hashlib.sha256(np.ascontiguousarray(one.load())).hexdigest()
        digest.update(f"{one.name}\0{content}\0{one.camera!r}\0".encode())
        for array in (one.scene_from_camera.rotation, one.scene_from_camera.translation, one.points):
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
