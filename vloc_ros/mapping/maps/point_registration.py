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

"""Registration of two maps of one place by their points alone; a map keeps no images.

Similar points are matched across the maps, and the rigid motion that most matches agree with is estimated by RANSAC
over triples (Fischler and Bolles 1981), of which only those are tried whose sides have the same lengths in both maps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import faiss
import numpy as np

from vloc_ros.core.features.descriptor_statistics import DescriptorLimit
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.mapping.landmarks.definition import viewing_distances
from vloc_ros.mapping.maps.codec_conversion import restore_descriptors
from vloc_ros.mapping.maps.duplicate_points import NEAR_RAD

_RATIO = 0.9
_NEIGHBOURS = 4
# of a large map the points that most keyframes observe are enough
_MAX_MATCHED = 50_000
_TRIPLES, _MAX_TRIED = 200_000, 3000
_MIN_SIDE_RADII = 5.0
_REFITS = 10
_MIN_INLIERS = 12
_SEED = 0
_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class RegistrationSide:
    """The points of a scene as they are compared with those of another map.

    Attributes:
        index: of a map of one scene.
        points: (P, 3) float64 metres from the scene's origin.
        radius_m: (P,) radius around a point within which another is taken for the same.
        keyframe_counts: (P,) number of keyframes that observe each.
    """

    index: MapIndex
    points: Array
    radius_m: Array
    keyframe_counts: Array

    @property
    def scene(self) -> LandmarkMap:
        """The map of one scene."""
        return self.index.map

    @staticmethod
    def of(scene: LandmarkMap) -> RegistrationSide:
        """The points of a map of one scene."""
        index, points = MapIndex(scene), scene.points.astype(np.float64)
        radius_m = NEAR_RAD * viewing_distances(points, scene.keyframes)
        return RegistrationSide(index, points, radius_m, index.observation_counts(np.arange(len(points))))

    def transform(self, scene: LandmarkMap) -> RegistrationSide:
        """The same side after its map was moved; radii and observations stay."""
        return replace(self, index=MapIndex(scene), points=scene.points.astype(np.float64))

    def descriptors_of(self, points: Array) -> Array:
        """(N, D) float32 descriptors of (N,) points in the extractor's own space; all at once may be gigabytes."""
        return restore_descriptors(self.scene, points)


@dataclass(frozen=True, slots=True, eq=False)
class MapAlignment:
    """A rigid motion between two maps, and its support.

    Attributes:
        first_from_second: between coordinates relative to the origins of the scenes, metres; its scale is 1.
        matches: number of matched points.
        inliers: (M, 2) indices in first and second of those that agree with the motion.
        competing_inliers: number of the others that agree with another motion.
        error_m: median distance between inliers.
        spread: second largest standard deviation of the inliers over the distance from which they are observed.
    """

    first_from_second: Similarity
    matches: int
    inliers: Array
    competing_inliers: int
    error_m: float
    spread: float


def align_maps(first: RegistrationSide, second: RegistrationSide) -> MapAlignment | None:
    """The motion that most matches agree with; None where hardly any do."""
    matches = _matches(first, second)
    radius_m = np.maximum(first.radius_m[matches[:, 0]], second.radius_m[matches[:, 1]])
    target, source = first.points[matches[:, 0]], second.points[matches[:, 1]]
    inlier = _inliers(source, target, radius_m)
    if inlier.sum() < _MIN_INLIERS:
        return None
    competing = _inliers(source[~inlier], target[~inlier], radius_m[~inlier])
    found = _refine_motion(source[inlier], target[inlier], radius_m[inlier])
    deviations = np.linalg.svd(target[inlier] - target[inlier].mean(axis=0), compute_uv=False) / np.sqrt(inlier.sum())
    return MapAlignment(
        found,
        len(matches),
        matches[inlier],
        int(competing.sum()),
        float(np.median(found.residuals(source[inlier], target[inlier]))),
        float(deviations[1] / (np.median(radius_m[inlier]) / NEAR_RAD)),
    )


def _matches(first: RegistrationSide, second: RegistrationSide) -> Array:
    """(M, 2) mutual nearest neighbours in descriptor space that pass the ratio test."""
    mine, theirs = _most_observed(first), _most_observed(second)
    forward, backward = _nearest(first, mine, second, theirs), _nearest(second, theirs, first, mine)
    rows = np.flatnonzero(forward >= 0)
    rows = rows[backward[forward[rows]] == rows]
    return np.column_stack([mine[rows], theirs[forward[rows]]])


def _most_observed(side: RegistrationSide) -> Array:
    return np.sort(np.argsort(-side.keyframe_counts, kind="stable")[:_MAX_MATCHED])


def _nearest(side: RegistrationSide, mine: Array, other: RegistrationSide, theirs: Array) -> Array:
    """(N,) the most similar of theirs to each of mine, -1 where one elsewhere is nearly as similar (Lowe 2004)."""
    count = min(_NEIGHBOURS, len(theirs))
    squared, near = faiss.knn(side.descriptors_of(mine), other.descriptors_of(theirs), count)
    points = other.points[theirs[near]]
    elsewhere = np.linalg.norm(points - points[:, :1], axis=2) > other.radius_m[theirs[near[:, :1]]]
    second = np.where(elsewhere, squared, np.inf).min(axis=1)
    max_distance = side.scene.descriptor_limit(DescriptorLimit.STRICT)
    return np.where(squared[:, 0] <= np.minimum(_RATIO**2 * second, max_distance**2), near[:, 0], -1)


def _inliers(source: Array, target: Array, radius_m: Array) -> Array:
    """(M,) bool: the matches that agree with the motion that most agree with; none where no triple fits."""
    best = np.zeros(len(source), bool)
    triples, squared_m2 = _fitting_triples(source, target, radius_m), radius_m**2
    for rotation, translation in zip(*_kabsch(source[triples], target[triples]), strict=True):
        apart = source @ rotation.T + translation - target
        agree = np.einsum("ij,ij->i", apart, apart) < squared_m2
        best = agree if agree.sum() > best.sum() else best
    for _ in range(_REFITS):
        if best.sum() < _MIN_INLIERS:
            break
        previous, best = best, _motion(source[best], target[best]).residuals(source, target) < radius_m
        if (previous == best).all():
            break
    return best


def _fitting_triples(source: Array, target: Array, radius_m: Array) -> Array:
    """(T, 3) random matches, the same for the same input, that span triangles with the same sides in both maps."""
    if len(source) < _MIN_INLIERS:
        return np.zeros((0, 3), np.int64)
    triples = np.random.default_rng(_SEED).integers(0, len(source), (_TRIPLES, 3))
    fitting = np.ones(len(triples), bool)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        a, b = triples[:, i], triples[:, j]
        sides = [np.linalg.norm(points[a] - points[b], axis=1) for points in (source, target)]
        slack = radius_m[a] + radius_m[b]
        fitting &= (np.abs(sides[0] - sides[1]) < slack) & (sides[0] > _MIN_SIDE_RADII * slack)
    return triples[fitting][:_MAX_TRIED]


def _motion(source: Array, target: Array, weights: Array | None = None) -> Similarity:
    rotations, translations = _kabsch(source[None], target[None], None if weights is None else weights[None])
    return Similarity(1.0, rotations[0], translations[0])


def _refine_motion(source: Array, target: Array, radius_m: Array) -> Similarity:
    """The motion under a Cauchy loss of errors over radii: points are uncertain in proportion to their distance."""
    found = _motion(source, target, radius_m**-2.0)
    for _ in range(_REFITS):
        error = found.residuals(source, target) / radius_m
        found = _motion(source, target, radius_m**-2.0 / (1.0 + (error / max(float(np.median(error)), _TINY)) ** 2))
    return found


def _kabsch(source: Array, target: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """(T, 3, 3) rotations and (T, 3) translations of (T, n, 3) points onto their targets, least squares."""
    weights = np.ones(source.shape[:2]) if weights is None else weights
    share = (weights / weights.sum(axis=1, keepdims=True))[:, :, None]
    source_mean, target_mean = (share * source).sum(axis=1), (share * target).sum(axis=1)
    products = (share * (target - target_mean[:, None])).transpose(0, 2, 1) @ (source - source_mean[:, None])
    left, _, right = np.linalg.svd(products)
    left[:, :, 2] *= np.where(np.linalg.det(left @ right) < 0, -1.0, 1.0)[:, None]
    rotations = left @ right
    return rotations, target_mean - np.einsum("tij,tj->ti", rotations, source_mean)
