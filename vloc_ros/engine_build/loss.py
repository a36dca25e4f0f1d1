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

"""What a precision loses: outputs of two graphs on the same inputs, on ONNX Runtime's CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.engines import Engine

Outputs = Mapping[str, Array]
# a keypoint of one is one of the other within this distance
_SAME_KEYPOINT_PX = 1.0
# recommended above these; see docs/benchmark/engines.md for what they cost in poses
LEAST_PAIRED, LEAST_COSINE, LEAST_NEAREST, LEAST_RECOGNIZED = 0.9, 0.99, 0.99, 0.95
# of other outputs, relative to the largest value
_LARGEST_DIFFERENCE = 0.02


@dataclass(frozen=True, slots=True)
class Loss:
    """Figures of a comparison, and why the precision is not recommended.

    Attributes:
        figures: by name.
        reasons: empty where it can be recommended.
    """

    figures: Mapping[str, float]
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.figures.items())
        return f"not recommended: {'; '.join(self.reasons)} ({figures})" if self.reasons else figures


def measure_loss(kind: str, reference: Engine, tried: Engine, samples: Iterable[Mapping[str, Array]]) -> Loss:
    """Compare two engines of one model.

    Args:
        kind: of the model.
        reference: in float32.
        tried: in the precision.
        samples: inputs, one or more.
    """
    return compare_outputs(kind, [(reference.run(sample), tried.run(sample)) for sample in samples])


def compare_outputs(kind: str, pairs: Sequence[tuple[Outputs, Outputs]]) -> Loss:
    """Compare pairs of outputs, the expected ones first; one pair or more."""
    if kind == "keypoints":
        return _loss_of_keypoints(pairs)
    if kind in ("global descriptor", "place encoder", "range descriptor"):
        ours, theirs = (np.concatenate([pair[side]["descriptors"] for pair in pairs]) for side in (0, 1))
        return _loss_of_descriptors(ours, theirs)
    if kind == "recognizer":
        same = [_recognize(ours) == _recognize(theirs) for ours, theirs in pairs]
        figures = {"keypoints of the same landmark": float(np.mean(np.concatenate(same)))}
        return judge(figures, dict.fromkeys(figures, LEAST_RECOGNIZED))
    return _loss_of_values(pairs)


def _recognize(outputs: Outputs) -> Array:
    """(N,) the most probable landmark of each keypoint, -1 for none."""
    landmarks = outputs["landmarks"].reshape(-1)
    probabilities = outputs["probabilities"].reshape(len(outputs["background"]), -1)
    best = probabilities.argmax(axis=1)
    return np.where(probabilities.max(axis=1) > outputs["background"], landmarks[best], -1)


def _loss_of_keypoints(pairs: Sequence[tuple[Outputs, Outputs]]) -> Loss:
    paired, cosines = [], []
    for ours, theirs in pairs:
        if not len(ours["keypoints"]):
            continue
        if not len(theirs["keypoints"]):
            paired.append(0.0)
            continue
        distances = np.linalg.norm(ours["keypoints"][:, None] - theirs["keypoints"][None], axis=2)
        nearest, is_same = distances.argmin(axis=1), distances.min(axis=1) < _SAME_KEYPOINT_PX
        paired.append(float(is_same.mean()))
        if is_same.any():
            cosines.append((ours["descriptors"][is_same] * theirs["descriptors"][nearest[is_same]]).sum(axis=1))
    cosine = float(np.median(np.concatenate(cosines))) if cosines else 0.0
    figures = {"keypoints in both": float(np.mean(paired)) if paired else 0.0, "median descriptor cosine": cosine}
    return judge(figures, dict(zip(figures, (LEAST_PAIRED, LEAST_COSINE), strict=True)))


def _loss_of_descriptors(ours: Array, theirs: Array) -> Loss:
    """Of global descriptors: the angle, and whether the other images rank the same image first."""
    figures = {"median descriptor cosine": float(np.median((ours * theirs).sum(axis=1)))}
    if len(ours) > 2:
        among = ours @ ours.T - 4 * np.eye(len(ours)), theirs @ ours.T - 4 * np.eye(len(ours))
        figures["same image first"] = float((among[0].argmax(axis=1) == among[1].argmax(axis=1)).mean())
    return judge(figures, {"median descriptor cosine": LEAST_COSINE, "same image first": LEAST_NEAREST})


def _loss_of_values(pairs: Sequence[tuple[Outputs, Outputs]]) -> Loss:
    figures = {}
    for name in pairs[0][0]:
        scale = max(float(np.abs(ours[name]).max(initial=0)) for ours, _ in pairs) or 1.0
        figures[name] = max(float(np.abs(ours[name] - theirs[name]).max(initial=0)) for ours, theirs in pairs) / scale
    reasons = tuple(
        f"{name} differs by {100 * value:.2g} % of its largest, at most {100 * _LARGEST_DIFFERENCE:.0f} % expected"
        for name, value in figures.items()
        if not value <= _LARGEST_DIFFERENCE
    )
    return Loss(figures, reasons)


def judge(figures: Mapping[str, float], least: Mapping[str, float]) -> Loss:
    """The loss by figures, each of which has a least value."""
    reasons = tuple(
        f"{name} is {value:.3g}, at least {least[name]:g} expected"
        for name, value in figures.items()
        if not value >= least[name]
    )
    return Loss(figures, reasons)
