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

"""Landmark recognition by a model that `training.landmark_recognizer.train` exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import ConfigError, ModelError
from vloc_ros.core.features.extractor_config import extractor_config_from
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.landmark_candidates import Recognition
from vloc_ros.inference.engines import ON_CPU, Engine, start_engine
from vloc_ros.inference.models import MANIFEST, Model, read_model

KIND = "recognizer"
CONVENTION = "rays"


class OnnxLandmarkRecognizer:
    """A recogniser run by an engine; see `vloc_ros.core.localization.landmark_candidates.LandmarkRecognizer`.

    The graph returns the fine landmarks of the coarse ones with most evidence, so that its cost does not grow with the
    map: `landmarks` (K, M) int64, -1 where a coarse landmark has fewer than M; `probabilities` (N, K, M).
    """

    def __init__(self, model: Model, engine: Engine) -> None:
        """Take a model of kind `recognizer` and its engine.

        Raises:
            ModelError: the manifest is incomplete, or needs keypoints that this version cannot provide.
        """
        convention = model.entry("keypoints", "convention")
        if convention != CONVENTION:
            raise ModelError(f"{model.folder}: needs keypoints as {convention!r}, this version has {CONVENTION!r}")
        self._engine = engine
        self.max_keypoints = _read_max_keypoints(model)
        self.landmark_keys = _read_landmark_keys(model)
        try:
            self.extractor = extractor_config_from(model.entry("keypoints", "extractor"))
        except (ConfigError, TypeError) as error:
            raise ModelError(f"{model.folder / MANIFEST}: keypoints.extractor: {error}") from error

    def recognize(self, rays: Array, descriptors: Array) -> Recognition:
        """Recognise landmarks in N >= 1 keypoints, (N, 2) rays with (N, D) descriptors."""
        inputs = {"rays": rays.astype(np.float32), "descriptors": descriptors.astype(np.float32)}
        found = self._engine.run(inputs)
        numbers = found["landmarks"].reshape(-1)
        real = np.flatnonzero(numbers >= 0)
        probabilities = found["probabilities"].reshape(len(rays), -1)
        return Recognition(found["background"], numbers[real], probabilities[:, real])


def read_landmark_recognizer(folder: Path, inference: InferenceConfig = ON_CPU) -> OnnxLandmarkRecognizer:
    """Read a model folder and load its graph.

    Raises:
        ModelError: there is no model, it is damaged or of another kind, or the provider is missing.
    """
    model = read_model(folder, kind=KIND)
    return OnnxLandmarkRecognizer(model, start_engine(model, inference))


def _read_landmark_keys(model: Model) -> Array:
    """(L,) int64 keys; the manifest has 16 hexadecimal digits of the two's complement for each."""
    entry = model.entry("landmarks", "keys")
    try:
        keys = np.array([int(key, 16) for key in entry], np.uint64).astype(np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{model.folder / MANIFEST}: landmarks.keys is no list of hexadecimal numbers") from error
    if len(np.unique(keys)) != len(keys) or not len(keys):
        raise ModelError(f"{model.folder / MANIFEST}: landmarks.keys has {len(keys)}, expected each once; train again")
    return keys


def _read_max_keypoints(model: Model) -> int:
    count = model.entry("keypoints", "max_keypoints")
    if type(count) is not int or count < 1:
        raise ModelError(f"{model.folder / MANIFEST}: keypoints.max_keypoints is {count!r}, expected a number above 0")
    return count
