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

"""The training of a recogniser: augmented keypoints, two classifications, scores of the held-out keyframes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from training.framework.split import select_held_out
from training.framework.task import TrainingTask
from training.landmark_recognizer.batches import (
    KeypointBatch,
    KeypointBatchKey,
    augment_example,
    collate,
    list_batches,
)
from training.landmark_recognizer.config import RecognizerConfig
from training.landmark_recognizer.keypoints import Example
from training.landmark_recognizer.loss import RecognitionLoss
from training.landmark_recognizer.model import RecognitionNetwork
from training.landmark_recognizer.scores import score_recognition
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

if TYPE_CHECKING:
    from vloc_ros.core.map.landmark_map import LandmarkTable


class LandmarkRecognizerTask(TrainingTask[RecognitionNetwork, KeypointBatchKey, KeypointBatch]):
    """Training of a recogniser.

    Attributes:
        config: all parameters.
        examples: that are trained on, each of which shows a landmark.
        held_out: the unchanged held-out keyframes.
    """

    def __init__(
        self, examples: Sequence[Sequence[Example]], landmarks: LandmarkTable, config: RecognizerConfig
    ) -> None:
        """For versions of every keyframe, the original first; keyframes along the trajectory.

        Raises:
            InputError: no example shows a landmark.
        """
        self.config, self._parents = config, landmarks.parents
        held = select_held_out(len(examples), config.fit)
        split = list(zip(examples, held, strict=True))
        kept = (version for versions, out in split if not out for version in versions)
        self.examples = [example for example in kept if (example.landmarks >= 0).any()]
        self.held_out = [versions[0] for versions, out in split if out and len(versions[0])]
        if not self.examples:
            raise InputError(
                "no keypoint of any image shows a point of the map; give the images that it was built from"
            )
        parents = torch.from_numpy(self._parents.astype(np.int64))
        self._loss = RecognitionLoss(parents, background_weight=config.fit.background_weight)

    def build_network(self) -> RecognitionNetwork:
        """A transformer with a class for every landmark."""
        dimension = self.examples[0].descriptors.shape[1]
        return RecognitionNetwork(self.config.model, self._parents.tolist(), dimension=dimension)

    @property
    def batches_per_epoch(self) -> int:
        """Every version of every image is seen once."""
        return -(-len(self.examples) // self.config.fit.batch)

    def list_batches(self, epoch: int, network: RecognitionNetwork) -> list[KeypointBatchKey]:
        """In random order."""
        return list_batches(len(self.examples), epoch, self.config.fit)

    def load_batch(self, key: KeypointBatchKey) -> KeypointBatch:
        """Augmented keypoints, padded."""
        return collate([augment_example(self.examples, key.epoch, index, self.config) for index in key.examples])

    def loss(self, network: RecognitionNetwork, batch: KeypointBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Of coarse and of fine landmarks."""
        coarse, fine = self._loss(network, batch)
        return {"coarse": coarse, "fine": fine}

    def frozen_networks(self) -> Sequence[RecognitionLoss]:
        """The loss, whose tables are on the training's device."""
        return (self._loss,)

    def validate(self, network: RecognitionNetwork) -> dict[str, float]:
        """Scores of the held-out keyframes, on whole images as in use."""
        if not self.held_out:
            return {}
        keypoints = self.config.fit.keypoints
        return score_recognition(wrap_model(network), self.held_out, self._parents, keypoints=keypoints).as_dict()

    def sample_inputs(self, network: RecognitionNetwork) -> tuple[Tensor, ...]:
        """The keypoints of one image."""
        count = self.config.fit.keypoints
        return torch.zeros(count, 2), torch.zeros(count, network.input_projection[0].in_features)


def wrap_model(model: RecognitionNetwork) -> Any:
    """The model as a function of arrays, see `scores.Recognize`."""

    @torch.no_grad()
    def recognize(rays: Array, descriptors: Array) -> tuple[Array, ...]:
        device = model.fine_weight.device
        outputs = model(torch.from_numpy(rays).to(device), torch.from_numpy(descriptors).to(device))
        return tuple(output.cpu().numpy() for output in outputs)

    return recognize
