"""Batches for global descriptor models: images cropped, mirrored and relit, with their visible 3D structure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from training.place_recognition.config import (
    FINE_PATCH_PX,
    PlaceAugmentationConfig,
    PlaceFitConfig,
    PlaceRecognitionConfig,
)
from training.place_recognition.labels import compute_overlap
from training.place_recognition.mining import Miner
from training.place_recognition.structure import ImageCrop, StructureTransform, structure_tokens
from training.place_recognition.views import CovisibleImages
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import Progress
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.simulation.lighting import DUSK, NIGHT, Lighting, relight
from vloc_ros.storage.images import read_image


class PlaceBatch(NamedTuple):
    """Images of one training step. Labels are of the cropped images, unless stated otherwise.

    Attributes:
        images: (B, 3, H, W) float32, preprocessed.
        structure: (B, G, 5) float32, see `structure_tokens`.
        shared: (B, B) float32 number of points that two images share.
        share: (B, B) float32 overlap of two images, 0 to 1.
        apart: (B, B) bool, whether even the uncropped images share no point; a crop with few points is no evidence.
    """

    images: Tensor
    structure: Tensor
    shared: Tensor
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


class BatchKey(NamedTuple):
    """Identifies a batch: its views, and the numbers that seed its augmentation."""

    epoch: int
    number: int
    views: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ViewImages:
    """The images of views, in memory or read on access.

    Attributes:
        paths: N files.
        kept: N decoded images, or empty.
    """

    paths: tuple[Path, ...]
    kept: tuple[Array, ...] = ()

    @staticmethod
    def load(views: CovisibleImages, *, in_memory: bool, progress: Progress) -> ViewImages:
        """The images of all views."""
        if not in_memory:
            return ViewImages(views.paths)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            read = pool.map(read_image, views.paths)
            return ViewImages(views.paths, tuple(progress(read, description="images", total=len(views))))

    def select(self, which: Array) -> ViewImages:
        """A subset."""
        return ViewImages(tuple(self.paths[i] for i in which), tuple(self.kept[i] for i in which) if self.kept else ())

    def __getitem__(self, i: int) -> Array:
        return self.kept[i] if self.kept else read_image(self.paths[i])


class Examples:
    """Views as inputs of an encoder, augmented or not."""

    def __init__(
        self,
        views: CovisibleImages,
        images: ViewImages,
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
        shown = whole.contains(self.views.uv[self.views.observations(i)])
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
        shown = crop.contains(self.views.uv[self.views.observations(i)])
        kept = shown & (rng.uniform(size=len(shown)) >= rng.uniform(0, self._augmentation.points))
        return AugmentedView(self.preprocessing.apply(relit), self._structure(i, crop, transform, kept), shown)

    def _structure(self, i: int, crop: ImageCrop, transform: StructureTransform, kept: Array) -> Array:
        seen = self.views.observations(i)
        uv, points = crop.transform(self.views.uv[seen][kept]), self.views.points[self.views.indices[seen][kept]]
        return structure_tokens(uv, transform.apply(points), grid=self.grid)


def draw_crop(rng: np.random.Generator, augmentation: PlaceAugmentationConfig, *, mirrored: bool) -> ImageCrop:
    """A random crop; width and height are drawn independently."""
    width, height = 1 - rng.uniform(0, augmentation.crop, 2)
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return ImageCrop(left, top, left + width, top + height, mirrored)


def relight_randomly(
    image: Array, augmentation: PlaceAugmentationConfig, rng: np.random.Generator, *, original_width: int
) -> Array:
    """An (H, W) or (H, W, 3) uint8 image by day, at dusk or at night, with other colours and blur.

    Noise is that of the sensor's pixels; resizing averages several of them.
    """
    kind, seed = rng.uniform(), int(rng.integers(2**31))
    averaged = min(1.0, image.shape[1] / original_width)
    if kind < augmentation.night:
        image = relight(image, _scale_noise(NIGHT, averaged), seed)
    elif kind < augmentation.night + augmentation.dusk:
        image = relight(image, _scale_noise(DUSK, averaged), seed)
    gain = 1 + rng.uniform(-augmentation.light, augmentation.light) + rng.uniform(-0.25, 0.25, 3) * augmentation.light
    offset, middle = rng.uniform(-0.3, 0.3) * augmentation.light * 255, float(image.mean())
    contrast = 1 + rng.uniform(-augmentation.light, augmentation.light)
    gains = (gain if image.ndim == 3 else gain[:1]).astype(np.float32)
    values = ((image - np.float32(middle)) * np.float32(contrast) + np.float32(middle)) * gains + np.float32(offset)
    changed = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    sigma = rng.uniform(0, augmentation.blur_px)
    return changed if sigma < 0.3 else np.asarray(cv2.GaussianBlur(changed, (0, 0), sigma))


def _scale_noise(lighting: Lighting, factor: float) -> Lighting:
    return replace(lighting, noise=lighting.noise * factor, read_noise=lighting.read_noise * factor)


class BatchDataset(Dataset[PlaceBatch]):
    """Batches by their keys."""

    def __init__(self, examples: Examples, config: PlaceRecognitionConfig) -> None:
        self._examples, self._config = examples, config

    def __getitem__(self, key: BatchKey) -> PlaceBatch:
        """The batch of a key; its augmentation depends on (seed, epoch, number) alone."""
        rng = np.random.default_rng([self._config.fit.seed, key.epoch, key.number, 1])
        mirrored = bool(rng.uniform() < self._config.augmentation.mirror)
        transform = self._examples.draw_transform(rng, mirrored=mirrored)
        made = [self._examples.augment(view, rng, transform, mirrored=mirrored) for view in key.views]
        images, structure, shown = zip(*made, strict=True)
        parts, whole = (
            self._examples.views.mask_points(key.views, shown),
            self._examples.views.select(np.array(key.views)),
        )
        overlap, visible = compute_overlap(parts, kind=self._config.mining.overlap), whole.visibility()
        apart = (visible @ visible.T).toarray() == 0
        apart &= ~np.equal.outer(key.views, key.views)  # a view without points may be in the batch twice
        labels = (overlap.shared.toarray().astype(np.float32), overlap.share.toarray(), apart)
        return PlaceBatch(*map(torch.from_numpy, (np.stack(images), np.stack(structure), *labels)))


class EpochSampler(Sampler[BatchKey]):
    """Keys of this process's batches of an epoch; Lightning sets the epoch."""

    def __init__(self, miner: Miner, fit: PlaceFitConfig, *, epoch: int = 0, rank: int = 0, processes: int = 1) -> None:
        """For one process of several; `epoch` is the first one, which Lightning does not set when a run is resumed."""
        self._miner, self._fit, self._rank, self._processes = miner, fit, rank, processes
        self._epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        # every process takes equally many steps; the remainder is left to another epoch
        count = -(-len(self._miner.anchors) // self._fit.groups)
        return max(1, count // self._processes)

    def __iter__(self) -> Iterator[BatchKey]:
        made = self._miner.batches(self._epoch, groups=self._fit.groups, seed=self._fit.seed)
        keys = [BatchKey(self._epoch, number, views) for number, views in enumerate(made)]
        mine = [keys[number % len(keys)] for number in range(self._rank, len(self) * self._processes, self._processes)]
        return iter(mine)


def make_data_loader(examples: Examples, order: EpochSampler, config: PlaceRecognitionConfig) -> DataLoader[PlaceBatch]:
    """Mined batches, sampled anew in every epoch."""
    return DataLoader(
        BatchDataset(examples, config),
        batch_size=None,
        sampler=order,
        num_workers=config.fit.workers,
        persistent_workers=config.fit.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
