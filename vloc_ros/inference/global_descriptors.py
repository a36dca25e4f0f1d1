"""The place encoder that `training.place_recognition.train` exported: an image as a whole to a descriptor of its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.engines import Engine, OnnxRuntime, first_line
from vloc_ros.inference.models import MANIFEST, Model, read_model
from vloc_ros.inference.preprocessing import Preprocessing

KIND = "place encoder"
# descriptors are kept with 8 bits per value, so lengths need not be exact
_LENGTH_TOLERANCE = 1e-2
# of a graph that takes any number of images
_BATCH = 8
_NAMES = {"inputs": "images", "outputs": "descriptors"}


class OnnxGlobalDescriptor:
    """An encoder run by an engine; see `vloc_ros.core.localization.retrieval_candidates.PlaceEncoder`.

    The graph takes `images` (N, 3, H, W) float32, as the manifest's preprocessing makes them, and gives `descriptors`
    (N, D) float32, L2-normalised; N is any number, or a fixed one, to which images are filled up.
    """

    def __init__(self, model: Model, engine: Engine) -> None:
        """A model of kind `place encoder`, and what runs it, which is tried with two images of noise.

        Raises:
            ModelError: its manifest lacks something or asks for what this version cannot give, or its answer is not
                what the manifest says.
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
        self._engine, self._at_once = engine, _images_at_once(model)
        self.images_at_once = self._at_once or _BATCH
        self.dimension = self._tried(model).shape[1]

    def encode(self, images: Sequence[Array]) -> Array:
        """(N, D) float32 L2-normalised descriptors of N >= 1 images, (H, W) uint8 grey or (H, W, 3) uint8 BGR."""
        given = np.stack([self._preprocessing.apply(image) for image in images])
        at_once = self._at_once or len(given)
        filled = np.concatenate([given, np.repeat(given[-1:], -len(given) % at_once, axis=0)])
        parts = [filled[start : start + at_once] for start in range(0, len(filled), at_once)]
        found = np.concatenate([self._engine.run({"images": part})["descriptors"] for part in parts])
        return np.asarray(found[: len(given)], dtype=np.float32)

    def _tried(self, model: Model) -> Array:
        """(2, D) descriptors of noise, checked."""
        noise = np.random.default_rng(0).integers(0, 256, (2, *self._preprocessing.size, 3), dtype=np.uint8)
        try:
            found = self.encode(list(noise))
        except Exception as error:  # the engines' exceptions have no common base but this
            size = "x".join(map(str, (2, 3, *self._preprocessing.size)))
            raise ModelError(
                f"{model.folder}: its graph does not take images of {size}, as its manifest says "
                f"({first_line(error)}); train the model again"
            ) from error
        said = model.entry("outputs", "descriptors", "shape")
        if found.ndim != 2 or len(found) != 2 or not isinstance(said, list) or said[1:] != [found.shape[1]]:
            raise ModelError(
                f"{model.folder}: its graph gives two images descriptors of shape {found.shape}, its manifest says "
                f"{said}; train the model again"
            )
        lengths = np.linalg.norm(found, axis=1)
        if not (np.abs(lengths - 1.0) < _LENGTH_TOLERANCE).all():
            raise ModelError(
                f"{model.folder}: its graph gives descriptors of lengths {lengths[0]:.3g} and {lengths[1]:.3g}, "
                "expected 1; train the model again"
            )
        return found


def read_global_descriptor(
    folder: Path, *, provider: str = "CPUExecutionProvider", threads: int = 0
) -> OnnxGlobalDescriptor:
    """Read a model folder, load it and try it.

    Raises:
        ModelError: there is none, it is damaged or no place encoder, or the provider is missing.
    """
    model = read_model(folder, kind=KIND)
    return OnnxGlobalDescriptor(model, OnnxRuntime(model, provider=provider, threads=threads))


def _images_at_once(model: Model) -> int | None:
    """The number of images that the graph takes; None where it takes any."""
    shape = model.entry("inputs", "images", "shape")
    if not isinstance(shape, list) or len(shape) != 4:
        raise ModelError(f"{model.folder / MANIFEST}: inputs.images.shape is {shape!r}, expected four; train it again")
    return shape[0] if type(shape[0]) is int and shape[0] > 0 else None
