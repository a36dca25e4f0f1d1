"""How one map lies in another that shows the same place, told by their points alone; a map keeps no images.

Points that look alike are matched across the maps, and the rigid motion that most of them agree with is searched for
by RANSAC over triples (Fischler and Bolles 1981), of which only those are tried whose sides are as long in both maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.landmarks.definition import viewing_distances
from vloc_ros.mapping.maps.codec_conversion import restore_descriptors
from vloc_ros.mapping.maps.duplicate_points import ALIKE, NEAR_RAD

_RATIO = 0.9
_NEIGHBOURS = 4
# of a large map those that most keyframes saw are enough
_MOST_MATCHED = 50_000
_TRIPLES, _MOST_TRIED = 200_000, 3000
_LEAST_SIDE_REACHES = 5.0
_REFITS = 10
_LEAST_AGREEING = 12
_SEED = 0
_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class RegistrationSide:
    """The points of a scene as they are compared with those of another map.

    Attributes:
        scene: a map of one scene.
        points: (P, 3) float64 metres.
        reach: (P,) metres from a point within which it is taken for the same.
        keyframe_counts: (P,) how many keyframes saw each.
    """

    scene: LandmarkMap
    points: Array
    reach: Array
    keyframe_counts: Array

    @staticmethod
    def of(scene: LandmarkMap) -> RegistrationSide:
        """The points of a map of one scene."""
        points = scene.points.astype(np.float64)
        return RegistrationSide(
            scene,
            points,
            NEAR_RAD * viewing_distances(points, scene.keyframes),
            np.bincount(scene.keyframes.point_indices, minlength=len(points)),
        )

    def descriptors_of(self, points: Array) -> Array:
        """(N, D) float32 of (N,) points, as the extractor makes them as far as the codes tell; all are gigabytes."""
        return restore_descriptors(self.scene, points)


@dataclass(frozen=True, slots=True, eq=False)
class MapAlignment:
    """A rigid motion between two maps, and what speaks for it.

    Attributes:
        first_from_second: in metres; its scale is 1.
        matches: how many points were matched,
        agreeing: (M, 2) indices in first and second of those that agree.
        rival: how many agree with another motion instead.
        error_m: median distance between agreeing points.
        spread: the second largest standard deviation of the agreeing points over the distance that they are seen from.
    """

    first_from_second: Similarity
    matches: int
    agreeing: Array
    rival: int
    error_m: float
    spread: float


def align_maps(first: RegistrationSide, second: RegistrationSide) -> MapAlignment | None:
    """The motion that most matches agree with; None where hardly any do."""
    matches = _matches(first, second)
    reach = np.maximum(first.reach[matches[:, 0]], second.reach[matches[:, 1]])
    target, source = first.points[matches[:, 0]], second.points[matches[:, 1]]
    agree = _agreeing(source, target, reach)
    if agree.sum() < _LEAST_AGREEING:
        return None
    rival = _agreeing(source[~agree], target[~agree], reach[~agree])
    found = _polished(source[agree], target[agree], reach[agree])
    deviations = np.linalg.svd(target[agree] - target[agree].mean(axis=0), compute_uv=False) / np.sqrt(agree.sum())
    return MapAlignment(
        found,
        len(matches),
        matches[agree],
        int(rival.sum()),
        float(np.median(found.residuals(source[agree], target[agree]))),
        float(deviations[1] / (np.median(reach[agree]) / NEAR_RAD)),
    )


def _matches(first: RegistrationSide, second: RegistrationSide) -> Array:
    """(M, 2) points that take each other for the most alike, and nothing elsewhere for nearly as alike."""
    mine, theirs = _matched(first), _matched(second)
    forward, backward = _most_alike(first, mine, second, theirs), _most_alike(second, theirs, first, mine)
    rows = np.flatnonzero(forward >= 0)
    rows = rows[backward[forward[rows]] == rows]
    return np.column_stack([mine[rows], theirs[forward[rows]]])


def _matched(side: RegistrationSide) -> Array:
    return np.sort(np.argsort(-side.keyframe_counts, kind="stable")[:_MOST_MATCHED])


def _most_alike(some: RegistrationSide, mine: Array, others: RegistrationSide, theirs: Array) -> Array:
    """(N,) the most alike of theirs for each of mine, -1 where something elsewhere is nearly as alike (Lowe 2004)."""
    count = min(_NEIGHBOURS, len(theirs))
    squared, near = faiss.knn(some.descriptors_of(mine), others.descriptors_of(theirs), count)
    points = others.points[theirs[near]]
    elsewhere = np.linalg.norm(points - points[:, :1], axis=2) > others.reach[theirs[near[:, :1]]]
    rival = np.where(elsewhere, squared, np.inf).min(axis=1)
    return np.where(squared[:, 0] <= np.minimum(_RATIO**2 * rival, ALIKE**2), near[:, 0], -1)


def _agreeing(source: Array, target: Array, reach: Array) -> Array:
    """(M,) bool: the matches that agree with the motion that most agree with; none where no triple fits."""
    best = np.zeros(len(source), bool)
    triples = _fitting_triples(source, target, reach)
    for rotation, translation in zip(*_kabsch(source[triples], target[triples]), strict=True):
        agree = np.linalg.norm(source @ rotation.T + translation - target, axis=1) < reach
        best = agree if agree.sum() > best.sum() else best
    for _ in range(_REFITS):
        if best.sum() < _LEAST_AGREEING:
            break
        previous, best = best, _motion(source[best], target[best]).residuals(source, target) < reach
        if (previous == best).all():
            break
    return best


def _fitting_triples(source: Array, target: Array, reach: Array) -> Array:
    """(T, 3) random matches, always the same, that span triangles with sides as long in both maps."""
    if len(source) < _LEAST_AGREEING:
        return np.zeros((0, 3), np.int64)
    triples = np.random.default_rng(_SEED).integers(0, len(source), (_TRIPLES, 3))
    fitting = np.ones(len(triples), bool)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        a, b = triples[:, i], triples[:, j]
        sides = [np.linalg.norm(points[a] - points[b], axis=1) for points in (source, target)]
        slack = reach[a] + reach[b]
        fitting &= (np.abs(sides[0] - sides[1]) < slack) & (sides[0] > _LEAST_SIDE_REACHES * slack)
    return triples[fitting][:_MOST_TRIED]


def _motion(source: Array, target: Array, weights: Array | None = None) -> Similarity:
    rotations, translations = _kabsch(source[None], target[None], None if weights is None else weights[None])
    return Similarity(1.0, rotations[0], translations[0])


def _polished(source: Array, target: Array, reach: Array) -> Similarity:
    """The motion under a Cauchy loss of errors over reach: a point is as uncertain as it is far, and some are wrong."""
    found = _motion(source, target, reach**-2.0)
    for _ in range(_REFITS):
        error = found.residuals(source, target) / reach
        found = _motion(source, target, reach**-2.0 / (1.0 + (error / max(float(np.median(error)), _TINY)) ** 2))
    return found


def _kabsch(source: Array, target: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """(T, 3, 3) rotations and (T, 3) translations that carry (T, n, 3) points nearest to their targets."""
    weights = np.ones(source.shape[:2]) if weights is None else weights
    share = (weights / weights.sum(axis=1, keepdims=True))[:, :, None]
    source_mean, target_mean = (share * source).sum(axis=1), (share * target).sum(axis=1)
    products = (share * (target - target_mean[:, None])).transpose(0, 2, 1) @ (source - source_mean[:, None])
    left, _, right = np.linalg.svd(products)
    left[:, :, 2] *= np.where(np.linalg.det(left @ right) < 0, -1.0, 1.0)[:, None]
    rotations = left @ right
    return rotations, target_mean - np.einsum("tij,tj->ti", rotations, source_mean)
