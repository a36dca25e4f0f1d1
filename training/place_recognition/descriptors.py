"""Encoders of any kind as they are scored: an exported model, weights of a teacher, or VLAD over a map's own words."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from training.place_recognition.checkpoints import WEIGHTS, read_checkpoint
from training.place_recognition.config import ChangeConfig
from training.place_recognition.data import Examples, Images
from training.place_recognition.encoders import embedded
from training.place_recognition.export import INPUT, KIND, OUTPUT
from training.place_recognition.teacher import TeacherEncoder
from training.place_recognition.views import CovisibleImages
from vloc_ros.assembly import build_extractor
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.vlad import Vocabulary
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.models import read_model
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.storage.images import read_image

VLAD, REDUCED_VLAD = "vlad", "vlad256"
_REDUCED = 256


@dataclass(frozen=True, slots=True, eq=False)
class DescribedImages:
    """Descriptors, and how long they took.

    Attributes:
        database: (N, D) float32 of the map's images.
        queries: (Q, D) float32.
        median_ms: of one query, from its pixels on.
    """

    database: Array
    queries: Array
    median_ms: float


class Describe(Protocol):
    """Descriptors of the map's images and of queries."""

    def __call__(self, database: CovisibleImages, queries: CovisibleImages) -> DescribedImages:
        """All of them."""
        ...


def encoder_named(name: str, landmark_map: LandmarkMap, *, threads: int) -> Describe:
    """A model folder, a folder of weights, `vlad` or `vlad256`.

    Raises:
        InputError: the map has no VLAD.
        ModelError: the folder holds neither, or is damaged.
    """
    if name in (VLAD, REDUCED_VLAD):
        return _vlad(landmark_map, reduced=name == REDUCED_VLAD)
    torch.set_num_threads(threads)
    if (Path(name) / WEIGHTS).is_file():
        return _of_weights(Path(name))
    return _exported(Path(name), threads=threads)


def _exported(folder: Path, *, threads: int) -> Describe:
    model = read_model(folder, kind=KIND)
    engine = OnnxRuntime(model, threads=threads)
    preprocessing = Preprocessing.from_manifest(model.entry("preprocessing"))

    def one(image: Array) -> Array:
        return engine.run({INPUT: preprocessing.apply(image)[None]})[OUTPUT][0]

    def describe(database: CovisibleImages, queries: CovisibleImages) -> DescribedImages:
        return DescribedImages(_timed(one, database.paths)[0], *_timed(one, queries.paths))

    return describe


def _of_weights(folder: Path) -> Describe:
    """PyTorch, with the structure that each view sees where the encoder looks at it."""
    encoder, _ = read_checkpoint(folder)

    @torch.no_grad()
    def of(views: CovisibleImages) -> tuple[Array, float]:
        examples = Examples(views, Images(views.paths), Preprocessing(encoder.size), ChangeConfig(), extent_m=0.0)
        rows, times_ms = [], []
        for i in range(len(views)):
            start = time.perf_counter()
            image, structure = (torch.from_numpy(part)[None] for part in examples.unchanged(i))
            rows.append(embedded(encoder, image, structure).descriptors[0].numpy())
            times_ms.append((time.perf_counter() - start) * 1e3)
        return np.stack(rows), float(np.median(times_ms))

    def describe(database: CovisibleImages, queries: CovisibleImages) -> DescribedImages:
        if isinstance(encoder, TeacherEncoder) and not len(queries.indices):
            raise InputError(f"{folder}: a teacher looks at 3D structure, and where the queries lie is not known")
        return DescribedImages(of(database)[0], *of(queries))

    return describe


def _vlad(landmark_map: LandmarkMap, *, reduced: bool) -> Describe:
    if VLAD not in landmark_map.places:
        raise InputError(f"the map {landmark_map.name} has no VLAD of its images; build it again")
    words = Vocabulary.from_arrays(landmark_map.places[VLAD].encoder_arrays)
    extractor = build_extractor(landmark_map.extractor)

    def one(image: Array) -> Array:
        return words.encode(landmark_map.codec.project(extractor.extract(image).descriptors))

    def describe(database: CovisibleImages, queries: CovisibleImages) -> DescribedImages:
        found = DescribedImages(_timed(one, database.paths)[0], *_timed(one, queries.paths))
        return _reduced(found) if reduced else found

    return describe


def _reduced(found: DescribedImages) -> DescribedImages:
    """On the principal axes of the database, as many as there can be up to 256."""
    middle = found.database.mean(axis=0)
    _, _, axes = np.linalg.svd(found.database - middle, full_matrices=False)
    # the last axis of as many images as axes is empty
    kept = axes[: min(_REDUCED, len(found.database) - 1)]
    shorter = [(descriptors - middle) @ kept.T for descriptors in (found.database, found.queries)]
    normalised = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in shorter]
    return DescribedImages(normalised[0], normalised[1], found.median_ms)


def _timed(one: Callable[[Array], Array], paths: Sequence[Path]) -> tuple[Array, float]:
    """(N, D) descriptors of image files, and the median time of one, reading left out."""
    rows, times_ms = [], []
    for path in paths:
        image = read_image(path)
        start = time.perf_counter()
        rows.append(one(image))
        times_ms.append((time.perf_counter() - start) * 1e3)
    return np.stack(rows), float(np.median(times_ms))
