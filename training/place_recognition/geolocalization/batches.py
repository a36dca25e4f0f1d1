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

"""Batches of images with positions: tuples with mined negatives, images by place, images by cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from training.data.relighting import relight_randomly
from training.data.view_augmentation import ViewAugmentationConfig, draw_crop
from training.place_recognition.geolocalization.config import FULL, RANDOM, TURN_DEG, PositionFitConfig, TupleConfig
from training.place_recognition.geolocalization.images import ImageStore, PlaceImages
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.preprocessing import Preprocessing

_CELL_IMAGES = 4


class ImageBatchKey(NamedTuple):
    """Identifies a batch: its images, and the numbers that seed its augmentation.

    Attributes:
        epoch: of the batch.
        number: of the batch in its epoch.
        images: numbers of the images; of tuples one after the other: query, positive, negatives.
        group: of cells, for a classification.
        classes: of each image in that group, for a classification.
    """

    epoch: int
    number: int
    images: tuple[int, ...]
    group: int = 0
    classes: tuple[int, ...] = ()


class ImageBatch(NamedTuple):
    """Images of one training step.

    Attributes:
        images: (B, 3, H, W) float32, preprocessed.
        positive: (B, B) bool, whether two images show one place; of an image with itself, false.
        negative: (B, B) bool, whether they show different places.
        classes: (B,) int64 cell of each image; 0 where there are none.
        group: () int64 group of the cells.
        views: (B,) int64 numbers of the images.
    """

    images: Tensor
    positive: Tensor
    negative: Tensor
    classes: Tensor
    group: Tensor
    views: Tensor


class TupleMiner:
    """Tuples of a query, its most similar positive, and negatives that are similar to it (Arandjelović et al. 2016).

    Attributes:
        queries: (Q,) images that have a positive in the database; the others cannot be trained with.
        dropped: number of queries without a positive.
    """

    def __init__(self, images: PlaceImages, config: TupleConfig) -> None:
        """For the images of a training.

        Raises:
            InputError: no query has a positive.
        """
        self._images, self._config = images, config
        queries, self._database = np.flatnonzero(images.is_query), np.flatnonzero(~images.is_query)
        # query by query: the distances of all pairs of a large data set do not fit into memory
        found = {int(query): self._find_positives(query) for query in queries}
        self._positives = {query: near for query, near in found.items() if len(near)}
        self.queries = np.array(list(self._positives), np.int64)
        self.dropped = len(queries) - len(self.queries)
        if not len(self.queries):
            raise InputError(
                f"none of the {len(queries)} queries has an image of the database within the radius of positives; "
                "give larger --radii, or check the coordinates"
            )

    def _find_positives(self, query: int) -> Array:
        images, angle_deg = self._images, self._config.max_angle_deg
        positive, _ = images.label(np.array([query]), self._database, max_angle_deg=angle_deg)
        return self._database[positive[0]]

    def mine(self, queries: Array, describe: Callable[[Array], Array], rng: np.random.Generator) -> list[list[int]]:
        """A tuple of each query, by descriptors of the network as it is."""
        config = self._config
        candidates = self._database
        if config.mining != FULL and len(candidates) > config.sampled:
            candidates = np.sort(rng.choice(candidates, config.sampled, replace=False))
        near = [self._positives[int(query)] for query in queries]
        compared = [] if config.mining == RANDOM else [candidates]
        needed = np.unique(np.concatenate([queries, *near, *compared]))
        rows = np.full(len(self._images), -1)
        rows[needed] = np.arange(len(needed))
        found = describe(needed)
        return [
            self._complete(query, of, candidates, found, rows, rng) for query, of in zip(queries, near, strict=True)
        ]

    def _complete(
        self, query: int, positives: Array, candidates: Array, found: Array, rows: Array, rng: np.random.Generator
    ) -> list[int]:
        """A query with its most similar positive and its negatives."""
        best = positives[np.argmax(found[rows[positives]] @ found[rows[query]])]
        others = candidates[self._images.label(np.array([query]), candidates)[1][0]]
        if not len(others):
            raise InputError(
                f"{self._images.paths[query]}: every image of the database is within the radius of negatives, expected "
                "some beyond; give smaller --radii, or more images"
            )
        count = self._config.negatives
        if self._config.mining == RANDOM:
            chosen = rng.choice(others, count, replace=len(others) < count)
        else:
            hardest = np.argsort(-(found[rows[others]] @ found[rows[query]]), kind="stable")[:count]
            chosen = others[np.resize(hardest, count)]
        return [int(query), int(best), *map(int, chosen)]


def list_tuples(
    miner: TupleMiner, epoch: int, fit: PositionFitConfig, count: int, describe: Callable[[Array], Array]
) -> list[ImageBatchKey]:
    """The keys of an epoch's batches of tuples."""
    rng = np.random.default_rng([fit.seed, epoch])
    order = np.resize(rng.permutation(miner.queries), count * fit.groups)
    queries = np.unique(order)
    tuples = dict(zip(queries.tolist(), miner.mine(queries, describe, rng), strict=True))
    parts = [order[first : first + fit.groups] for first in range(0, len(order), fit.groups)]
    return [
        ImageBatchKey(epoch, number, tuple(i for query in part.tolist() for i in tuples[query]))
        for number, part in enumerate(parts)
    ]


def list_places(
    images: PlaceImages, anchors: Array, epoch: int, fit: PositionFitConfig, config: TupleConfig, count: int
) -> list[ImageBatchKey]:
    """The keys of an epoch's batches of places: an image, and random others within the radius of its positives."""
    rng, everything = np.random.default_rng([fit.seed, epoch]), np.arange(len(images))
    order = np.resize(rng.permutation(anchors), count * fit.groups)
    keys = []
    for number, first in enumerate(range(0, len(order), fit.groups)):
        chosen = list[int]()
        for anchor in order[first : first + fit.groups].tolist():
            near = images.label(np.array([anchor]), everything, max_angle_deg=config.max_angle_deg)[0][0]
            near[anchor] = False
            others = np.flatnonzero(near)
            wanted = config.images_per_place - 1
            chosen += [anchor, *map(int, rng.choice(others, wanted, replace=len(others) < wanted))]
        keys.append(ImageBatchKey(epoch, number, tuple(chosen)))
    return keys


class CellGroups:
    """Cells of positions and headings, without neighbours in a group if `groups` > 1 (Berton, Masone and Caputo 2022).

    Attributes:
        classes: number of cells of each group.
    """

    def __init__(self, images: PlaceImages, config: TupleConfig) -> None:
        """For the images of a training.

        Raises:
            InputError: headings are not known, or fewer than two cells of a group have enough images.
        """
        if config.sector_deg < TURN_DEG:
            images.require_headings()
        x, y = np.floor(images.positions / config.cell_m).astype(np.int64).T
        turns = np.nan_to_num(images.headings % TURN_DEG) / config.sector_deg
        sector = turns.astype(np.int64) if config.sector_deg < TURN_DEG else np.zeros(len(images), np.int64)
        cells = np.column_stack([images.datasets, x, y, sector])
        n = config.groups
        group = (x % n) * n * 2 + (y % n) * 2 + sector % 2
        self._members: list[tuple[Array, Array]] = []
        for number in np.unique(group):
            members = np.flatnonzero(group == number)
            _, of, counts = np.unique(cells[members], axis=0, return_inverse=True, return_counts=True)
            enough = counts >= config.images_per_cell
            renumbered = np.cumsum(enough) - 1
            kept = enough[of.ravel()]
            if enough.sum() >= 2:
                self._members.append((members[kept], renumbered[of.ravel()[kept]]))
        if not self._members:
            raise InputError(
                f"no group has two cells with {config.images_per_cell} images; set a larger tuples.cell_m or "
                "tuples.sector_deg, or smaller tuples.images_per_cell"
            )
        self.classes = [int(classes.max()) + 1 for _, classes in self._members]

    def list_batches(self, epoch: int, fit: PositionFitConfig, count: int) -> list[ImageBatchKey]:
        """The keys of an epoch's batches, which are of one group; the groups take turns."""
        group = epoch % len(self._members)
        members, classes = self._members[group]
        rng = np.random.default_rng([fit.seed, epoch])
        size = fit.groups * _CELL_IMAGES
        order = np.resize(rng.permutation(len(members)), count * size)
        return [
            ImageBatchKey(
                epoch, number, tuple(members[part].tolist()), group=group, classes=tuple(classes[part].tolist())
            )
            for number, part in enumerate(order.reshape(count, size))
        ]


def load_batch(
    images: PlaceImages,
    store: ImageStore,
    key: ImageBatchKey,
    *,
    preprocessing: Preprocessing,
    augmentation: ViewAugmentationConfig,
    seed: int,
    max_angle_deg: float,
) -> ImageBatch:
    """The batch of a key; its augmentation depends on (seed, epoch, number) alone."""
    rng = np.random.default_rng([seed, key.epoch, key.number, 1])
    mirrored = bool(rng.uniform() < augmentation.mirror)
    made = [augment(*store.read(i), preprocessing, augmentation, rng, mirrored=mirrored) for i in key.images]
    views = np.array(key.images, np.int64)
    positive, negative = images.label(views, views, max_angle_deg=max_angle_deg)
    positive &= ~np.equal.outer(views, views)
    classes = np.array(key.classes or [0] * len(views), np.int64)
    arrays = (np.stack(made), positive, negative, classes, np.array(key.group), views)
    return ImageBatch(*map(torch.from_numpy, arrays))


def augment(
    image: Array,
    original_width: int,
    preprocessing: Preprocessing,
    augmentation: ViewAugmentationConfig,
    rng: np.random.Generator,
    *,
    mirrored: bool,
) -> Array:
    """(3, H, W) float32: an image cropped, perhaps mirrored, and relit.

    Args:
        image: (h, w) or (h, w, 3) uint8.
        original_width: of its file, in pixels, whose sensor's noise is reduced with the image.
        preprocessing: of the network.
        augmentation: how much.
        rng: draws all of it.
        mirrored: whether the whole batch is.
    """
    part = draw_crop(rng, augmentation, mirrored=mirrored).apply(image)
    small = cv2.resize(part, preprocessing.size[::-1], interpolation=cv2.INTER_AREA)
    width = round(part.shape[1] * original_width / image.shape[1])
    return preprocessing.apply(relight_randomly(small, augmentation, rng, original_width=width))


def count_batches(queries: Sequence[int] | Array, fit: PositionFitConfig) -> int:
    """The number of batches of an epoch."""
    return fit.batches or -(-len(queries) // fit.groups)
