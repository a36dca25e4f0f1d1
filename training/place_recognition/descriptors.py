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

"""Encoders to evaluate: an exported model, PyTorch weights (of a teacher), or VLAD with a map's own vocabulary."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from training.data.covisible_images import CovisibleImages
from training.data.image_files import ImageFiles
from training.place_recognition.checkpoints import WEIGHTS, read_checkpoint
from training.place_recognition.config import PlaceAugmentationConfig
from training.place_recognition.encoders import embed_images
from training.place_recognition.examples import Examples
from training.place_recognition.export import INPUT, KIND, OUTPUT
from training.place_recognition.teacher import TeacherEncoder
from vloc_ros.assembly import build_map_extractor
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
class MapDescriptors:
    """Descriptors of the map's images and of queries.

    Attributes:
        database: (N, D) float32 descriptors of the map's images.
        queries: (Q, D) float32 descriptors.
        median_ms: median time for one query, without reading its file.
    """

    database: Array
    queries: Array
    median_ms: float


class ImageDescriber(Protocol):
    """Computes the descriptors of the map's images and of queries."""

    def __call__(self, database: CovisibleImages, queries: CovisibleImages) -> MapDescriptors:
        """Describe all images."""
        ...


def open_encoder(name: str, landmark_map: LandmarkMap, *, threads: int) -> ImageDescriber:
    """Open an encoder: a model folder, a folder of weights, `vlad` or `vlad256`.

    Raises:
        InputError: the map has no VLAD.
        ModelError: the folder holds neither model nor weights, or is damaged.
    """
    if name in (VLAD, REDUCED_VLAD):
        return _open_vlad(landmark_map, reduced=name == REDUCED_VLAD)
    torch.set_num_threads(threads)
    if (Path(name) / WEIGHTS).is_file():
        return _open_weights(Path(name))
    return _open_model(Path(name), threads=threads)


def _open_model(folder: Path, *, threads: int) -> ImageDescriber:
    model = read_model(folder, kind=KIND)
    engine = OnnxRuntime(model, threads=threads)
    preprocessing = Preprocessing.from_manifest(model.entry("preprocessing"))

    def one(image: Array) -> Array:
        return engine.run({INPUT: preprocessing.apply(image)[None]})[OUTPUT][0]

    return partial(_describe_both, one)


def _open_weights(folder: Path) -> ImageDescriber:
    """Weights run by PyTorch; a teacher also gets the structure that each view sees."""
    encoder, _ = read_checkpoint(folder)

    @torch.no_grad()
    def of(views: CovisibleImages) -> tuple[Array, float]:
        examples = Examples(
            views, ImageFiles(views.posed.paths), Preprocessing(encoder.size), PlaceAugmentationConfig(), extent_m=0.0
        )
        rows, times_ms = [], []
        for i in range(len(views)):
            start = time.perf_counter()
            image, structure = (torch.from_numpy(part)[None] for part in examples.prepare(i))
            rows.append(embed_images(encoder, image, structure).descriptors[0].numpy())
            times_ms.append((time.perf_counter() - start) * 1e3)
        return np.stack(rows), float(np.median(times_ms))

    def describe(database: CovisibleImages, queries: CovisibleImages) -> MapDescriptors:
        if isinstance(encoder, TeacherEncoder) and not queries.visibility.is_known:
            raise InputError(f"{folder}: a teacher needs 3D structure, and the poses of the queries are not known")
        return MapDescriptors(of(database)[0], *of(queries))

    return describe


def _open_vlad(landmark_map: LandmarkMap, *, reduced: bool) -> ImageDescriber:
    if VLAD not in landmark_map.retrieval:
        raise InputError(f"the map {landmark_map.name} has no VLAD of its images; build it again")
    words = Vocabulary.from_arrays(landmark_map.retrieval[VLAD].encoder_arrays)
    extractor = build_map_extractor(landmark_map)

    def one(image: Array) -> Array:
        return words.encode(landmark_map.codec.project(extractor.extract(image).descriptors))

    def describe(database: CovisibleImages, queries: CovisibleImages) -> MapDescriptors:
        found = _describe_both(one, database, queries)
        return _reduce_by_pca(found) if reduced else found

    return describe


def _reduce_by_pca(found: MapDescriptors) -> MapDescriptors:
    """Reduce descriptors by PCA of the database to 256 components, or as many as there are."""
    middle = found.database.mean(axis=0)
    _, _, axes = np.linalg.svd(found.database - middle, full_matrices=False)
    # N centred images span N - 1 axes at most
    kept = axes[: min(_REDUCED, len(found.database) - 1)]
    shorter = [(descriptors - middle) @ kept.T for descriptors in (found.database, found.queries)]
    normalised = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in shorter]
    return MapDescriptors(normalised[0], normalised[1], found.median_ms)


def _describe_both(
    one: Callable[[Array], Array], database: CovisibleImages, queries: CovisibleImages
) -> MapDescriptors:
    """Descriptors of all images by a function of one image."""
    descriptors, _ = _time_descriptors(one, database.posed.paths)
    return MapDescriptors(descriptors, *_time_descriptors(one, queries.posed.paths))


def _time_descriptors(one: Callable[[Array], Array], paths: Sequence[Path]) -> tuple[Array, float]:
    """(N, D) descriptors of image files, and the median time for one without reading it."""
    rows, times_ms = [], []
    for path in paths:
        image = read_image(path)
        start = time.perf_counter()
        rows.append(one(image))
        times_ms.append((time.perf_counter() - start) * 1e3)
    return np.stack(rows), float(np.median(times_ms))
