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

"""Export of a trained recogniser to a folder that a robot loads without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.framework.export import ParityCheck, Signature, export_network
from training.landmark_recognizer.model import RecognitionNetwork
from vloc_ros.core.features.extractor_config import ExtractorConfig
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.landmark_recognizer import CONVENTION, KIND

if TYPE_CHECKING:
    from vloc_ros.core.map.landmark_map import LandmarkTable

INPUTS = ("rays", "descriptors")
OUTPUTS = ("background", "landmarks", "probabilities", "coarse")
_TOLERANCE = 1e-4
_KEYPOINT_COUNTS = (1, 2, 37, 512)


def export(
    model: RecognitionNetwork,
    landmarks: LandmarkTable,
    folder: Path,
    *,
    extractor: ExtractorConfig,
    keypoints: int,
    training: Mapping[str, Any],
) -> None:
    """Write a model folder.

    Args:
        model: in evaluation mode, on the CPU.
        landmarks: that it was trained on.
        folder: to write.
        extractor: of the keypoints that it was trained on.
        keypoints: per image, strongest first.
        training: provenance of the model, as JSON types.

    Raises:
        ExportError: the outputs of ONNX Runtime differ from the model's.
        StorageError: the folder cannot be written.
    """
    export_network(
        model,
        folder,
        describe_signature(model),
        compare_on_random_keypoints(model),
        kind=KIND,
        training=training,
        entries={
            "keypoints": {"extractor": asdict(extractor), "convention": CONVENTION, "max_keypoints": keypoints},
            "landmarks": {
                "keys": [f"{int(key) & (2**64 - 1):016x}" for key in landmarks.keys],
                "parents": [int(parent) for parent in landmarks.parents],
            },
        },
    )


def describe_signature(model: RecognitionNetwork) -> Signature:
    """The keypoints of one image in, of any number, and the probabilities of landmarks out."""
    count = torch.export.Dim("keypoints", min=1, max=1 << 16)
    sample = torch.zeros(5, 2), torch.zeros(5, model.input_projection[0].in_features)
    return Signature(dict(zip(INPUTS, sample, strict=True)), OUTPUTS, {name: {0: count} for name in INPUTS})


def compare_on_random_keypoints(model: RecognitionNetwork) -> ParityCheck:
    """The comparison on several numbers of keypoints."""
    rng, samples = np.random.default_rng(0), []
    for count in _KEYPOINT_COUNTS:
        rays = rng.uniform(-0.6, 0.6, (count, 2)).astype(np.float32)
        descriptors = rng.uniform(0, 1, (count, model.input_projection[0].in_features)).astype(np.float32)
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        samples.append({"rays": rays, "descriptors": descriptors})
    return ParityCheck(samples, _TOLERANCE, _compare_outputs)


def _compare_outputs(expected: Sequence[Array], found: Sequence[Array]) -> list[float]:
    """Largest difference of each output; coarse evidence, a sum over keypoints, is compared as their mean.

    Landmarks with equal evidence may come in any order, and any of them may be the last one. So each is compared with
    itself, and one that the other side lacks may not have more evidence than the last.
    """
    background, landmarks, probabilities, coarse = expected
    ours, theirs = (
        {int(row[0]): part for row, part in zip(names, np.moveaxis(shares, 1, 0), strict=True)}
        for names, shares in ((landmarks, probabilities), (found[1], found[2]))
    )
    common = ours.keys() & theirs.keys()
    n = len(background)
    least = min(float(part.sum()) for part in ours.values()) / n
    single = [abs(float(side[key].sum()) / n - least) for side in (ours, theirs) for key in side.keys() - common]
    return [
        float(np.abs(background - found[0]).max()),
        max(single, default=0.0),
        max((float(np.abs(ours[key] - theirs[key]).max()) for key in common), default=0.0),
        float(np.abs(coarse - found[3]).max()) / n,
    ]
