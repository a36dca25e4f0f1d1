"""Batches for place encoders: images cropped, mirrored and relit, with the structure that is left in them."""

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

from training.place_recognition.config import FINE_PATCH_PX, ChangeConfig, PlaceFitConfig, PlacesConfig
from training.place_recognition.labels import overlap_of
from training.place_recognition.mining import Miner
from training.place_recognition.structure import ImageCrop, StructureCrop, structure_tokens
from training.place_recognition.views import CovisibleImages
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import Progress
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.simulation.lighting import DUSK, NIGHT, Lighting, relight
from vloc_ros.storage.images import read_image


class PlaceBatch(NamedTuple):
    """Images that are learned from together.

    Attributes:
        images: (B, 3, H, W) float32, preprocessed.
        structure: (B, G, 5) float32, see `structure_tokens`.
        shared: (B, B) float32 points that every two show,
        share: (B, B) float32 and what they share, 0 to 1: of the parts that are left of the images.
        apart: (B, B) bool, show nothing in common, not even as whole images: few points in a part are no proof.
    """

    images: Tensor
    structure: Tensor
    shared: Tensor
    share: Tensor
    apart: Tensor


class Changed(NamedTuple):
    """A view that was changed.

    Attributes:
        image: (3, H, W) float32.
        structure: (G, 5) float32.
        shown: (V,) bool, which of the points that it sees are in the part that is left.
    """

    image: Array
    structure: Array
    shown: Array


class Key(NamedTuple):
    """Names a batch: the views in it, and what its changes are drawn from."""

    epoch: int
    number: int
    views: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Images:
    """The pixels of views, read when asked for or kept.

    Attributes:
        paths: N files.
        kept: N decoded images, or none.
    """

    paths: tuple[Path, ...]
    kept: tuple[Array, ...] = ()

    @staticmethod
    def of(views: CovisibleImages, *, in_memory: bool, progress: Progress) -> Images:
        """Those of all views."""
        if not in_memory:
            return Images(views.paths)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            read = pool.map(read_image, views.paths)
            return Images(views.paths, tuple(progress(read, description="images", total=len(views))))

    def some(self, which: Array) -> Images:
        """Only these."""
        return Images(tuple(self.paths[i] for i in which), tuple(self.kept[i] for i in which) if self.kept else ())

    def __getitem__(self, i: int) -> Array:
        return self.kept[i] if self.kept else read_image(self.paths[i])


class Examples:
    """Views as an encoder takes them, changed or as they are."""

    def __init__(
        self,
        views: CovisibleImages,
        images: Images,
        preprocessing: Preprocessing,
        changes: ChangeConfig,
        *,
        extent_m: float,
    ) -> None:
        self.views, self._images, self._extent_m = views, images, extent_m
        self.preprocessing, self._changes = preprocessing, changes
        self.grid = preprocessing.size[0] // FINE_PATCH_PX

    def unchanged(self, i: int) -> tuple[Array, Array]:
        """(3, H, W) image and (G, 5) structure, in the map's own frame, as when the encoder is used."""
        whole = ImageCrop()
        shown = whole.holds(self.views.uv[self.views.seen(i)])
        return self.preprocessing.apply(self._images[i]), self._structure(i, whole, StructureCrop.identity(), shown)

    def drawn_frame(self, rng: np.random.Generator, *, mirrored: bool) -> StructureCrop:
        """As if the map had been made in another frame, as large as this one."""
        return StructureCrop.drawn(rng, self._extent_m, mirrored=mirrored)

    def changed(self, i: int, rng: np.random.Generator, frame: StructureCrop, *, mirrored: bool) -> Changed:
        """The same cropped, relit, and in a frame of its batch; mirrored where the batch is."""
        window = drawn_window(rng, self._changes, mirrored=mirrored)
        part = window.shown(self._images[i])
        small = cv2.resize(part, self.preprocessing.size[::-1], interpolation=cv2.INTER_AREA)
        relit = relight_randomly(small, self._changes, rng, original_width=part.shape[1])
        # a query is told of fewer points than an image of the map: those that its keypoints were matched with
        shown = window.holds(self.views.uv[self.views.seen(i)])
        kept = shown & (rng.uniform(size=len(shown)) >= rng.uniform(0, self._changes.points))
        return Changed(self.preprocessing.apply(relit), self._structure(i, window, frame, kept), shown)

    def _structure(self, i: int, window: ImageCrop, frame: StructureCrop, kept: Array) -> Array:
        seen = self.views.seen(i)
        uv, points = window.carried(self.views.uv[seen][kept]), self.views.points[self.views.indices[seen][kept]]
        return structure_tokens(uv, frame.carried(points), grid=self.grid)


def drawn_window(rng: np.random.Generator, changes: ChangeConfig, *, mirrored: bool) -> ImageCrop:
    """A part of the image, both sides drawn apart."""
    width, height = 1 - rng.uniform(0, changes.crop, 2)
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return ImageCrop(left, top, left + width, top + height, mirrored)


def relight_randomly(image: Array, changes: ChangeConfig, rng: np.random.Generator, *, original_width: int) -> Array:
    """An (H, W) or (H, W, 3) uint8 image by day, at dusk or at night, in other colours and blurred.

    Noise is of the sensor's pixels; where the image was made smaller, several of them are averaged.
    """
    kind, seed = rng.uniform(), int(rng.integers(2**31))
    averaged = min(1.0, image.shape[1] / original_width)
    if kind < changes.night:
        image = relight(image, _less_noisy(NIGHT, averaged), seed)
    elif kind < changes.night + changes.dusk:
        image = relight(image, _less_noisy(DUSK, averaged), seed)
    gain = 1 + rng.uniform(-changes.light, changes.light) + rng.uniform(-0.25, 0.25, 3) * changes.light
    offset, middle = rng.uniform(-0.3, 0.3) * changes.light * 255, float(image.mean())
    contrast = 1 + rng.uniform(-changes.light, changes.light)
    gains = (gain if image.ndim == 3 else gain[:1]).astype(np.float32)
    values = ((image - np.float32(middle)) * np.float32(contrast) + np.float32(middle)) * gains + np.float32(offset)
    changed = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    sigma = rng.uniform(0, changes.blur_px)
    return changed if sigma < 0.3 else np.asarray(cv2.GaussianBlur(changed, (0, 0), sigma))


def _less_noisy(lighting: Lighting, factor: float) -> Lighting:
    return replace(lighting, noise=lighting.noise * factor, read_noise=lighting.read_noise * factor)


class Batches(Dataset[PlaceBatch]):
    """Batches by their keys."""

    def __init__(self, examples: Examples, config: PlacesConfig) -> None:
        self._examples, self._config = examples, config

    def __getitem__(self, key: Key) -> PlaceBatch:
        """Changes follow from (seed, epoch, number) alone."""
        rng = np.random.default_rng([self._config.fit.seed, key.epoch, key.number, 1])
        mirrored = bool(rng.uniform() < self._config.changes.mirror)
        frame = self._examples.drawn_frame(rng, mirrored=mirrored)
        made = [self._examples.changed(view, rng, frame, mirrored=mirrored) for view in key.views]
        images, structure, shown = zip(*made, strict=True)
        parts, whole = self._examples.views.shown(key.views, shown), self._examples.views.some(np.array(key.views))
        overlap, visible = overlap_of(parts, kind=self._config.mining.overlap), whole.visibility()
        apart = (visible @ visible.T).toarray() == 0
        apart &= ~np.equal.outer(key.views, key.views)  # one that sees no point comes twice
        labels = (overlap.shared.toarray().astype(np.float32), overlap.share.toarray(), apart)
        return PlaceBatch(*map(torch.from_numpy, (np.stack(images), np.stack(structure), *labels)))


class EpochBatches(Sampler[Key]):
    """Keys of the batches of an epoch, those of this process; Lightning tells the epoch."""

    def __init__(self, miner: Miner, fit: PlaceFitConfig, *, epoch: int = 0, rank: int = 0, processes: int = 1) -> None:
        """For the process `rank` of so many; `epoch` is the first one, of which Lightning says nothing on resuming."""
        self._miner, self._fit, self._rank, self._processes = miner, fit, rank, processes
        self._epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes next."""
        self._epoch = epoch

    def __len__(self) -> int:
        # every process takes as many steps; what is left over waits for another epoch
        count = -(-len(self._miner.anchors) // self._fit.groups)
        return max(1, count // self._processes)

    def __iter__(self) -> Iterator[Key]:
        made = self._miner.batches(self._epoch, groups=self._fit.groups, seed=self._fit.seed)
        keys = [Key(self._epoch, number, views) for number, views in enumerate(made)]
        mine = [keys[number % len(keys)] for number in range(self._rank, len(self) * self._processes, self._processes)]
        return iter(mine)


def training_batches(examples: Examples, order: EpochBatches, config: PlacesConfig) -> DataLoader[PlaceBatch]:
    """Mined batches, drawn anew in every epoch."""
    return DataLoader(
        Batches(examples, config),
        batch_size=None,
        sampler=order,
        num_workers=config.fit.workers,
        persistent_workers=config.fit.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
