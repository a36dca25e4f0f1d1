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

"""Views of versions of images: homographies of a random motion, and other light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from training.data.image_augmentation import ImageAugmentationConfig, draw_homography, warp_image
from training.data.relighting import relight_randomly
from training.framework.provenance import hash_images
from training.iterative_matching.config import LightConfig, VersionConfig
from training.iterative_matching.views import PlanarGeometry, View, make_view
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.images import list_images, read_image

# focal length of the motion that a homography is drawn from, in parts of the longer side
_FOCAL = 0.8


class HomographyViews:
    """A `ViewSource` of a folder of images, each a scene of several versions, the first of them unchanged."""

    def __init__(
        self,
        folder: Path,
        images: VersionConfig,
        light: LightConfig,
        extractor: Mapping[str, Any],
        *,
        keypoints: int,
        seed: int,
    ) -> None:
        """Versions of all images of a folder.

        Raises:
            InputError: the folder holds none.
        """
        self._paths: Sequence[Path] = list_images(folder)
        self._versions, self._light, self._keypoints, self._seed = images.versions, light, keypoints, seed
        self._motion = ImageAugmentationConfig(**asdict(images))
        self.scenes: Array = np.repeat(np.arange(len(self._paths)), images.versions)
        self.places: Array = np.zeros_like(self.scenes)  # two images of a folder may show the same
        self.pairs: Array | None = None
        self.description = {
            "source": "homographies",
            "images": hash_images(folder, self._paths),
            "versions": repr((images, light)),
            "keypoints": keypoints,
            "seed": seed,
            "extractor": dict(extractor),
        }

    def make(self, index: int, extractor: Extractor, *, version: int) -> View:
        """A version of an image; the first of each is the image itself."""
        image_number, number = divmod(index, self._versions)
        image = read_image(self._paths[image_number])
        height, width = image.shape[:2]
        if number == 0:
            return make_view(
                extractor.extract(image), (width, height), PlanarGeometry(np.eye(3), (width, height)),
                keypoints=self._keypoints,
            )  # fmt: skip
        rng = np.random.default_rng([self._seed, image_number, number, version])
        focal = _FOCAL * max(width, height)
        camera = Camera("PINHOLE", width, height, (focal, focal, width / 2, height / 2))
        homography = draw_homography(camera, self._motion, rng)
        changed = relight_randomly(warp_image(image, homography), self._light, rng, original_width=width)
        geometry = PlanarGeometry(homography, (width, height))
        found = _within_original(extractor.extract(changed), homography, (width, height))
        return make_view(found, (width, height), geometry, keypoints=self._keypoints)


def _within_original(features: Features, homography: Array, size: tuple[int, int]) -> Features:
    """Without those on the grey around the warped image."""
    there = np.column_stack([features.xy, np.ones(len(features))]) @ np.linalg.inv(homography).T
    with np.errstate(divide="ignore", invalid="ignore"):
        original = there[:, :2] / there[:, 2:]
    kept = ((original >= 2) & (original < np.array(size) - 2)).all(axis=1)
    return Features(features.xy[kept], features.descriptors[kept], features.scores[kept])
