"""Landmarks: clusters of map points, so that a place is defined by the map itself (PRAM, Xue et al. 2024)."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

from vloc_ros.core.pose import Array

_SEED = 0
_FIT_POINTS = 20000


def cluster_landmarks(points: Array, *, points_per_landmark: int) -> Array:
    """(P,) int32 landmark of each of (P, 3) points, 0 to L - 1, all used; deterministic.

    k-means in space, with as many clusters as the points fill at the given mean size; far outliers are assigned to the
    nearest cluster but do not get one of their own.
    """
    clusters = max(1, round(len(points) / points_per_landmark))
    centre, spread = np.median(points, axis=0), np.percentile(np.abs(points - np.median(points, axis=0)), 95, axis=0)
    near = points[(np.abs(points - centre) <= 2 * np.maximum(spread, 1e-6)).all(axis=1)]
    sample = np.random.default_rng(_SEED).permutation(len(near))[:_FIT_POINTS]
    kmeans = KMeans(min(clusters, len(sample)), n_init=1, random_state=_SEED).fit(near[sample].astype(np.float64))
    labels = kmeans.predict(points.astype(np.float64))
    return np.unique(labels, return_inverse=True)[1].astype(np.int32)
