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

"""Calibrations that are off are found again by keypoints that a true camera sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.camera import PARAMETER_NAMES, Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import silent
from vloc_ros.mapping.sfm.factors import fixed_pose_factor
from vloc_ros.mapping.sfm.intrinsics_refinement import RefinedCamera, follow_refinement, refine_intrinsics
from vloc_ros.mapping.sfm.map_bending import scale_factor
from vloc_ros.mapping.sfm.structure import Structure

_TRUE = {
    "SIMPLE_RADIAL": (525.0, 320.0, 240.0, -0.05),
    "OPENCV": (525.0, 527.0, 320.0, 240.0, -0.1, 0.05, 0.001, -0.001),
    "FULL_OPENCV": (525.0, 527.0, 320.0, 240.0, 0.2, 0.1, 0.001, -0.001, 0.01, 0.25, 0.1, 0.01),
    "OPENCV_FISHEYE": (300.0, 301.0, 320.0, 240.0, 0.02, -0.01, 0.002, 0.0),
}


def _camera(model: str) -> Camera:
    return Camera(model, 640, 480, _TRUE[model])


def _off(camera: Camera) -> Camera:
    """The camera with a calibration that is off by 2 % in focal length and by pixels in the principal point."""
    factors = {"f": 1.02, "fx": 1.02, "fy": 1.02}
    offsets = {"cx": 6.0, "cy": -4.0}
    names = PARAMETER_NAMES[camera.model]
    values = (factors.get(n, 1.0) * p + offsets.get(n, 0.0) for n, p in zip(names, camera.parameters, strict=True))
    return replace(camera, parameters=tuple(values))


def _walk(true: Camera, given: Camera, *, images: int = 12, turning: bool = True) -> tuple[Structure, list[Array]]:
    """Points around a camera that walks and turns, and the rays of keypoints by a given calibration."""
    rng = np.random.default_rng(3)
    points = rng.uniform((-6.0, -3.0, 3.0), (6.0, 3.0, 9.0), (300, 3))
    turns = rng.normal(0.0, 0.15 if turning else 0.0, (images, 3))
    moves = rng.uniform(-1.5, 1.5, (images, 3)) if turning else np.outer(np.arange(images), (0.0, 0.0, 0.01))
    poses = [Pose.from_rotation_vector(turn, move) for turn, move in zip(turns, moves, strict=True)]
    rays, observations = [], []
    for number, pose in enumerate(poses):
        pixels = true.project(pose.inverse().apply(points))
        seen = np.flatnonzero(true.contains(pixels))
        noisy = pixels[seen] + rng.normal(0.0, 0.3, (len(seen), 2))
        rays.append(given.unproject(noisy))
        observations += [(point, number, keypoint) for keypoint, point in enumerate(seen)]
    structure = Structure(points, *np.array(sorted(observations)).T, tuple(poses), 0.0)
    return structure.with_tracks_of_at_least(2), rays


@pytest.mark.parametrize("model", _TRUE)
def test_a_calibration_is_found_by_poses_that_are_right(model: str) -> None:
    true = _camera(model)
    structure, rays = _walk(true, _off(true))
    poses = [pose for pose in structure.poses if pose is not None]
    measured = [fixed_pose_factor(k, pose) for k, pose in enumerate(poses)]
    (found,) = refine_intrinsics(structure, rays, [_off(true)] * len(poses), measured, silent)
    assert found.before == _off(true)
    assert found.after.model == model
    off = RefinedCamera(true, found.after, 0.0, 0.0).largest_shift_px
    assert off < 0.1 * found.largest_shift_px
    assert abs(found.after.intrinsics[0] - true.intrinsics[0]) < 5.0 * found.focal_std_px


def test_a_calibration_is_found_by_images_alone() -> None:
    true = _camera("OPENCV")
    structure, rays = _walk(true, _off(true))
    poses = {k: pose for k, pose in enumerate(structure.poses) if pose is not None}
    measured = [fixed_pose_factor(0, poses[0]), scale_factor(poses, 0, 5)]
    (found,) = refine_intrinsics(structure, rays, [_off(true)] * len(poses), measured, silent)
    assert found.after.intrinsics[:2] == pytest.approx(true.intrinsics[:2], rel=0.003)


def test_every_camera_is_refined_by_itself() -> None:
    true = _camera("OPENCV")
    structure, rays = _walk(true, _off(true))
    first, second = _walk(true, true)[1][:6], rays[6:]
    cameras = [true] * 6 + [_off(true)] * 6
    measured = [fixed_pose_factor(k, pose) for k, pose in enumerate(structure.poses) if pose is not None]
    right, wrong = refine_intrinsics(structure, [*first, *second], cameras, measured, silent)
    assert right.largest_shift_px < 2.0 < wrong.largest_shift_px
    assert wrong.after.intrinsics[:2] == pytest.approx(true.intrinsics[:2], rel=0.003)


def test_images_that_leave_the_focal_length_open_are_refused() -> None:
    """A camera that hardly moves sees the same of any focal length."""
    true = _camera("OPENCV")
    structure, rays = _walk(true, _off(true), turning=False)
    poses = {k: pose for k, pose in enumerate(structure.poses) if pose is not None}
    measured = [fixed_pose_factor(0, poses[0]), scale_factor(poses, 0, 5)]
    with pytest.raises(MapError, match="focal length open"):
        refine_intrinsics(structure, rays, [_off(true)] * len(poses), measured, silent)


def test_refined_again_a_calibration_is_still_compared_with_the_given_one() -> None:
    given, once, twice = (Camera("SIMPLE_PINHOLE", 640, 480, (f, 320.0, 240.0)) for f in (500.0, 510.0, 511.0))
    (kept,) = follow_refinement([RefinedCamera(given, once, 1.0, 1.0)], [RefinedCamera(once, twice, 0.5, 0.2, 1.1)])
    assert (kept.before, kept.after, kept.focal_std_px, kept.last_shift_px) == (given, twice, 0.5, 1.1)
    assert not kept.has_converged
