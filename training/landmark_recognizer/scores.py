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

"""Scores of a recogniser, by keypoint and by image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields

import numpy as np

from training.landmark_recognizer.keypoints import Example
from vloc_ros.core.geometry.pose import Array

_SHOWN_KEYPOINTS = 5
# rays and descriptors of one image -> background, landmarks, probabilities, coarse; see RecognitionNetwork.forward
Recognize = Callable[[Array, Array], tuple[Array, Array, Array, Array]]


@dataclass(frozen=True, slots=True)
class RecognitionScores:
    """Shares, 0 to 1; of the keypoints that show a landmark, unless stated otherwise.

    Attributes:
        top1: the true fine landmark is the most probable.
        top3: the true fine landmark is among the three most probable.
        coarse: the true coarse landmark is the most probable.
        image_recall: of the n landmarks that at least five keypoints of an image show, those among the n with most
            evidence.
        foreground: the keypoint is not classified as background.
        background: of the keypoints that show no landmark, those that are classified as background.
    """

    top1: float
    top3: float
    coarse: float
    image_recall: float
    foreground: float
    background: float

    def as_dict(self) -> dict[str, float]:
        """Rounded, for people and manifests."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def score_recognition(
    recognize: Recognize, examples: Iterable[Example], parents: Array, *, keypoints: int
) -> RecognitionScores:
    """Score the strongest keypoints of each example, over all images; NaN without samples.

    Args:
        recognize: a recogniser.
        examples: with their true landmarks.
        parents: (L,) coarse landmark of every fine one.
        keypoints: per image.
    """
    counts = np.zeros((len(fields(RecognitionScores)), 2))
    for example in examples:
        strongest = example.select(slice(keypoints))
        if len(strongest):
            outputs = recognize(strongest.rays, strongest.descriptors.astype(np.float32))
            counts += _count_hits(*outputs, strongest.landmarks, np.asarray(parents))
    with np.errstate(invalid="ignore"):
        return RecognitionScores(*map(float, counts[:, 0] / counts[:, 1]))


def _count_hits(
    background: Array,
    landmarks: Array,
    probabilities: Array,
    coarse: Array,
    true_landmarks: Array,
    parents: Array,
) -> Array:
    """(6, 2) hits and samples of one image, in the order of RecognitionScores."""
    names, shown = landmarks.ravel(), true_landmarks >= 0
    of_landmark = np.where(names >= 0, probabilities.reshape(len(true_landmarks), -1), -1.0)
    best = names[np.argsort(-of_landmark[shown], axis=1)[:, :3]]
    hits = best == true_landmarks[shown, None]
    of_coarse = probabilities[shown].sum(axis=2)
    named = parents[landmarks[:, 0]]  # every coarse landmark has a child
    coarse_hits = named[of_coarse.argmax(axis=1)] == parents[true_landmarks[shown]]
    taken_for_background = background > 0.5
    n, rest = int(shown.sum()), int((~shown).sum())
    return np.array(
        [
            [hits[:, :1].sum(), n],
            [hits.any(axis=1).sum(), n],
            [coarse_hits.sum(), n],
            _image_recall(names, of_landmark.sum(axis=0), true_landmarks[shown]),
            [(~taken_for_background[shown]).sum(), n],
            [taken_for_background[~shown].sum(), rest],
        ],
        dtype=np.float64,
    )


def _image_recall(names: Array, evidence: Array, true_landmarks: Array) -> tuple[int, int]:
    """Of the landmarks that many keypoints show: how many are among the first by evidence, and how many there are."""
    present, times = np.unique(true_landmarks, return_counts=True)
    visible = present[times >= _SHOWN_KEYPOINTS]
    first = names[np.argsort(-evidence)[: len(visible)]]
    return len(np.intersect1d(first, visible)), len(visible)
