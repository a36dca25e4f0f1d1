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

"""Point clouds, alone and in a query."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import SyntheticScene, looking

from vloc_ros.assembly import build_localizer
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.result import Status
from vloc_ros.core.query import PosePrior, Query

CLOUD = PointCloud(np.arange(12, dtype=np.float32).reshape(4, 3), stamp_ns=7)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.zeros((0, 3), np.float32), r"expected \(N, 3\) float32"),
        (np.zeros((5, 4), np.float32), r"shape \(5, 4\) of float32, expected \(N, 3\)"),
        (np.zeros(3, np.float32), r"expected \(N, 3\)"),
        (np.zeros((2, 2, 3), np.float32), r"expected \(N, 3\)"),
        (np.zeros((2, 3)), "of float64"),
        (np.array([[0, 0, np.nan]], np.float32), "not finite"),
        (np.array([[0, 0, 0], [np.inf, 0, 0]], np.float32), "not finite"),
    ],
)
def test_points_that_cannot_be_are_refused(points: Array, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        PointCloud(points)


def test_a_cloud_alone_is_a_query() -> None:
    assert len(CLOUD) == 4
    np.testing.assert_array_equal(CLOUD.rig_from_sensor.matrix, np.eye(4))
    assert Query((), cloud=CLOUD).cloud is CLOUD
    with pytest.raises(InputError, match="no image and no point cloud"):
        Query(())


@pytest.mark.parametrize("candidates", [{}, {"whole_map_max_points": 0}, {"landmarks_min_points": 0}])
@pytest.mark.parametrize("with_prior", [False, True])
def test_a_map_of_landmarks_refuses_a_cloud_alone(
    scene: SyntheticScene, candidates: dict[str, int], with_prior: bool
) -> None:
    localizer = build_localizer(LocalizerConfig(candidates=CandidateConfig(**candidates)), scene.landmark_map)
    query = Query((), stamp_ns=5, cloud=CLOUD)
    if with_prior:
        query = replace(query, prior=PosePrior(looking(0.4, (0.2, -0.5, 1.1)), np.eye(6) * 1e-4))
    for result in (localizer.localize(query), localizer.localize_features((), query)):
        assert (result.status, result.map_from_rig, result.keypoints) == (Status.NO_CANDIDATES, None, 0)
        assert result.reason


@pytest.mark.parametrize("candidates", [{}, {"whole_map_max_points": 0}, {"landmarks_min_points": 0}])
@pytest.mark.parametrize("with_prior", [False, True])
def test_a_cloud_beside_a_blank_image_is_refused(
    scene: SyntheticScene, candidates: dict[str, int], with_prior: bool
) -> None:
    localizer = build_localizer(LocalizerConfig(candidates=CandidateConfig(**candidates)), scene.landmark_map)
    prior = PosePrior(looking(0.4, (0.2, -0.5, 1.1)), np.eye(6) * 1e-4) if with_prior else None
    result = localizer.localize(replace(scene.query(), cloud=CLOUD, prior=prior))
    assert not result.ok
    assert (result.map_from_rig, result.keypoints) == (None, 0)
    assert result.reason


def test_a_cloud_beside_an_image_changes_nothing(scene: SyntheticScene) -> None:
    localizer = build_localizer(LocalizerConfig(), scene.landmark_map)
    features = (scene.features(looking(0.4, (0.2, -0.5, 1.1))),)
    alone, both = (
        localizer.localize_features(features, replace(scene.query(), cloud=cloud)) for cloud in (None, CLOUD)
    )
    assert both.ok
    np.testing.assert_array_equal(both.map_from_rig.matrix, alone.map_from_rig.matrix)
