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

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.tracking.fix import fix_from_result

SMALL = st.floats(-3.0, 3.0)
POSES = st.tuples(st.tuples(SMALL, SMALL, SMALL), st.tuples(SMALL, SMALL, SMALL)).map(
    lambda parts: Pose.from_rotation_vector(np.array(parts[0]) * 0.5, parts[1])
)
COVARIANCE = np.diag([0.01, 0.02, 0.03, 0.001, 0.002, 0.003])


def _make_result(map_from_camera: Pose, scale: float = 1.0) -> LocalizationResult:
    return LocalizationResult(Status.OK, map_from_camera, COVARIANCE * scale, "map")


@given(POSES, POSES)
def test_the_base_is_the_camera_with_its_extrinsics(map_from_camera: Pose, camera_from_base: Pose) -> None:
    fix = fix_from_result(_make_result(map_from_camera), rig_from_base=camera_from_base, two_d=False)
    assert max(fix.map_from_base.distance_to(map_from_camera @ camera_from_base)) < 1e-9
    np.testing.assert_allclose(fix.covariance, fix.covariance.T, atol=1e-12)
    np.testing.assert_allclose(fix.covariance[3:, 3:], COVARIANCE[3:, 3:], atol=1e-12)


def test_the_covariance_is_that_of_perturbed_poses() -> None:
    """Perturb the camera by its covariance; the base has the carried covariance."""
    map_from_camera = Pose.from_rotation_vector([0.4, 0.2, -0.3], [1.0, 2.0, 3.0])
    camera_from_base = Pose.from_rotation_vector([0.0, 1.0, 0.0], [0.5, -2.0, 1.0])
    fix = fix_from_result(_make_result(map_from_camera, 1e-2), rig_from_base=camera_from_base, two_d=False)
    rng = np.random.default_rng(0)
    errors = []
    for error in rng.multivariate_normal(np.zeros(6), COVARIANCE * 1e-2, 4000):
        turn = Pose.from_rotation_vector(error[3:], np.zeros(3))
        moved = Pose((turn @ map_from_camera).rotation, map_from_camera.translation + error[:3])
        errors.append((moved @ camera_from_base).error_to(fix.map_from_base))
    found = np.cov(np.array(errors).T)
    scale = np.sqrt(np.outer(np.diag(fix.covariance), np.diag(fix.covariance)))
    np.testing.assert_allclose(found / scale, fix.covariance / scale, atol=0.1)


@given(POSES, POSES)
def test_two_d_keeps_x_y_and_the_heading(map_from_camera: Pose, camera_from_base: Pose) -> None:
    upright = fix_from_result(_make_result(map_from_camera), rig_from_base=camera_from_base, two_d=True)
    free = map_from_camera @ camera_from_base
    np.testing.assert_allclose(upright.map_from_base.translation, [*free.translation[:2], 0.0], atol=1e-9)
    np.testing.assert_allclose(upright.map_from_base.rotation[:, 2], [0.0, 0.0, 1.0], atol=1e-12)
    forward = free.rotation[:2, 0] / max(np.linalg.norm(free.rotation[:2, 0]), 1e-9)
    if np.linalg.norm(free.rotation[:2, 0]) > 1e-3:
        np.testing.assert_allclose(upright.map_from_base.rotation[:2, 0], forward, atol=1e-6)
    still, moving = [2, 3, 4], [0, 1, 5]
    assert not upright.covariance[np.ix_(still, moving)].any()
    assert (np.diag(upright.covariance)[still] <= 1e-6).all()
    np.linalg.cholesky(upright.covariance)  # what filters do with it
