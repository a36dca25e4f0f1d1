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

"""Batches of a recogniser's training examples, augmented at every step.

The random choice depends on (seed, epoch, index) alone, so that a resumed training sees the same examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.landmark_recognizer.config import KeypointAugmentationConfig, RecognizerConfig, RecognizerFitConfig
from training.landmark_recognizer.keypoints import BACKGROUND, Example
from vloc_ros.core.geometry.pose import Array


class KeypointBatch(NamedTuple):
    """Several examples, padded to the longest.

    Attributes:
        rays: (B, N, 2) float32.
        descriptors: (B, N, D) float32.
        landmarks: (B, N) int64, -1 for none.
        mask: (B, N) bool, False for padding.
    """

    rays: Tensor
    descriptors: Tensor
    landmarks: Tensor
    mask: Tensor


def collate(examples: Sequence[Example]) -> KeypointBatch:
    """Examples of any lengths as one batch."""
    shape = len(examples), max(map(len, examples))
    rays, mask = np.zeros((*shape, 2), np.float32), np.zeros(shape, bool)
    descriptors = np.zeros((*shape, examples[0].descriptors.shape[1]), np.float32)
    landmarks = np.full(shape, BACKGROUND, np.int64)
    for row, example in enumerate(examples):
        n = len(example)
        rays[row, :n], descriptors[row, :n], landmarks[row, :n] = example.rays, example.descriptors, example.landmarks
        mask[row, :n] = True
    return KeypointBatch(*map(torch.from_numpy, (rays, descriptors, landmarks, mask)))


class KeypointBatchKey(NamedTuple):
    """Identifies a batch: its examples, and the epoch that seeds their augmentation."""

    epoch: int
    examples: tuple[int, ...]


def list_batches(count: int, epoch: int, fit: RecognizerFitConfig) -> list[KeypointBatchKey]:
    """All examples once, in an order that is new in every epoch."""
    order = np.random.default_rng([fit.seed, epoch]).permutation(count).tolist()
    return [KeypointBatchKey(epoch, tuple(order[first : first + fit.batch])) for first in range(0, count, fit.batch)]


def augment_example(examples: Sequence[Example], epoch: int, index: int, config: RecognizerConfig) -> Example:
    """An example with keypoints dropped or replaced, noise on descriptors, and rays rotated and sheared."""
    rng, augmentation = np.random.default_rng([config.fit.seed, epoch, index]), config.keypoints
    drawn = _sample_keypoints(rng, examples[index], config.fit.drawn_keypoints, augmentation.drop)
    others = len(examples) - 1
    other = examples[(index + 1 + rng.integers(max(1, others))) % len(examples)]
    mixed = _add_distractors(rng, drawn, other, augmentation.distractors)
    descriptors = _add_noise(rng, mixed.descriptors, augmentation.noise)
    return Example(_distort_rays(rng, mixed.rays, augmentation), descriptors, mixed.landmarks)


def _sample_keypoints(rng: np.random.Generator, example: Example, most: int, drop: float) -> Example:
    left = round(min(len(example), most) * (1 - rng.uniform(0, drop)))
    return example.select(rng.permutation(len(example))[: max(left, 1)])


def _add_distractors(rng: np.random.Generator, example: Example, other: Example, share: float) -> Example:
    """Replace some keypoints by those of another image, labelled background."""
    count = min(round(len(example) * rng.uniform(0, share)), len(other))
    taken = other.select(rng.permutation(len(other))[:count])
    kept = len(example) - count
    return Example(
        np.concatenate([example.rays[:kept], taken.rays]),
        np.concatenate([example.descriptors[:kept], taken.descriptors]),
        np.concatenate([example.landmarks[:kept], np.full(count, BACKGROUND, np.int32)]),
    )


def _add_noise(rng: np.random.Generator, descriptors: Array, most: float) -> Array:
    """(N, D) float32 of length 1, with noise of one random magnitude per image, up to this length."""
    exact = descriptors.astype(np.float32)
    scale = np.float32(rng.uniform(0, most) / np.sqrt(exact.shape[1]))
    noisy = exact + scale * rng.standard_normal(exact.shape, dtype=np.float32)
    return np.asarray(noisy / np.maximum(np.linalg.norm(noisy, axis=1, keepdims=True), 1e-6))


def _distort_rays(rng: np.random.Generator, rays: Array, augmentation: KeypointAugmentationConfig) -> Array:
    """(N, 2) float32 rays rotated about the optical axis, stretched and sheared."""
    angle = np.radians(rng.uniform(-augmentation.roll_deg, augmentation.roll_deg))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.eye(2) + rng.uniform(-augmentation.stretch, augmentation.stretch, (2, 2))
    return np.asarray(rays @ (turn @ stretch), dtype=np.float32)
