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

"""Labels, units and worlds of the acceptance of moving cameras."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")

from training.acceptance.camera_recording import RecordedSplit, label_pose
from training.acceptance.camera_worlds import SPLITS
from training.acceptance.cameras import select_right
from training.acceptance.evidence_table import OWN, EvidenceTable, RecordedQuery
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.acceptance import CAMERA_KIND, EVIDENCE_OF
from vloc_ros.core.localization.camera_cloud_decision import to_metres
from vloc_ros.storage.acceptance_tables import read_acceptance_model, read_calibration


@pytest.mark.parametrize(
    ("shift_m", "turn_rad", "label"), [(0.2, 0.0, 1), (0.4, 0.0, -1), (0.6, 0.0, 0), (0.0, 0.12, -1), (0.0, 0.2, 0)]
)
def test_labels_follow_the_voxels_of_the_map(shift_m: float, turn_rad: float, label: int) -> None:
    pose = Pose.from_rotation_vector([0.0, 0.0, turn_rad], [1.0 + shift_m, 0.0, 0.0])
    truth = Pose(np.eye(3), [1.0, 0.0, 0.0])
    assert label_pose(pose, truth, voxel_m=0.1) == label
    assert label_pose(truth, None, voxel_m=0.1) == 0


def test_no_world_serves_two_purposes() -> None:
    seeds = [{split.seed + number for number in split.numbers} for split in SPLITS.values()]
    assert not set.intersection(*seeds)
    assert all(
        other != number for split in SPLITS.values() for number in split.numbers for other in split.alike(number)
    )


def test_errors_are_calibrated_in_voxels_and_published_in_metres() -> None:
    model, names = read_acceptance_model(CAMERA_KIND), EVIDENCE_OF[CAMERA_KIND]
    strong = np.array([{"inliers": 9.0, "constraint": -0.5}.get(name, 5.0) for name in names], np.float32)
    query = RecordedQuery(strong[None], [1], OWN, 0, 0, 0, 0)
    recorded = RecordedSplit(
        EvidenceTable.of_queries([query], CAMERA_KIND), np.full((1, 6), 0.4), np.eye(6)[None], np.array([0.4])
    )
    errors, covariances = select_right(model, recorded, least_score=0.0)
    np.testing.assert_allclose(errors, [[1.0, 1.0, 1.0, 0.4, 0.4, 0.4]])
    np.testing.assert_allclose(np.diag(covariances[0]), [6.25, 6.25, 6.25, 1.0, 1.0, 1.0])
    floor = to_metres(CovarianceCalibration(floor=np.ones(6)), voxel_m=0.4).floor
    np.testing.assert_allclose(floor, [0.16, 0.16, 0.16, 1.0, 1.0, 1.0])


def test_the_shipped_table_accepts_more_than_chance_and_has_a_calibration() -> None:
    assert read_acceptance_model(CAMERA_KIND).thresholds[0] >= 0.0
    assert read_calibration(CAMERA_KIND).samples > 0
