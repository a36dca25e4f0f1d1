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

"""Examples and batches for global descriptor models: images cropped, mirrored and relit, with their 3D structure."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from training.data.covisible_images import CovisibleImages
from training.data.image_crop import ImageCrop
from training.data.image_files import ImageFiles
from training.data.overlap import Overlap, compute_overlap
from training.data.relighting import relight_randomly
from training.data.view_augmentation import draw_crop
from training.place_recognition.config import (
    FINE_PATCH_PX,
    MiningConfig,
    PlaceAugmentationConfig,
    PlaceRecognitionConfig,
)
from training.place_recognition.structure import StructureTransform, structure_tokens
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.preprocessing import Preprocessing


class PlaceBatch(NamedTuple):
    """Images of one training step. Labels are of the cropped images, unless stated otherwise.

    Attributes:
        images: (B, 3, H, W) float32, preprocessed.
        structure: (B, G, 5) float32, see `structure_tokens`.
        positive: (B, B) bool, whether two images show one place; of an image with itself, any value.
        share: (B, B) float32 overlap of two images, 0 to 1.
        apart: (B, B) bool, whether even the uncropped images share nothing; a crop with few points is no evidence.
    """

    images: Tensor
    structure: Tensor
    positive: Tensor
    share: Tensor
    apart: Tensor


class AugmentedView(NamedTuple):
    """A view after augmentation.

    Attributes:
        image: (3, H, W) float32.
        structure: (G, 5) float32.
        shown: (V,) bool, which of the view's points lie in the crop.
    """

    image: Array
    structure: Array
    shown: Array


class ViewBatchKey(NamedTuple):
    """Identifies a batch: its views, and the numbers that seed its augmentation."""

    epoch: int
    number: int
    views: tuple[int, ...]


class Examples:
    """Views as inputs of an encoder, augmented or not."""

    def __init__(
        self,
        views: CovisibleImages,
        images: ImageFiles,
        preprocessing: Preprocessing,
        augmentation: PlaceAugmentationConfig,
        *,
        extent_m: float,
    ) -> None:
        self.views, self._images, self._extent_m = views, images, extent_m
        self.preprocessing, self._augmentation = preprocessing, augmentation
        self.grid = preprocessing.size[0] // FINE_PATCH_PX

    def prepare(self, i: int) -> tuple[Array, Array]:
        """(3, H, W) image and (G, 5) structure along the map's axes, without augmentation, as in use."""
        whole = ImageCrop()
        shown = whole.contains(self._uv(i))
        structure = self._structure(i, whole, StructureTransform.identity(), shown)
        return self.preprocessing.apply(self._images[i]), structure

    def draw_transform(self, rng: np.random.Generator, *, mirrored: bool) -> StructureTransform:
        """A random rigid transform of the structure, so that an encoder cannot learn the map's frame."""
        return StructureTransform.draw(rng, self._extent_m, mirrored=mirrored)

    def augment(
        self, i: int, rng: np.random.Generator, transform: StructureTransform, *, mirrored: bool
    ) -> AugmentedView:
        """View i cropped and relit; its structure transformed, and all mirrored, as the batch is."""
        crop = draw_crop(rng, self._augmentation, mirrored=mirrored)
        part = crop.apply(self._images[i])
        small = cv2.resize(part, self.preprocessing.size[::-1], interpolation=cv2.INTER_AREA)
        relit = relight_randomly(small, self._augmentation, rng, original_width=part.shape[1])
        # a query has fewer points than an image of the map: those that its keypoints were matched with
        shown = crop.contains(self._uv(i))
        kept = shown & (rng.uniform(size=len(shown)) >= rng.uniform(0, self._augmentation.points))
        return AugmentedView(self.preprocessing.apply(relit), self._structure(i, crop, transform, kept), shown)

    def _structure(self, i: int, crop: ImageCrop, transform: StructureTransform, kept: Array) -> Array:
        uv, points = crop.transform(self._uv(i)[kept]), self.views.visibility.points_of(i)[kept]
        return structure_tokens(uv, transform.apply(points), grid=self.grid)

    def _uv(self, i: int) -> Array:
        return self.views.visibility.uv[self.views.visibility.observations(i)]


def load_batch(examples: Examples, key: ViewBatchKey, config: PlaceRecognitionConfig) -> PlaceBatch:
    """The batch of a key; its augmentation depends on (seed, epoch, number) alone."""
    rng = np.random.default_rng([config.fit.seed, key.epoch, key.number, 1])
    mirrored = bool(rng.uniform() < config.augmentation.mirror)
    transform = examples.draw_transform(rng, mirrored=mirrored)
    made = [examples.augment(view, rng, transform, mirrored=mirrored) for view in key.views]
    images, structure, shown = zip(*made, strict=True)
    whole = examples.views.select(np.array(key.views))
    parts = CovisibleImages(whole.posed, whole.visibility.mask_points(shown))
    overlap, linked = label_places(parts, config.mining), label_places(whole, config.mining).linked
    apart = ~linked.toarray()
    apart &= ~np.equal.outer(key.views, key.views)  # a view without points may be in the batch twice
    labels = (overlap.positive.toarray(), overlap.share.toarray(), apart)
    return PlaceBatch(*map(torch.from_numpy, (np.stack(images), np.stack(structure), *labels)))


def label_places(views: CovisibleImages, mining: MiningConfig) -> Overlap:
    """The overlap of views, as configured."""
    return compute_overlap(
        views,
        kind=mining.overlap,
        min_shared=mining.min_shared,
        positive_radius_m=mining.positive_radius_m,
        negative_radius_m=mining.negative_radius_m,
    )
