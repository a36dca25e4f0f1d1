"""The landmark recogniser that `training.recognizer` exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vloc_ros.core.config import ExtractorConfig, config_from_mapping
from vloc_ros.core.errors import ConfigError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.landmark_candidates import Recognition
from vloc_ros.inference.engines import Engine, OnnxRuntime
from vloc_ros.inference.models import MANIFEST, Model, read_model

KIND = "recognizer"
CONVENTION = "rays"


class OnnxLandmarkRecognizer:
    """A recogniser run by an engine; see `vloc_ros.core.localization.landmark_candidates.Recognizer`.

    The graph gives the fine landmarks of the coarse ones with most evidence, so that its cost does not grow with the
    map: `landmarks` (K, M) int64, -1 where a coarse landmark has fewer than M; `probabilities` (N, K, M).
    """

    def __init__(self, model: Model, engine: Engine) -> None:
        """A model of kind `recognizer`, and what runs it.

        Raises:
            ModelError: its manifest lacks something, or is of keypoints that this version cannot give.
        """
        convention = model.entry("keypoints", "convention")
        if convention != CONVENTION:
            raise ModelError(f"{model.folder}: wants keypoints as {convention!r}, this version gives {CONVENTION!r}")
        self._engine = engine
        self.max_keypoints = _count(model)
        self.landmark_keys = _keys(model)
        try:
            self.extractor = config_from_mapping(ExtractorConfig, model.entry("keypoints", "extractor"))
        except (ConfigError, TypeError) as error:
            raise ModelError(f"{model.folder / MANIFEST}: keypoints.extractor: {error}") from error

    def recognize(self, rays: Array, descriptors: Array) -> Recognition:
        """What (N, 2) rays with (N, D) descriptors show, N >= 1."""
        given = {"rays": rays.astype(np.float32), "descriptors": descriptors.astype(np.float32)}
        found = self._engine.run(given)
        numbers = found["landmarks"].reshape(-1)
        real = np.flatnonzero(numbers >= 0)
        probabilities = found["probabilities"].reshape(len(rays), -1)
        return Recognition(found["background"], numbers[real], probabilities[:, real])


def read_landmark_recognizer(
    folder: Path, *, provider: str = "CPUExecutionProvider", threads: int = 0
) -> OnnxLandmarkRecognizer:
    """Read a model folder and load it.

    Raises:
        ModelError: there is none, it is damaged or no recogniser, or the provider is missing.
    """
    model = read_model(folder, kind=KIND)
    return OnnxLandmarkRecognizer(model, OnnxRuntime(model, provider=provider, threads=threads))


def _keys(model: Model) -> Array:
    """Keys as the manifest has them: 16 hexadecimal digits each, of the two's complement."""
    entry = model.entry("landmarks", "keys")
    try:
        keys = np.array([int(key, 16) for key in entry], np.uint64).astype(np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{model.folder / MANIFEST}: landmarks.keys are no list of hexadecimal numbers") from error
    if len(np.unique(keys)) != len(keys) or not len(keys):
        raise ModelError(f"{model.folder / MANIFEST}: landmarks.keys has {len(keys)}, expected each once; train again")
    return keys


def _count(model: Model) -> int:
    count = model.entry("keypoints", "max_keypoints")
    if type(count) is not int or count < 1:
        raise ModelError(f"{model.folder / MANIFEST}: keypoints.max_keypoints is {count!r}, expected a number above 0")
    return count
