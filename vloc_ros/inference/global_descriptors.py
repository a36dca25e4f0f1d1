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

"""Global descriptors by a model: one descriptor for a whole image.

`training.place_recognition.train` and `vloc model export` write such models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.retrieval_index import IMAGE
from vloc_ros.inference.engines import ON_CPU, Engine, first_line, start_engine
from vloc_ros.inference.models import MANIFEST, Model, read_model
from vloc_ros.inference.preprocessing import Preprocessing

KIND = "global descriptor"
# descriptors are stored with 8 bits per value, so lengths need not be exact
_LENGTH_TOLERANCE = 1e-2
# for a graph with a dynamic batch size
_DEFAULT_BATCH_SIZE = 8
_NAMES = {"inputs": "images", "outputs": "descriptors"}


class OnnxGlobalDescriptor:
    """An encoder run by an engine; see `vloc_ros.core.retrieval.encoders.GlobalDescriptorEncoder`.

    The graph takes `images` (N, 3, H, W) float32, preprocessed by the manifest, and returns `descriptors` (N, D)
    float32, L2-normalised. N is dynamic, or fixed: then batches are padded to it. Where H and W are dynamic too, they
    are multiples of the manifest's `stride`, and an image can be described at its own size.
    """

    modality = IMAGE

    def __init__(self, model: Model, engine: Engine) -> None:
        """Take a model of kind `global descriptor` and its engine, and try them on two images of noise.

        Raises:
            ModelError: the manifest is incomplete or not supported by this version, or the output does not match it.
        """
        for side, name in _NAMES.items():
            model.entry(side, name)
            if others := sorted(set(model.entry(side)) - {name}):
                raise ModelError(f"{model.folder / MANIFEST}: {side} has {others[0]}, expected {name} alone")
        self.hash = str(model.entry("hash"))
        try:
            self._preprocessing = Preprocessing.from_manifest(model.entry("preprocessing"))
        except ModelError as error:
            raise ModelError(f"{model.folder / MANIFEST}: {error}") from error
        self._engine, self._fixed_batch_size = engine, _fixed_batch_size(model)
        self._stride = _read_stride(model)
        self.batch_size = self._fixed_batch_size or _DEFAULT_BATCH_SIZE
        self.dimension = self._run_on_noise(model).shape[1]

    def encode_query(self, query: Query) -> Array:
        """(V, D) float32 L2-normalised descriptors of a query's V >= 0 views."""
        if not query.views:
            return np.zeros((0, self.dimension), np.float32)
        return self.encode([view.image for view in query.views])

    def encode(self, images: Sequence[Array]) -> Array:
        """(N, D) float32 L2-normalised descriptors of N >= 1 images, (H, W) uint8 grey or (H, W, 3) uint8 BGR."""
        return self._run([self._preprocessing.apply(image) for image in images])

    @property
    def takes_any_size(self) -> bool:
        """Whether images can be described at their own size, see `encode_at_own_size`."""
        return self._stride is not None

    def encode_at_own_size(self, images: Sequence[Array]) -> Array:
        """(N, D) descriptors of N >= 1 images, each resized to the nearest multiples of the stride only.

        Raises:
            ModelError: the graph takes images of one size.
        """
        if self._stride is None:
            raise ModelError("the model takes images of one size, expected any; export one such as vloc model export "
                             "gem-efficientnet-lite0")  # fmt: skip
        found = []
        for image in images:
            height, width = (max(2, round(length / self._stride)) * self._stride for length in image.shape[:2])
            found.append(self._run([self._preprocessing.at((height, width)).apply(image)]))
        return np.concatenate(found)

    def _run(self, preprocessed: Sequence[Array]) -> Array:
        """(N, D) descriptors of N >= 1 preprocessed images of one size."""
        inputs = np.stack(preprocessed)
        size = self._fixed_batch_size or len(inputs)
        padded = np.concatenate([inputs, np.repeat(inputs[-1:], -len(inputs) % size, axis=0)])
        batches = [padded[start : start + size] for start in range(0, len(padded), size)]
        found = np.concatenate([self._engine.run({"images": batch})["descriptors"] for batch in batches])
        return np.asarray(found[: len(inputs)], dtype=np.float32)

    def _run_on_noise(self, model: Model) -> Array:
        """(2, D) descriptors of noise; their shape and length are checked."""
        noise = np.random.default_rng(0).integers(0, 256, (2, *self._preprocessing.size, 3), dtype=np.uint8)
        try:
            found = self.encode(list(noise))
        except Exception as error:  # the engines' exceptions have no other common base
            size = "x".join(map(str, (2, 3, *self._preprocessing.size)))
            raise ModelError(
                f"{model.folder}: its graph does not take images of {size}, as its manifest declares "
                f"({first_line(error)}); train the model again"
            ) from error
        declared = model.entry("outputs", "descriptors", "shape")
        if found.ndim != 2 or len(found) != 2 or not isinstance(declared, list) or declared[1:] != [found.shape[1]]:
            raise ModelError(
                f"{model.folder}: for two images its graph returns descriptors of shape {found.shape}, its manifest "
                f"declares {declared}; train the model again"
            )
        lengths = np.linalg.norm(found, axis=1)
        if not (np.abs(lengths - 1.0) < _LENGTH_TOLERANCE).all():
            raise ModelError(
                f"{model.folder}: its graph returns descriptors of lengths {lengths[0]:.3g} and {lengths[1]:.3g}, "
                "expected 1; train the model again"
            )
        return found


def read_global_descriptor(folder: Path, inference: InferenceConfig = ON_CPU) -> OnnxGlobalDescriptor:
    """Read a model folder, load its graph and try it.

    Raises:
        ModelError: there is no model, it is damaged or of another kind, or the provider is missing.
    """
    model = read_model(folder, kind=KIND)
    return OnnxGlobalDescriptor(model, start_engine(model, inference))


def _fixed_batch_size(model: Model) -> int | None:
    """The graph's fixed batch size; None where it is dynamic."""
    shape = model.entry("inputs", "images", "shape")
    if not isinstance(shape, list) or len(shape) != 4:
        raise ModelError(
            f"{model.folder / MANIFEST}: inputs.images.shape is {shape!r}, expected [N, 3, H, W]; train it again"
        )
    return shape[0] if type(shape[0]) is int and shape[0] > 0 else None


def _read_stride(model: Model) -> int | None:
    """What H and W are multiples of, where the graph takes any; None where they are fixed."""
    shape = model.entry("inputs", "images", "shape")
    if all(type(length) is int for length in shape[2:]):
        return None
    stride = model.manifest.get("stride")
    if type(stride) is not int or stride < 1:
        raise ModelError(
            f"{model.folder / MANIFEST}: its images have the shape {shape} and its stride is {stride!r}, expected "
            f"a whole number for images of any size; {model.remedy}"
        )
    return stride
