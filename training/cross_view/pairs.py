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

"""Pairs of views: which are batched together, and what a batch holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.cross_view.config import CrossViewConfig, CrossViewFitConfig
from training.cross_view.headings import turn_image
from training.cross_view.layout import ViewImages
from training.place_recognition.geolocalization.batches import augment
from training.place_recognition.geolocalization.images import ImageStore
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.preprocessing import Preprocessing


class ViewPairKey(NamedTuple):
    """Identifies a batch: its pairs, and the numbers that seed its augmentation."""

    epoch: int
    number: int
    queries: tuple[int, ...]
    gallery: tuple[int, ...]


class PairBatch(NamedTuple):
    """Pairs of one training step.

    Attributes:
        queries: (P, 3, H, W) float32, preprocessed.
        gallery: (P, 3, H, W) float32; row i shows the ground of query i.
        overlap: (P, P) float32 overlap of each query and each view of the gallery.
        views: (2, P) int64 numbers of the queries and of the gallery's.
    """

    queries: Tensor
    gallery: Tensor
    overlap: Tensor
    views: Tensor


class PairMiner:
    """Pairs of a query and a view of the gallery that shows its ground, in batches of pairs that look alike.

    Pairs that are batched for looking alike share no ground: they are negatives of each other.

    Attributes:
        queries: (Q,) queries that have a positive; the others cannot be trained with.
    """

    def __init__(self, queries: ViewImages, gallery: ViewImages, *, min_overlap: float) -> None:
        """For the images of a training.

        Raises:
            InputError: no query has a positive.
        """
        self._positives, self._gallery = list[tuple[Array, Array]](), gallery
        usable = []
        for number in range(len(queries)):  # one by one: all pairs of a large data set do not fit into memory
            overlap = queries.select(np.array([number])).overlap(gallery)[0]
            near = np.flatnonzero(overlap >= max(min_overlap, 1e-6))
            self._positives.append((near, overlap[near]))
            if len(near):
                usable.append(number)
        self.queries = np.array(usable, np.int64)
        if not usable:
            raise InputError(
                f"none of the {len(queries)} queries shares ground with the {len(gallery)} views of the gallery, "
                "expected places of the same names, or positions that overlap; check the data set"
            )

    def list_batches(
        self, epoch: int, fit: CrossViewFitConfig, count: int, describe: Callable[[Array], Array]
    ) -> list[ViewPairKey]:
        """The keys of an epoch's batches.

        Args:
            epoch: which.
            fit: number of pairs, and how many of them look alike.
            count: number of batches.
            describe: the gallery's descriptors by the network as it is.
        """
        rng = np.random.default_rng([fit.seed, epoch])
        pairs = [self._draw_pair(query, rng) for query in rng.permutation(self.queries).tolist()]
        if fit.regions:
            pairs = self._join_regions(pairs, fit, rng)
        elif fit.hard > 1:
            shown = np.array([view for _, view in pairs])
            pairs = self._group(pairs, describe(np.unique(shown)), shown, fit.hard)
        wanted = np.resize(np.arange(len(pairs)), (count, min(fit.pairs, len(pairs))))
        return [
            ViewPairKey(epoch, number, *(tuple(pairs[i][side] for i in row) for side in (0, 1)))
            for number, row in enumerate(wanted.tolist())
        ]

    def _draw_pair(self, query: int, rng: np.random.Generator) -> tuple[int, int]:
        """A view that shows the query's ground, by chance in proportion to the overlap."""
        near, overlap = self._positives[query]
        return query, int(rng.choice(near, p=overlap / overlap.sum()))

    def _join_regions(
        self, pairs: list[tuple[int, int]], fit: CrossViewFitConfig, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        """The pairs in another order, so that a batch is of few regions: what lies near is like it, and a negative."""
        of = self._gallery.regions[[view for _, view in pairs]]
        share = max(1, fit.pairs // fit.regions)
        parts = [np.flatnonzero(of == name) for name in np.unique(of)]
        parts = [part[first : first + share] for part in parts for first in range(0, len(part), share)]
        return [pairs[i] for number in rng.permutation(len(parts)) for i in parts[number]]

    def _group(self, pairs: list[tuple[int, int]], found: Array, shown: Array, hard: int) -> list[tuple[int, int]]:
        """The pairs in another order: each group of `hard` begins with one, and the negatives most like it follow.

        Args:
            pairs: N queries, each with the view that shows its ground.
            found: (G, D) descriptors of the views, in the order of their numbers.
            shown: (N,) numbers of the views.
            hard: pairs in a group.
        """
        waiting, of = np.ones(len(pairs), bool), np.unique(shown, return_inverse=True)[1]
        views, order = self._gallery.select(shown), list[int]()
        for first in range(len(pairs)):
            if not waiting[first]:
                continue
            alike, free, group = (found @ found[of[first]])[of], waiting.copy(), [first]
            while True:
                free &= views.select(np.array(group[-1:])).overlap(views)[0] == 0
                if len(group) == hard or not free.any():
                    break
                group.append(int(np.where(free, alike, -np.inf).argmax()))
            waiting[group] = False
            order += group
        return [pairs[i] for i in order]


def load_pairs(
    sides: tuple[tuple[ViewImages, ImageStore], tuple[ViewImages, ImageStore]],
    key: ViewPairKey,
    *,
    preprocessing: Preprocessing,
    config: CrossViewConfig,
) -> PairBatch:
    """The batch of a key; its augmentation depends on (seed, epoch, number) alone.

    Args:
        sides: queries and gallery, and where their images are.
        key: which.
        preprocessing: of the network.
        config: how much, and the seed.
    """
    rng = np.random.default_rng([config.fit.seed, key.epoch, key.number, 1])
    mirrored = bool(rng.uniform() < config.augmentation.mirror)
    headings_deg = sides[0][0].headings_deg[list(key.queries)]
    made = []
    for (_, store), numbers, angles in zip(
        sides, (key.queries, key.gallery), _draw_turns(headings_deg, config, rng), strict=True
    ):
        images = []
        for i, angle in zip(numbers, angles, strict=True):
            image, width = store.read(i)
            turned = turn_image(image, angle)
            images.append(augment(turned, width, preprocessing, config.augmentation, rng, mirrored=mirrored))
        made.append(torch.from_numpy(np.stack(images)))
    views = np.array([key.queries, key.gallery], np.int64)
    overlap = sides[0][0].select(views[0]).overlap(sides[1][0].select(views[1]))
    return PairBatch(*made, torch.from_numpy(overlap), torch.from_numpy(views))


def _draw_turns(headings_deg: Array, config: CrossViewConfig, rng: np.random.Generator) -> tuple[Array, Array]:
    """Degrees that each query and each view of the gallery is turned by, of (P,) headings of queries."""
    quarters = 90.0 * rng.integers(4, size=(2, len(headings_deg)))
    if not config.heading_deg:
        return (quarters[0], quarters[1]) if config.turned else (0 * quarters[0], 0 * quarters[1])
    off = rng.uniform(-config.heading_deg, config.heading_deg, len(headings_deg))
    return quarters[0] - headings_deg + off, quarters[0]
