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

"""The overlap of images: labels of places, by the 3D points that images share or by their distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from training.data.covisible_images import CovisibleImages
from training.data.posed_images import PosedImages
from training.data.visibility import Visibility
from vloc_ros.core.geometry.pose import Array

POINTS, BOXES, DISTANCE = "points", "boxes", "distance"


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """The overlap of all pairs of images, those of an image with itself included.

    Attributes:
        positive: (N, N) bool, whether both show one place.
        linked: (N, N) bool, whether they share anything, however little; others are negatives.
        share: (N, N) float32, 0 to 1, how much of what either shows both do.
    """

    positive: csr_matrix
    linked: csr_matrix
    share: csr_matrix

    def __len__(self) -> int:
        return int(self.share.shape[0])

    def select(self, images: Array) -> Overlap:
        """The pairs of some images."""
        return Overlap(*(csr_matrix(matrix[images][:, images]) for matrix in (self.positive, self.linked, self.share)))

    def row(self, image: int) -> tuple[Array, Array, Array]:
        """(N,) `positive`, `linked` and `share` of one image with all, dense."""
        positive, linked, share = (matrix[image].toarray()[0] for matrix in (self.positive, self.linked, self.share))
        return positive, linked, share


def compute_overlap(
    images: CovisibleImages,
    *,
    kind: str = POINTS,
    min_shared: int = 8,
    positive_radius_m: float = 10.0,
    negative_radius_m: float = 25.0,
) -> Overlap:
    """The overlap of images.

    Args:
        images: of any number of scenes; different scenes share nothing.
        kind: `points` for the Jaccard index of points, `boxes` for that of their axis-aligned bounding boxes,
            `distance` for images without points.
        min_shared: fewest points that two images of one place share.
        positive_radius_m: largest distance of two images of one place, for `distance`.
        negative_radius_m: least distance of negatives, for `distance`; the share falls linearly to 0 there.
    """
    if kind == DISTANCE:
        return _overlap_by_distance(images.posed, positive_radius_m, negative_radius_m)
    visibility = images.visibility
    matrix = visibility.matrix()
    shared = csr_matrix(matrix @ matrix.T)
    share = _jaccard_of_points(shared) if kind == POINTS else _jaccard_of_boxes(visibility, images.posed.scenes)
    return _with_itself(csr_matrix(shared >= min_shared), csr_matrix(shared > 0), share)


def _with_itself(positive: csr_matrix, linked: csr_matrix, share: csr_matrix) -> Overlap:
    share.setdiag(1.0)  # an image without points overlaps itself too
    return Overlap(positive, linked, csr_matrix(share, dtype=np.float32))


def _overlap_by_distance(posed: PosedImages, positive_radius_m: float, negative_radius_m: float) -> Overlap:
    """Images of a scene within the radii; facing different ways they may show nothing in common."""
    rows, columns, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for scene in np.unique(posed.scenes):
        of_scene = np.flatnonzero(posed.scenes == scene)
        tree = cKDTree(posed.positions[of_scene])
        near = tree.sparse_distance_matrix(tree, negative_radius_m, output_type="coo_matrix")
        rows.append(of_scene[near.row])
        columns.append(of_scene[near.col])
        lengths.append(near.data)
    pairs, away = (np.concatenate(rows), np.concatenate(columns)), np.concatenate(lengths)
    shape = (len(posed),) * 2
    share = csr_matrix((1 - away / negative_radius_m, pairs), shape=shape)
    positive, linked = (
        csr_matrix((away <= radius_m, pairs), shape=shape) for radius_m in (positive_radius_m, negative_radius_m)
    )
    return _with_itself(positive, linked, share)


def _jaccard_of_points(shared: csr_matrix) -> csr_matrix:
    pairs = shared.tocoo()
    counts = shared.diagonal()
    either = counts[pairs.row] + counts[pairs.col] - pairs.data
    return csr_matrix((pairs.data / either, (pairs.row, pairs.col)), shape=shared.shape)


def _jaccard_of_boxes(visibility: Visibility, scenes: Array) -> csr_matrix:
    """Intersection over union of volumes, row by row."""
    count = len(visibility)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    for i in range(count):
        seen = visibility.points_of(i)
        low[i], high[i] = seen.min(axis=0, initial=np.inf), seen.max(axis=0, initial=-np.inf)
    volume = np.prod(np.maximum(high - low, 0), axis=1)
    rows = []
    for i in range(count):
        both = np.prod(np.maximum(np.minimum(high, high[i]) - np.maximum(low, low[i]), 0), axis=1)
        either = volume + volume[i] - both
        ratio = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
        rows.append(np.where(scenes == scenes[i], ratio, 0.0))
    return csr_matrix(np.array(rows))
