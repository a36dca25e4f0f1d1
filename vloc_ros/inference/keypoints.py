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

"""Keypoints by a network that `vloc model export` wrote: XFeat (Potje et al. 2024), ALIKED (Zhao et al. 2023)."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np

from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import ConfigError, MapError, ModelError
from vloc_ros.core.features.extractor_config import KeypointModelConfig
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.features.keypoints import Features, extract_reduced, scale_to_area
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.engines import ON_CPU, Engine, first_line, start_engine
from vloc_ros.inference.models import MANIFEST, Model, read_model, verify_model
from vloc_ros.inference.preprocessing import check_image

KIND = "keypoints"
CONVENTION = "colmap"
# what stands for the folder of a map's model in messages
_OF_MAP = Path("the map's keypoint model")
_NAMES = {"inputs": {"image", "max_keypoints", "min_score"}, "outputs": {"keypoints", "scores", "descriptors"}}
_COLORS = ("grey", "rgb")
_MOST_PX = 8192
_ANY_SIZE = 1000.0
# as descriptors are compressed to 8 bits per value, lengths need not be exact
_LENGTH_TOLERANCE = 1e-2
# at half the scale XFeat finds 17 of 20 poses by a prior, at 0.6 and more all, the more precise the larger
_LEAST_SCALE = 0.7
# of the image of noise; engines have to take it
TRIAL_PX, _TRIAL_KEYPOINTS = 96, 64


class OnnxKeypoints:
    """A keypoint network run by an engine; see `vloc_ros.core.features.keypoints.Extractor`.

    The graph takes `image`, (H, W) uint8 grey or (H, W, 3) uint8 RGB by its manifest, with H and W multiples of the
    manifest's stride, and returns `keypoints` (N, 2), `scores` (N,) and `descriptors` (N, D). A grey network gets the
    luminance of a colour image, a colour network a grey image in all three channels.
    """

    least_scale = _LEAST_SCALE

    def __init__(
        self, model: Model, engine: Engine, *, max_keypoints: int, min_score: float, max_megapixels: float = _ANY_SIZE
    ) -> None:
        """Take a model of kind `keypoints` and its engine, and try them on an image of noise.

        Args:
            model: the model.
            engine: runs it.
            max_keypoints: per image, strongest first.
            min_score: keypoints with a lower score are left out.
            max_megapixels: of an image; a larger one is reduced, since memory and time grow with them.

        Raises:
            ModelError: the manifest is incomplete or not supported by this version, or the output does not match it.
        """
        _check_manifest(model)
        self.dimension = _read_dimension(model)
        self._color, self._stride = str(model.entry("image", "color")), _read_size(model, "stride")
        self._min_size = _read_size(model, "min_size")
        self._engine, self._max_megapixels, self._running = engine, max_megapixels, Lock()
        self._limits: dict[str, Array] = {
            "max_keypoints": np.array([max_keypoints], np.int64),
            "min_score": np.array([min_score], np.float32),
        }
        self._run_on_noise(model)

    def working_scale(self, width: int, height: int) -> float:
        """Scale, at most 1, to which an image of a size is reduced before its keypoints are found."""
        return scale_to_area(width, height, self._max_megapixels)

    def extract(self, image: Array) -> Features:
        """Keypoints of a uint8 grey or BGR image of any size; empty features when it shows none.

        Raises:
            InputError: the image has another shape or type, or no pixels.
        """
        check_image(image)
        if image.min() == image.max():  # a network may find texture in its own rounding
            return Features.empty(self.dimension)
        height, width = image.shape[:2]
        scale = self.working_scale(width, height)
        return self._extract(image) if scale == 1.0 else extract_reduced(self._extract, image, scale)

    def _extract(self, image: Array) -> Features:
        height, width = image.shape[:2]
        with self._running:  # engines are not thread-safe
            found = self._engine.run({"image": self._prepare(image), **self._limits})
        xy, scores, descriptors = found["keypoints"], found["scores"], found["descriptors"]
        inside = (xy >= 0).all(axis=1) & (xy[:, 0] < width) & (xy[:, 1] < height)
        # a network may divide by zero where an image is flat
        good = inside & np.isfinite(scores) & np.isfinite(descriptors).all(axis=1)
        return Features(xy[good], descriptors[good], scores[good])

    def _prepare(self, image: Array) -> Array:
        """The image in the network's colours, its border continued to the right and below to a size that it takes."""
        if self._color == "grey":
            pixels = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
        else:
            pixels = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.ndim == 3 else cv2.COLOR_GRAY2RGB)
        bottom, right = (self._padded(size) - size for size in image.shape[:2])
        if bottom or right:
            pixels = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        return np.asarray(pixels)

    def _padded(self, size: int) -> int:
        return -(-max(size, self._min_size) // self._stride) * self._stride

    def _run_on_noise(self, model: Model) -> None:
        """Check types, shapes and lengths of what the graph returns for an image of noise."""
        size = self._padded(TRIAL_PX)
        noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
        count, none = np.array([_TRIAL_KEYPOINTS], np.int64), np.zeros(1, np.float32)
        try:
            image = self._prepare(noise)
            self._engine.run({"image": image, **self._limits})  # an engine may have been built for fewer keypoints
            found = self._engine.run({"image": image, "max_keypoints": count, "min_score": none})
        except Exception as error:  # the engines' exceptions have no other common base
            raise ModelError(
                f"{model.folder}: its graph does not take a {self._color} image of {size}x{size}, as its manifest "
                f"declares ({first_line(error)}); {model.remedy}"
            ) from error
        expected = {"keypoints": (2,), "scores": (), "descriptors": (self.dimension,)}
        rows = len(found["scores"]) if found["scores"].ndim else 0
        for name, columns in expected.items():
            array = found[name]
            if array.dtype != np.float32 or array.shape != (rows, *columns) or rows > _TRIAL_KEYPOINTS:
                raise ModelError(
                    f"{model.folder}: for {_TRIAL_KEYPOINTS} keypoints its graph returns {name} of shape {array.shape} "
                    f"of {array.dtype}, expected {('N', *columns)} of float32; {model.remedy}"
                )
        _check_values(model, found["scores"], found["descriptors"])


def read_keypoint_model(folder: Path) -> KeypointModel:
    """Read a model folder, for a map to carry.

    Raises:
        ModelError: there is no model, or it is damaged, altered or of another kind.
    """
    model = read_model(folder, kind=KIND)
    return KeypointModel(model.manifest, np.frombuffer(model.graph, np.uint8))


def keypoint_model_config(keypoint_model: KeypointModel) -> KeypointModelConfig:
    """The extractor of a model, with the defaults of its manifest.

    Raises:
        ModelError: the manifest is incomplete, or is of an extractor that this version does not have.
    """
    model = _verify(keypoint_model)
    try:
        return KeypointModelConfig(
            name=model.entry("extractor"),
            model=model.entry("name"),
            model_hash=keypoint_model.hash,
            max_keypoints=model.entry("keypoints", "default_max_keypoints"),
            min_score=model.entry("keypoints", "default_min_score"),
        )
    except ConfigError as error:
        raise ModelError(f"{model.folder / MANIFEST}: {error}; {model.remedy}, or update vloc_ros") from error


def load_keypoints(
    config: KeypointModelConfig, keypoint_model: KeypointModel | None, inference: InferenceConfig = ON_CPU
) -> OnnxKeypoints:
    """The extractor of a configuration by its model.

    Raises:
        MapError: there is no model, or another one than the configuration names.
        ModelError: the model is damaged, altered or of another kind or version, or the provider is not available.
    """
    if keypoint_model is None:
        raise MapError(
            f"the extractor's keypoint model is missing, expected {config.describe()}; use a map that carries it, or "
            "build one with --extractor MODEL"
        )
    model = _verify(keypoint_model)
    if keypoint_model.hash != config.model_hash or model.entry("extractor") != config.name:
        raise MapError(
            f"the keypoint model is {keypoint_model.describe()} of {model.entry('extractor')}, expected "
            f"{config.describe()} of {config.name}; copy the map again or build it again"
        )
    return _KeypointsOfMap(model, config, keypoint_model, inference)


class _KeypointsOfMap(OnnxKeypoints):
    """Another process loads them again: the session of an engine cannot be sent."""

    def __init__(
        self, model: Model, config: KeypointModelConfig, keypoint_model: KeypointModel, inference: InferenceConfig
    ) -> None:
        super().__init__(
            model,
            start_engine(model, inference, keypoints=config.max_keypoints),
            max_keypoints=config.max_keypoints,
            min_score=config.min_score,
            max_megapixels=config.max_megapixels,
        )
        self._loaded_from = config, keypoint_model, inference

    def __reduce__(self) -> tuple[Any, ...]:
        return load_keypoints, self._loaded_from


def _verify(keypoint_model: KeypointModel) -> Model:
    graph, remedy = keypoint_model.graph.tobytes(), "copy the map again or build it again"
    return verify_model(_OF_MAP, keypoint_model.manifest, graph, kind=KIND, remedy=remedy)


def _check_manifest(model: Model) -> None:
    where = model.folder / MANIFEST
    for side, names in _NAMES.items():
        if (found := set(model.entry(side))) != names:
            raise ModelError(
                f"{where}: {side} has {', '.join(sorted(found))}, expected {', '.join(sorted(names))}; {model.remedy}"
            )
    convention = model.entry("keypoints", "convention")
    if convention != CONVENTION:
        raise ModelError(f"{where}: keypoints.convention is {convention!r}, this version has {CONVENTION!r}")
    color = model.entry("image", "color")
    if color not in _COLORS:
        raise ModelError(f"{where}: image.color is {color!r}, this version has {' and '.join(_COLORS)}")


def _read_dimension(model: Model) -> int:
    shape = model.entry("outputs", "descriptors", "shape")
    if not isinstance(shape, list) or len(shape) != 2 or type(shape[1]) is not int or shape[1] < 1:
        raise ModelError(
            f"{model.folder / MANIFEST}: outputs.descriptors.shape is {shape!r}, expected [N, D]; {model.remedy}"
        )
    return shape[1]


def _read_size(model: Model, name: str) -> int:
    size = model.entry("image", name)
    if type(size) is not int or not 1 <= size <= _MOST_PX:
        raise ModelError(
            f"{model.folder / MANIFEST}: image.{name} is {size!r}, expected 1 to {_MOST_PX} pixels; {model.remedy}"
        )
    return size


def _check_values(model: Model, scores: Array, descriptors: Array) -> None:
    if not (np.diff(scores) <= 0).all():
        raise ModelError(f"{model.folder}: its graph returns scores that do not descend; {model.remedy}")
    lengths = np.linalg.norm(descriptors, axis=1)
    if not (np.abs(lengths - 1.0) < _LENGTH_TOLERANCE).all():
        worst = lengths[np.argmax(np.abs(lengths - 1.0))]
        raise ModelError(
            f"{model.folder}: its graph returns descriptors of length {worst:.3g}, expected 1; {model.remedy}"
        )
