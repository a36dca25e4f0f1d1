"""Batches of a recogniser's training examples, augmented at every step.

The random choice depends on (seed, epoch, index) alone, so that a resumed training sees the same examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from training.recognition.config import KeypointAugmentationConfig, RecognizerFitConfig
from vloc_ros.core.geometry.pose import Array

BACKGROUND = -1


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """The keypoints of one version of one image, strongest first.

    Attributes:
        rays: (N, 2) float32 x / z and y / z in the camera's optical frame.
        descriptors: (N, D) float16, L2-normalised.
        landmarks: (N,) int32 fine landmark that each keypoint shows, -1 for none.
    """

    rays: Array
    descriptors: Array
    landmarks: Array

    def __len__(self) -> int:
        return len(self.rays)

    def select(self, kept: Array | slice) -> Example:
        """A subset of the keypoints."""
        return Example(self.rays[kept], self.descriptors[kept], self.landmarks[kept])


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


class AugmentedExamples(Dataset[Example]):
    """Augmented examples: keypoints dropped or replaced, descriptors with noise, rays rotated and sheared."""

    def __init__(
        self, examples: Sequence[Example], augmentation: KeypointAugmentationConfig, fit: RecognizerFitConfig
    ) -> None:
        self._examples, self._augmentation, self._fit = examples, augmentation, fit

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, which: tuple[int, int]) -> Example:
        """The example of (epoch, index)."""
        epoch, index = which
        rng = np.random.default_rng([self._fit.seed, epoch, index])
        drawn = self._sample_keypoints(rng, self._examples[index], self._fit.drawn_keypoints)
        others = len(self._examples) - 1
        other = self._examples[(index + 1 + rng.integers(max(1, others))) % len(self._examples)]
        mixed = _add_distractors(rng, drawn, other, self._augmentation.distractors)
        descriptors = _add_noise(rng, mixed.descriptors, self._augmentation.noise)
        return Example(_distort_rays(rng, mixed.rays, self._augmentation), descriptors, mixed.landmarks)

    def _sample_keypoints(self, rng: np.random.Generator, example: Example, most: int) -> Example:
        left = round(min(len(example), most) * (1 - rng.uniform(0, self._augmentation.drop)))
        return example.select(rng.permutation(len(example))[: max(left, 1)])


class EpochOrder(Sampler[tuple[int, int]]):
    """(epoch, index) of all examples, shuffled for every epoch; Lightning sets the epoch."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed, self._epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(self._count)
        return iter([(self._epoch, int(index)) for index in order])


def make_data_loader(
    examples: Sequence[Example], augmentation: KeypointAugmentationConfig, fit: RecognizerFitConfig
) -> DataLoader[KeypointBatch]:
    """Augmented examples in batches, each once per epoch."""
    return DataLoader(
        AugmentedExamples(examples, augmentation, fit),
        batch_size=fit.batch,
        sampler=EpochOrder(len(examples), fit.seed),
        collate_fn=collate,
        num_workers=fit.workers,
        persistent_workers=fit.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


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
