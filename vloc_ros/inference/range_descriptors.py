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

"""Descriptors of scans by a model of range views, in one space with the descriptors of an image model.

`training.cross_modal.train` writes both models. A scan has a descriptor for each of several headings; an image is
compared with all of them, so that it finds a place whichever way the LiDAR or its vehicle faced.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.clouds.place_clouds import level
from vloc_ros.core.clouds.range_view import CHANNELS, RangeView
from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR
from vloc_ros.inference.engines import ON_CPU, Engine, start_engine
from vloc_ros.inference.global_descriptors import KIND as IMAGES
from vloc_ros.inference.models import MANIFEST, Model, read_model

KIND = "range descriptor"
VIEWS, DESCRIPTORS = "views", "descriptors"
_LENGTH_TOLERANCE, _MOST_HEADINGS = 1e-2, 64


class OnnxRangeDescriptor:
    """An encoder of scans run by an engine; see `vloc_ros.core.retrieval.encoders.QueryEncoder`.

    The graph takes `views` (N, 3, H, W) float32, see `RangeView`, and returns `descriptors` (N, D) float32,
    L2-normalised, for any N.

    Attributes:
        hash: names the descriptor space that it shares with an image model.
        headings: views of a scan.
    """

    modality = LIDAR

    def __init__(self, model: Model, engine: Engine) -> None:
        """Take a model of kind `range descriptor` and its engine, and try them on two views of noise.

        Raises:
            ModelError: the manifest is incomplete, or the output does not match it.
        """
        self._engine, where = engine, model.folder / MANIFEST
        self.hash = read_space(model)
        self.headings = _read_headings(model)
        try:
            self._view = RangeView.from_manifest(model.entry("view"))
        except InputError as error:
            raise ModelError(f"{where}: {error}") from error
        if self.headings * self._view.field_of_view_rad < 2 * math.pi:
            angle_deg = math.degrees(self._view.field_of_view_rad)
            raise ModelError(
                f"{where}: {self.headings} views of {angle_deg:.1f} degrees leave gaps between them, expected none; "
                "train with more range.headings"
            )
        noise = np.random.default_rng(0).uniform(0, 1, (2, CHANNELS, self._view.height, self._view.width))
        try:
            found = self._run(noise.astype(np.float32))
        except Exception as error:  # the engines' exceptions have no other common base
            raise ModelError(f"{model.folder}: its graph does not take the views of its manifest ({error})") from error
        lengths = np.linalg.norm(found, axis=-1)
        # NaN is neither within the tolerance nor beyond it
        if found.ndim != 2 or len(found) != 2 or not (np.abs(lengths - 1) <= _LENGTH_TOLERANCE).all():
            raise ModelError(
                f"{model.folder}: its graph returns {found.shape} of length {lengths.ravel()[:2]}, expected (2, D) of "
                "length 1; train or export it again"
            )
        self.dimension = int(found.shape[1])

    def encode_scan(self, points: Array, intensity: Array | None = None, *, headings: int | None = None) -> Array:
        """(V, D) float32 descriptors of a scan, one for each heading at which it has points, V >= 0.

        Args:
            points: (N, 3) metres from the sensor, z up.
            intensity: (N,), or None where the sensor has none.
            headings: views at equal steps from the x axis on; 1 for that one alone, None for those of the model.

        Raises:
            ModelError: a descriptor is not finite.
        """
        views = self._view.render_around(points, intensity, headings=headings or self.headings)
        there = views[:, 0].any(axis=(1, 2))
        found = self._run(views[there]) if there.any() else np.zeros((0, self.dimension), np.float32)
        if not np.isfinite(found).all():
            raise ModelError(
                "the range model returns descriptors that are not finite, expected numbers; run it in float32, or "
                "train or export it again"
            )
        return found

    def encode_query(self, query: Query) -> Array:
        """(V, D) descriptors of a query's cloud; none where it has no cloud."""
        if query.cloud is None:
            return np.zeros((0, self.dimension), np.float32)
        return self.encode_scan(level(query.cloud)[0], query.cloud.intensity)

    def _run(self, views: Array) -> Array:
        return np.asarray(self._engine.run({VIEWS: views})[DESCRIPTORS], np.float32)


def read_range_descriptor(folder: Path, inference: InferenceConfig = ON_CPU) -> OnnxRangeDescriptor:
    """Read a model folder, load its graph and try it.

    Raises:
        ModelError: there is no model, it is damaged or of another kind, or the provider is missing.
    """
    model = read_model(folder, kind=KIND)
    return OnnxRangeDescriptor(model, start_engine(model, inference))


def check_spaces(image_model: Path, range_model: Path) -> str:
    """The name of the descriptor space that a model of images shares with one of scans.

    Raises:
        ModelError: they were not trained together, or one of them with no other.
    """
    images, scans = (read_model(folder, kind=kind) for folder, kind in ((image_model, IMAGES), (range_model, KIND)))
    found = [read_space(model) for model in (images, scans)]
    if found[0] != found[1]:
        raise ModelError(
            f"{image_model} and {range_model} have the descriptor spaces {found[0][:12]} and {found[1][:12]}, expected "
            "one; give the two models of one training"
        )
    return found[0]


def read_space(model: Model) -> str:
    """The name of the descriptor space of a cross-modal model, of images or of scans.

    Raises:
        ModelError: the model shares its space with no other one.
    """
    try:
        return str(model.entry("training", "space"))
    except ModelError as error:
        raise ModelError(
            f"{model.folder / MANIFEST}: names no descriptor space, so this is not a cross-modal model; give "
            "MODEL/image or MODEL/range of `python -m training.cross_modal.train`"
        ) from error


def _read_headings(model: Model) -> int:
    headings: Any = model.entry("headings")
    if type(headings) is not int or not 1 <= headings <= _MOST_HEADINGS:
        raise ModelError(f"{model.folder / MANIFEST}: headings is {headings!r}, expected 1 to {_MOST_HEADINGS}")
    return headings
