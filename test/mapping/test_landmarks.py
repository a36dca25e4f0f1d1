"""Clusters of points."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.mapping.landmarks import cluster_landmarks


def _clouds(clouds: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal([5.0 * k, 0.0, 0.0], 0.3, (size, 3)) for k in range(clouds)])


def test_far_clouds_share_no_landmark() -> None:
    labels = cluster_landmarks(_clouds(4, 200), points_per_landmark=50).reshape(4, 200)
    owners = [set(row.tolist()) for row in labels]
    assert all(not a & b for k, a in enumerate(owners) for b in owners[k + 1 :])


def test_landmarks_are_numbered_without_gaps_and_the_same_every_time() -> None:
    points = _clouds(3, 300)
    labels = cluster_landmarks(points, points_per_landmark=40)
    assert labels.dtype == np.int32
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert np.array_equal(labels, cluster_landmarks(points, points_per_landmark=40))


def test_a_stray_point_gets_no_landmark_of_its_own() -> None:
    points = np.concatenate([_clouds(2, 300), [[500.0, 500.0, 500.0]]])
    labels = cluster_landmarks(points, points_per_landmark=100)
    assert (labels == labels[-1]).sum() > 10


@pytest.mark.parametrize("points", [np.zeros((1, 3)), np.zeros((40, 3)), np.eye(3)])
def test_few_or_equal_points_make_at_least_one_landmark(points: np.ndarray) -> None:
    labels = cluster_landmarks(points, points_per_landmark=300)
    assert labels.shape == (len(points),)
    assert labels.min() == 0
