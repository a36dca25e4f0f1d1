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

"""Batches of pairs of views, with their true matches.

What is drawn depends on (seed, epoch, pair) alone, so that a resumed training sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.iterative_matching.config import DataConfig, MatcherFitConfig
from training.iterative_matching.ground_truth import UNKNOWN, MatchLabels, label_pair, label_strangers
from training.iterative_matching.views import PosedGeometry, View
from vloc_ros.core.features.matching_network import normalise_positions
from vloc_ros.core.geometry.pose import Array

# pairs whose pose is known, in the epipolar term
NO_POSE = np.zeros((3, 3), np.float32)


class MatchBatch(NamedTuple):
    """Several pairs, padded to the longest.

    Attributes:
        positions0: (B, N, 2) float32, see `normalise_positions`.
        positions1: (B, M, 2) float32.
        descriptors0: (B, N, D) float32.
        descriptors1: (B, M, D) float32.
        scores0: (B, N) float32 of the extractor.
        scores1: (B, M) float32.
        mask0: (B, N) bool, False for padding.
        mask1: (B, M) bool.
        labels0: (B, N) int64 row of the second view, UNMATCHED or UNKNOWN.
        labels1: (B, M) int64.
        rays0: (B, N, 2) float32 bearings with z = 1; zero where there is no pose.
        rays1: (B, M, 2) float32.
        essential: (B, 3, 3) float32 true essential matrix; zero where there is no pose.
    """

    positions0: Tensor
    positions1: Tensor
    descriptors0: Tensor
    descriptors1: Tensor
    scores0: Tensor
    scores1: Tensor
    mask0: Tensor
    mask1: Tensor
    labels0: Tensor
    labels1: Tensor
    rays0: Tensor
    rays1: Tensor
    essential: Tensor


class PairKey(NamedTuple):
    """Identifies a pair of an epoch.

    Attributes:
        first: number of the first view.
        second: number of the second view.
        same: whether they are of one scene; else they are of different places.
        seed: of what is drawn.
    """

    first: int
    second: int
    same: bool
    seed: int


class MatchBatchKey(NamedTuple):
    """Identifies a batch: its pairs and the epoch, which versions of views depend on."""

    epoch: int
    pairs: tuple[PairKey, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPair:
    """Two views and their true matches."""

    first: View
    second: View
    labels: MatchLabels
    same: bool


def list_pair_keys(pairs: Array, places: Array, epoch: int, data: DataConfig, fit: MatcherFitConfig) -> list[PairKey]:
    """The pairs of an epoch in random order, some of them of different places where there are several.

    Args:
        pairs: (P, 2) views that overlap.
        places: (V,) place of each view.
        epoch: seeds the choice.
        data: share of strangers.
        fit: number of pairs, seed.
    """
    rng = np.random.default_rng([fit.seed, epoch, 1])
    chosen = pairs[_draw_rows(rng, len(pairs), fit.pairs)]
    used = np.unique(pairs)
    can_differ = len(np.unique(places[used])) > 1
    keys = []
    for number, (first, second) in enumerate(chosen.tolist()):
        seed, same = fit.seed + (epoch << 24) + number, True
        if can_differ and rng.uniform() < data.strangers:
            others = used[places[used] != places[first]]
            second, same = int(rng.choice(others)), False
        elif rng.uniform() < 0.5:
            first, second = second, first
        keys.append(PairKey(first, second, same, seed))
    return keys


def list_batches(keys: Sequence[PairKey], epoch: int, size: int) -> list[MatchBatchKey]:
    """Pairs in batches, in order."""
    return [MatchBatchKey(epoch, tuple(keys[start : start + size])) for start in range(0, len(keys), size)]


def label(first: View, second: View, data: DataConfig, *, same: bool) -> LabelledPair:
    """A pair with its true matches."""
    found = (
        label_pair(first, second, positive_px=data.positive_px, negative_px=data.negative_px)
        if same
        else label_strangers(first, second)
    )
    return LabelledPair(first, second, found, same)


def draw_keypoints(pair: LabelledPair, data: DataConfig, fit: MatcherFitConfig, seed: int) -> LabelledPair:
    """Some keypoints of each view: of those that match at random some share, the rest of the others."""
    rng, count = np.random.default_rng([seed, 2]), fit.drawn_keypoints
    matched = np.flatnonzero(pair.labels.first >= 0)
    share = rng.uniform(0.5, 1.0) * fit.drawn_matches
    kept = rng.permutation(matched)[: max(1, round(share * count))]
    partners = pair.labels.first[kept]
    rows = [
        _fill(rng, some, len(view), count)
        for some, view in ((kept, pair.first), (partners, pair.second))
    ]  # fmt: skip
    first, second = pair.first.select(rows[0]), pair.second.select(rows[1])
    # again: the partner of a keypoint may not be among the drawn ones
    return label(first, second, data, same=pair.same)


def collate(pairs: Sequence[LabelledPair]) -> MatchBatch:
    """Pairs of any numbers of keypoints as one batch."""
    essential = np.stack([essential_matrix(pair) for pair in pairs])
    first, second = ([getattr(pair, side) for pair in pairs] for side in ("first", "second"))
    sides = [_pad_views(views) for views in (first, second)]
    labels = [_pad([getattr(pair.labels, side) for pair in pairs], UNKNOWN, np.int64) for side in ("first", "second")]
    mask = [_pad([np.ones(len(view), bool) for view in views], False, bool) for views in (first, second)]
    (positions0, descriptors0, rays0), (positions1, descriptors1, rays1) = sides
    scores = [_pad([view.scores for view in views], 0.0, np.float32) for views in (first, second)]
    arrays = (
        positions0, positions1, descriptors0, descriptors1, *scores, *mask, *labels, rays0, rays1, essential
    )  # fmt: skip
    return MatchBatch(*map(torch.from_numpy, arrays))


def essential_matrix(pair: LabelledPair) -> Array:
    """(3, 3) float32 of the true motion; zero where there is none."""
    first, second = pair.first.geometry, pair.second.geometry
    if not pair.same or not isinstance(first, PosedGeometry) or not isinstance(second, PosedGeometry):
        return NO_POSE
    motion = second.scene_from_camera.inverse() @ first.scene_from_camera
    length = float(np.linalg.norm(motion.translation))
    if length < 1e-6:
        return NO_POSE
    tx, ty, tz = motion.translation / length
    return np.asarray(np.array([[0, -tz, ty], [tz, 0, -tx], [-ty, tx, 0]]) @ motion.rotation, np.float32)


def _pad_views(views: Sequence[View]) -> tuple[Array, Array, Array]:
    positions = _pad([normalise_positions(view.xy, *view.size) for view in views], 0.0, np.float32)
    descriptors = _pad([view.descriptors for view in views], 0.0, np.float32)
    return positions, descriptors, _pad([_rays(view) for view in views], 0.0, np.float32)


def _rays(view: View) -> Array:
    if not isinstance(view.geometry, PosedGeometry):
        return np.zeros((len(view), 2), np.float32)
    return np.nan_to_num(view.geometry.camera.unproject(view.xy)[:, :2])


def _pad(arrays: Sequence[Array], filler: float, dtype: type) -> Array:
    longest = max(1, *map(len, arrays))
    padded = np.full((len(arrays), longest, *arrays[0].shape[1:]), filler, dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


def _fill(rng: np.random.Generator, kept: Array, available: int, count: int) -> Array:
    """Rows, in random order: those that are kept, and others up to a number."""
    others = rng.permutation(np.setdiff1d(np.arange(available), kept))
    return rng.permutation(np.concatenate([kept, others[: max(0, count - len(kept))]])).astype(np.intp)


def _draw_rows(rng: np.random.Generator, available: int, count: int) -> Array:
    """Rows, each before any is repeated."""
    rounds = [rng.permutation(available) for _ in range(-(-count // available))]
    return np.concatenate(rounds)[:count]
