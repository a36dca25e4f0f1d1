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

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")

from training.acceptance.camera_recording import kind_of, label_pose, take_turns
from training.acceptance.camera_tables import RecordedTable, table_of_clouds, table_of_drives
from training.acceptance.camera_worlds import SPLITS, CameraDrive, CameraSplit
from training.acceptance.cameras import calibrate, select_known
from training.acceptance.evidence_table import ALIASED, FOREIGN, OWN, EvidenceTable, RecordedQuery
from training.acceptance.kept_hypotheses import RecordedDrive, load_drives, save_drives
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.acceptance import CAMERA_KIND, DRIVE_KIND, EVIDENCE_OF
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis, to_metres
from vloc_ros.core.localization.camera_cloud_evidence import CameraEvidence
from vloc_ros.core.localization.camera_drive_hypotheses import DriveHypothesis
from vloc_ros.core.localization.camera_errors import COMMON
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
    assert len(set.union(*seeds)) == sum(map(len, seeds))
    assert all(
        other != number for split in SPLITS.values() for number in split.numbers for other in split.others(number)
    )


def test_errors_of_the_best_hypotheses_are_calibrated_in_voxels_and_published_in_metres() -> None:
    model, names = read_acceptance_model(CAMERA_KIND), EVIDENCE_OF[CAMERA_KIND]
    strong = np.array([{"inliers": 9.0, "constraint": -0.5}.get(name, 5.0) for name in names], np.float32)
    weaker = strong.copy()
    weaker[names.index("support")] = 0.93
    queries = [RecordedQuery(np.stack([strong, weaker]), [-1, 1], OWN, 0, 0, 0, 0),
               RecordedQuery(strong[None], [0], OWN, 0, 0, 0, 0)]  # fmt: skip
    errors = np.stack([np.full(6, 0.4), np.full(6, 0.1), np.full(6, np.nan)])
    table = EvidenceTable.of_queries(queries, CAMERA_KIND)
    recorded = RecordedTable(table, errors, np.stack([np.eye(6)] * 3), np.full(3, 0.4), np.ones(2), np.arange(2), 0)
    errors, covariances = select_known(model, recorded, least_score=0.0)
    np.testing.assert_allclose(errors, [[1.0, 1.0, 1.0, 0.4, 0.4, 0.4]])
    np.testing.assert_allclose(np.diag(covariances[0]), [6.25, 6.25, 6.25, 1.0, 1.0, 1.0])
    smaller = calibrate(model, [recorded])
    assert (smaller.scale, smaller.samples, smaller.floor.any()) == (1.0, 1, False)
    worse = replace(recorded, errors=20.0 * recorded.errors)
    assert calibrate(model, [worse]).scale > 1.0
    floor = to_metres(CovarianceCalibration(floor=np.ones(6)), voxel_m=0.4).floor
    np.testing.assert_allclose(floor, [0.16, 0.16, 0.16, 1.0, 1.0, 1.0])


def _drive(kind: int) -> RecordedDrive:
    """Three clouds of a camera that moves along x, one hypothesis each, right where the camera is in the map."""
    truth = tuple(Pose(np.eye(3), [1.5 * k, 0.0, 1.0]) for k in range(3))
    evidence = CameraEvidence(7.0, 0.9, 0.7, 0.8, 0.95, 0.95, 1.0, -2.0, 1.5, 2.0)
    covariance = np.diag(np.repeat([0.02**2, 0.005**2], 3))
    at = tuple(
        CameraHypothesis(0, "map", pose, pose, evidence, covariance, np.zeros((6, COMMON)), 900, 50 * k + np.arange(50))
        for k, pose in enumerate(truth)
    )
    drives = tuple((DriveHypothesis(at[:n], (True,) * n, (0.3,) * n),) for n in (2, 3))
    known = truth if kind == OWN else (None,) * 3
    return RecordedDrive(kind, 2, 5, 4, 0.1, known, truth, tuple((one,) for one in at), drives)


def test_each_cloud_and_each_count_of_clouds_is_a_query() -> None:
    clouds = table_of_clouds([_drive(OWN)])
    assert clouds.table.label.tolist() == [1, 1, 1]
    assert clouds.clouds.tolist() == [1, 1, 1]
    drives = table_of_drives([_drive(OWN)])
    assert drives.table.label.tolist() == [1, 1]
    assert drives.clouds.tolist() == [2, 3]
    assert drives.table.evidence_of("preference").tolist() == pytest.approx([0.3, 0.3])
    assert np.abs(drives.errors).max() < 0.01


def test_queries_of_one_drive_count_once_and_a_drive_in_two_maps_is_one_negative() -> None:
    drives = table_of_drives([_drive(FOREIGN), _drive(FOREIGN), _drive(OWN)])
    assert drives.drives.tolist() == [0, 0, 1, 1, 2, 2]
    assert drives.negatives == 1
    by_drive = drives.by_drive()
    assert by_drive.query.tolist() == [0, 0, 1, 1, 2, 2]
    assert by_drive.queries[:, 0].tolist() == [FOREIGN, FOREIGN, OWN]


def test_of_another_place_every_hypothesis_is_wrong() -> None:
    drives = table_of_drives([_drive(FOREIGN)])
    assert drives.table.label.tolist() == [0, 0]
    assert np.isnan(drives.errors).all()


def test_streets_and_rooms_take_turns() -> None:
    split = SPLITS["choose"]
    turns = take_turns(split)
    assert sorted(turns) == list(split.numbers)
    assert [split.is_outdoors(number) for number in turns[:4]] == [True, False, True, False]


def test_worlds_of_a_maps_kind_and_of_other_kinds_take_turns_as_negatives() -> None:
    split = CameraSplit("test", 0, 4, 6)
    assert split.others(1) == [3, 2, 0]
    kinds = [kind_of(split, 4, other) for other in split.others(4)]
    assert kinds == [ALIASED, FOREIGN, FOREIGN, FOREIGN, FOREIGN]
    assert kind_of(split, 4, 4) == OWN
    assert all(split.is_outdoors(other) for other in split.others(0))


def test_kept_drives_are_read_as_they_were_kept(tmp_path: Path) -> None:
    kept, path = _drive(OWN), tmp_path / "found.npz"
    save_drives(path, [(kept.clouds, kept.drives)], {})
    drive = CameraDrive(2, (None,) * 3, kept.odom_from_camera, kept.odom_from_camera)  # type: ignore[arg-type]
    (read,) = load_drives(path, [drive], kind=OWN, world=5, map_number=4, voxel_m=0.1)
    assert read.drives[1][0].preferences == (0.3, 0.3, 0.3)
    of_kept, of_read = kept.drives[1][0].at[2], read.drives[1][0].at[2]
    assert of_read.evidence == of_kept.evidence
    np.testing.assert_array_equal(of_read.cells, of_kept.cells)
    np.testing.assert_allclose(of_read.covariance, of_kept.covariance)
    assert of_read.map_from_camera.distance_to(of_kept.map_from_camera)[0] < 1e-9
    assert [len(found) for found in read.clouds] == [1, 1, 1]


@pytest.mark.parametrize("kind", [CAMERA_KIND, DRIVE_KIND])
def test_the_shipped_tables_accept_more_than_chance_and_have_a_calibration(kind: str) -> None:
    assert read_acceptance_model(kind).thresholds[0] >= 0.0
    assert read_calibration(kind).samples > 0
