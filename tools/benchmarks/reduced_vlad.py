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

"""VLAD reduced by PCA to 256 dimensions, as a global descriptor for comparison only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.descriptor_scenes import Place
from tqdm import tqdm

from vloc_ros.assembly import build_localizer, build_map_extractor
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary
from vloc_ros.evaluation.scores import score_results
from vloc_ros.mapping.indexing.global_descriptors import MODEL
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.pose_files import pair_poses
from vloc_ros.storage.results import ResultRecord

# as `training.place_recognition.evaluate --encoder` calls it
REDUCED = "vlad256"
_DIMENSIONS = 256
_RETRIEVAL_ONLY = LocalizerConfig(
    candidates=CandidateConfig(whole_map_max_points=0, landmarks="none", retrieval="model")
)
_KEPT = ("queries", "accepted", "false_accepts", "recall", "median_translation_m", "accepted_by_candidate")


@dataclass(frozen=True, slots=True, eq=False)
class ReducedVlad:
    """VLAD with a map's vocabulary, projected on the principal axes of its keyframes' descriptors."""

    landmark_map: LandmarkMap
    extractor: Extractor
    words: Vocabulary
    mean: Array
    axes: Array

    @staticmethod
    def of(landmark_map: LandmarkMap) -> ReducedVlad:
        """Fit to a map, on as many axes as there can be, up to 256."""
        index = landmark_map.retrieval[VLAD]
        mean = index.descriptors.mean(axis=0)
        _, _, axes = np.linalg.svd(index.descriptors - mean, full_matrices=False)
        kept = axes[: min(_DIMENSIONS, len(index.descriptors) - 1)]
        extractor = build_map_extractor(landmark_map)
        return ReducedVlad(landmark_map, extractor, Vocabulary.from_arrays(index.encoder_arrays), mean, kept)

    @property
    def hash(self) -> str:
        """Hash of the axes."""
        return hashlib.sha256(self.axes.tobytes()).hexdigest()

    @property
    def modality(self) -> str:
        """Of the items that it retrieves: keyframes."""
        return IMAGE

    @property
    def dimension(self) -> int:
        """Dimension of a descriptor."""
        return len(self.axes)

    def encode_query(self, query: Query) -> Array:
        """(V, D) descriptors of a query's views."""
        return self.encode([view.image for view in query.views])

    def encode(self, images: Sequence[Array]) -> Array:
        """(N, D) descriptors of N images."""
        project = self.landmark_map.codec.project
        return self.reduce(
            np.stack([self.words.encode(project(self.extractor.extract(image).descriptors)) for image in images])
        )

    def reduce(self, descriptors: Array) -> Array:
        """(N, D) reduced descriptors of (N, E) whole ones."""
        shorter = (descriptors - self.mean) @ self.axes.T
        lengths = np.linalg.norm(shorter, axis=1, keepdims=True)
        return np.asarray(shorter / np.maximum(lengths, 1e-12), np.float32)


def localize_with_reduced_vlad(place: Place) -> dict[str, Any]:
    """Localize a place's queries with candidates from this descriptor alone; scores as of `vloc evaluate`."""
    landmark_map = read_map(place.map)
    encoder = ReducedVlad.of(landmark_map)
    whole = landmark_map.retrieval[VLAD]
    index = RetrievalIndex(MODEL, encoder.hash, encoder.reduce(whole.descriptors), whole.items)
    with_index = landmark_map.with_retrieval(index)
    localizer = build_localizer(_RETRIEVAL_ONLY, with_index, encoder=encoder)
    given = dict(zip(place.posed[::2], place.posed[1::2], strict=True))
    paths, camera = list_images(place.queries), read_camera(Path(given["--camera"]))
    paired = pair_poses([path.name for path in paths], Path(given["--poses"]))
    paths, poses = tuple(paths[one.index] for one in paired), [one.pose for one in paired]
    records = [
        ResultRecord(path.name, k * 10**9, localizer.localize(Query.single(read_image(path), camera)))
        for k, path in enumerate(tqdm(paths, desc=REDUCED))
    ]
    scores = score_results(records, poses, map_bytes=0)
    return {name: scores[name] for name in _KEPT}
