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

"""Several clouds of a drive: how odometry holds their poses together, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_cloud_evidence import CameraEvidence
from vloc_ros.core.localization.camera_drive_evidence import CameraDriveEvidence, measure_preference
from vloc_ros.core.localization.camera_drive_following import prefer
from vloc_ros.core.localization.camera_drive_hypotheses import DriveHypothesis, join_drive
from vloc_ros.core.localization.camera_errors import COMMON, CameraErrors

VOXEL_M = 0.1
# three poses of a camera that moves along x, in odometry and in a map that is turned by 90 degrees
ODOMETRY = [Pose.from_rotation_vector([0.0, 0.0, 0.1 * k], [1.5 * k, 0.0, 0.0]) for k in range(3)]
MAP_FROM_ODOM = Pose.from_rotation_vector([0.0, 0.0, np.pi / 2], [4.0, 2.0, 1.0])
EVIDENCE = CameraEvidence(7.0, 0.9, 0.7, 0.8, 0.95, 0.95, 1.0, -2.0, 1.5, 2.0)


def _at(
    k: int, *, shift: Sequence[float] = (0, 0, 0), std_m: float = 0.02, cells: Array | None = None
) -> CameraHypothesis:
    pose = MAP_FROM_ODOM @ ODOMETRY[k]
    pose = Pose(pose.rotation, pose.translation + np.asarray(shift, float))
    covariance = np.diag(np.repeat([std_m**2, np.radians(0.3) ** 2], 3))
    in_map = Pose(pose.rotation, pose.translation + np.array([100.0, 0.0, 0.0]))
    return CameraHypothesis(
        0,
        "map",
        pose,
        in_map,
        EVIDENCE,
        covariance,
        np.zeros((6, COMMON)),
        1000,
        np.arange(100) + 100 * k if cells is None else cells,
    )


def _join(
    at: Sequence[CameraHypothesis], agrees: Sequence[bool] | None = None, preferences: Sequence[float] = (0.1,) * 3
) -> CameraHypothesis:
    drive = DriveHypothesis(tuple(at), tuple(agrees or [True] * len(at)), tuple(preferences[: len(at)]))
    return join_drive(drive, ODOMETRY[: len(at)], errors=CameraErrors(), voxel_m=VOXEL_M)


def _evidence(one: CameraHypothesis) -> CameraDriveEvidence:
    assert isinstance(one.evidence, CameraDriveEvidence)
    return one.evidence


def test_the_joint_pose_is_the_last_cameras_between_those_of_the_clouds() -> None:
    joined = _join([_at(0, shift=(0.04, 0, 0)), _at(1, shift=(0.04, 0, 0)), _at(2, shift=(-0.02, 0, 0))])
    off = joined.scene_from_camera.translation - (MAP_FROM_ODOM @ ODOMETRY[2]).translation
    assert -0.02 < off[0] < 0.04
    np.testing.assert_allclose(off[1:], 0.0, atol=1e-3)
    np.testing.assert_allclose(joined.map_from_camera.translation - joined.scene_from_camera.translation, [100, 0, 0])


def test_a_cloud_that_is_more_certain_weighs_more() -> None:
    last = (MAP_FROM_ODOM @ ODOMETRY[1]).translation[1]
    near_first, near_last = (
        _join([_at(0, std_m=a), _at(1, shift=(0, 0.2, 0), std_m=b)]).scene_from_camera.translation[1] - last
        for a, b in ((0.01, 1.0), (1.0, 0.01))
    )
    assert near_first < 0.02
    assert near_last > 0.18


def test_more_clouds_of_other_surfaces_are_more_certain_and_of_the_same_ones_hardly() -> None:
    stds = [np.sqrt(_join([_at(k) for k in range(count)]).covariance[0, 0]) for count in (2, 3)]
    alike = _join([_at(k, cells=np.arange(100)) for k in range(3)])
    assert stds[1] < stds[0]
    assert np.sqrt(alike.covariance[0, 0]) > 1.5 * stds[1]


def test_clouds_that_do_not_agree_are_left_out_of_the_pose_and_count_against_it() -> None:
    together, off = [_at(0), _at(1)], [_at(0, shift=(1.0, 0, 0)), _at(1)]
    joined = _join(off, agrees=[False, True])
    np.testing.assert_allclose(joined.scene_from_camera.translation, _at(1).scene_from_camera.translation, atol=1e-6)
    assert _evidence(joined).consistency < _evidence(_join(together)).consistency - 2


def test_poses_within_covariance_and_drift_are_consistent() -> None:
    deviations = [np.exp(-_evidence(_join([_at(0), _at(1, shift=(x, 0, 0))])).consistency) for x in (0.05, 0.5)]
    assert deviations[0] < 1.0 < 3.0 < deviations[1]


def test_a_cloud_that_knows_no_position_is_consistent_with_no_more_than_voxels() -> None:
    joined = _join([_at(0, std_m=1000.0), _at(1, shift=(0.39, 0, 0), std_m=1000.0)])
    assert np.exp(-_evidence(joined).consistency) > 0.4


def test_the_preference_is_the_mean_of_the_clouds() -> None:
    assert _evidence(_join([_at(0), _at(1), _at(2)], preferences=[0.3, -0.1, 0.1])).preference == pytest.approx(0.1)


def test_surfaces_that_several_clouds_show_count_once() -> None:
    alike = _join([_at(0, cells=np.arange(100)), _at(1, cells=np.arange(100))])
    assert _evidence(alike).inliers == pytest.approx(np.log(101))
    assert _evidence(_join([_at(0), _at(1)])).inliers == pytest.approx(np.log(201))


def test_drift_grows_along_and_across_the_way() -> None:
    errors = CameraErrors(scale_std=0.02, yaw_std_rad=0.01, extrinsics_std_rad=0.0)
    covariance = errors.drift(np.array([3.0, 0.0, 0.0]))
    assert covariance[0, 0] == pytest.approx(0.06**2)
    assert covariance[1, 1] == pytest.approx(3.0**3 * 0.01**2 / 3)
    assert covariance[5, 5] == pytest.approx(3.0 * 0.01**2)
    assert not errors.drift(np.zeros(3)).any()


def test_the_error_of_odometrys_scale_is_one_of_all_clouds() -> None:
    """Three clouds that are off by the same scale are as far off together; independent errors average out."""
    by_scale = np.zeros((6, COMMON))
    by_scale[1, 0] = 0.2
    errors = CameraErrors(scale_std=0.0, yaw_std_rad=0.0)

    def std_m(*, shared: bool) -> float:
        at = [
            replace(one, covariance=one.covariance + by_scale @ by_scale.T)
            for one in (_at(k, std_m=0.01) for k in range(3))
        ]
        if shared:
            at = [replace(one, common_errors=by_scale) for one in at]
        drive = DriveHypothesis(tuple(at), (True,) * 3, (0.1,) * 3)
        joined = join_drive(drive, ODOMETRY, errors=errors, voxel_m=VOXEL_M)
        if shared:
            np.testing.assert_allclose(joined.common_errors, by_scale, atol=0.01)
        return float(np.sqrt(joined.covariance[1, 1]))

    assert std_m(shared=True) > 0.2
    assert std_m(shared=False) == pytest.approx(0.2 / np.sqrt(3), rel=0.15)


def test_the_scales_error_of_clouds_and_of_the_way_between_them_add_up_with_their_signs() -> None:
    """A cloud that is too large lies as far back as odometry, which is too long, carries it ahead."""
    errors = CameraErrors(scale_std=0.1, yaw_std_rad=0.0)
    moved = ODOMETRY[0].inverse() @ ODOMETRY[1]
    shift = _at(0).scene_from_camera.rotation @ moved.translation
    stds = []
    for sign in (-1.0, 1.0):
        by_scale = np.zeros((6, COMMON))
        by_scale[:3, 0] = sign * 0.1 * shift
        first = replace(_at(0, std_m=0.001), common_errors=by_scale)
        first = replace(first, covariance=first.covariance + by_scale @ by_scale.T)
        drive = DriveHypothesis((first, _at(1, std_m=100.0)), (True, True), (0.1, 0.1))
        covariance = join_drive(drive, ODOMETRY[:2], errors=errors, voxel_m=VOXEL_M).covariance
        stds.append(float(np.sqrt(covariance[1, 1])))
    assert stds[0] < 0.1 < 0.25 < stds[1]


def test_a_cloud_that_contradicts_the_map_is_a_veto() -> None:
    against = replace(_at(1), evidence=replace(EVIDENCE, support=0.3))
    worst = [_evidence(_join([_at(0), one])).worst for one in (_at(1), against)]
    assert worst == pytest.approx([0.2, 0.3 - 0.05 - 0.05])
    assert _evidence(_join([_at(0), replace(against, evidence=replace(EVIDENCE, support=0.1))])).worst < 0.1


def test_a_cloud_prefers_a_pose_to_the_best_other_one_of_its_search() -> None:
    assert measure_preference(EVIDENCE, [0.1, 0.7]) == pytest.approx(0.1)
    assert measure_preference(EVIDENCE, [0.9]) == pytest.approx(-0.1)
    assert measure_preference(EVIDENCE, []) == measure_preference(EVIDENCE, [-1.0]) == pytest.approx(0.3)


def test_a_cloud_whose_certain_points_do_not_fit_prefers_nothing() -> None:
    loose = replace(EVIDENCE, fit=-0.1)
    assert measure_preference(loose, [0.1]) == 0.0
    assert measure_preference(loose, [0.9]) == pytest.approx(-0.1)


def test_the_own_pose_of_a_search_does_not_compete_with_itself() -> None:
    weaker = replace(_at(0, shift=(1.0, 0, 0)), evidence=replace(EVIDENCE, support=0.7))
    assert prefer([_at(0), weaker], _at(0, shift=(0.05, 0, 0)), voxel_m=VOXEL_M) == pytest.approx(0.2)
    assert prefer([_at(0), weaker], weaker, voxel_m=VOXEL_M) == pytest.approx(-0.2)
    assert prefer([_at(0)], _at(0), voxel_m=VOXEL_M) == pytest.approx(0.3)
    assert prefer([], _at(0), voxel_m=VOXEL_M) == 0.0
