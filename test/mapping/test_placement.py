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

"""Images placed by what they show and by how the camera was measured to move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from posed_points import CAMERA, PosedPoints, make_posed_points

from vloc_ros.core.errors import MapError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.covariance import frame_jacobian
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.sources import MeasuredGravity, MeasuredPosition, PosedImage, silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.sfm.anchors import DOWN
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage
from vloc_ros.mapping.sfm.measured_placement import place_by_measurements
from vloc_ros.mapping.sfm.placement import place_by_images
from vloc_ros.mapping.sfm.scale import GivenPoses, MeasuredPositions
from vloc_ros.storage.trajectories import Trajectory

_CONFIG = MappingConfig(vocabulary_words=8, pairs_per_image=6)
_ODOMETRY, _SURVEY = GivenPoses(drifting=True), GivenPoses()


def _place(
    scene: PosedPoints,
    measured: Sequence[Pose],
    given: GivenPoses,
    *,
    features: Sequence[Features] | None = None,
    images: Sequence[PosedImage] | None = None,
) -> list[Pose]:
    views = [
        ExtractedImage(replace(image, map_from_camera=pose), found, CAMERA.unproject(found.xy))
        for image, pose, found in zip(images or scene.images(), measured, features or scene.features, strict=True)
    ]
    placed = [pose for pose in place_by_measurements(views, given, _CONFIG, silent).poses if pose is not None]
    assert len(placed) == len(views)
    return placed


def _drift(poses: Sequence[Pose]) -> list[Pose]:
    """Odometry whose heading is off by a degree per step, and its steps by 2 %."""
    drifted = [poses[0]]
    for before, after in pairwise(poses):
        step = before.inverse() @ after
        turned = Pose.from_rotation_vector([0.0, 0.017, 0.0], np.zeros(3)) @ step
        drifted.append(drifted[-1] @ Pose(turned.rotation, 1.02 * step.translation))
    return drifted


def _jitter(poses: Sequence[Pose], rng: np.random.Generator) -> list[Pose]:
    """Odometry whose steps are off by 2 % and 0.02 rad at random."""
    found = [poses[0]]
    for before, after in pairwise(poses):
        step = before.inverse() @ after
        off = Pose.from_rotation_vector(
            rng.normal(0.0, 0.02, 3), rng.normal(0.0, 0.02, 3) * np.linalg.norm(step.translation)
        )
        found.append(found[-1] @ step @ off)
    return found


def _bending(placed: Sequence[Pose], truth: Sequence[Pose]) -> float:
    """Largest error of a pose relative to the first one, metres."""
    return max(
        (placed[0].inverse() @ one).distance_to(truth[0].inverse() @ other)[0]
        for one, other in zip(placed, truth, strict=True)
    )


def test_images_take_the_drift_out_of_odometry() -> None:
    scene = make_posed_points(images=16, points=300)
    odometry = _drift(scene.poses)
    assert _bending(odometry, scene.poses) > 0.3
    # the scale of its steps is all that only odometry knows: 2 % of 3 m
    assert _bending(_place(scene, odometry, _ODOMETRY), scene.poses) < 0.08


def test_a_map_bends_as_much_as_it_says() -> None:
    """Of errors of keypoints and of a calibration, both anew in each map."""
    errors, bending = [], []
    for seed in range(5):
        scene = make_posed_points(images=8, points=300, noise_px=0.5, seed=seed)
        rng = np.random.default_rng(seed)
        focal_px, *rest = CAMERA.parameters
        off = rng.normal(0.0, (0.001 * focal_px, 1.0, 1.0, 2e-3))
        believed = replace(CAMERA, parameters=tuple(np.add(off, (focal_px, *rest))))
        views = [
            ExtractedImage(replace(image, map_from_camera=pose), found, believed.unproject(found.xy))
            for image, pose, found in zip(scene.images(), _jitter(scene.poses, rng), scene.features, strict=True)
        ]
        placement = place_by_measurements(views, _ODOMETRY, _CONFIG, silent)
        placed = [pose for pose in placement.poses if pose is not None]
        centre = np.mean([pose.translation for pose in scene.poses], axis=0)
        moves = np.concatenate([frame_jacobian(pose.translation - centre)[:6] for pose in scene.poses])
        to_truth = Similarity.fit_poses(placed, scene.poses, with_scale=False)
        placed = [to_truth.apply_to_pose(pose) for pose in placed]
        off = np.concatenate([one.error_to(pose) for one, pose in zip(placed, scene.poses, strict=True)])
        errors.append((off - moves @ np.linalg.lstsq(moves, off, rcond=None)[0]).reshape(-1, 6))
        bending.append(placement.bending)
    found, expected = np.sqrt(np.mean(np.square(errors), axis=(0, 1))), np.sqrt(np.mean(bending, axis=0))
    assert (found / expected).tolist() == [pytest.approx(1.0, abs=0.5)] * 6, found / expected


def test_odometry_carries_images_over_what_shows_nothing() -> None:
    scene = make_posed_points(images=12, points=250)
    dark = [Features.empty(128) if k in (7, 8) else found for k, found in enumerate(scene.features)]
    placed = _place(scene, scene.poses, _ODOMETRY, features=dark)
    assert _bending(placed, scene.poses) < 0.05


def test_a_noisy_survey_is_smoothed_and_its_frame_kept() -> None:
    scene, rng = make_posed_points(images=16, points=300), np.random.default_rng(1)
    noisy = [Pose(pose.rotation, pose.translation + rng.normal(0, 0.05, 3)) for pose in scene.poses]
    placed = _place(scene, noisy, _SURVEY)
    before_m, after_m = (
        np.median([pose.distance_to(truth)[0] for pose, truth in zip(poses, scene.poses, strict=True)])
        for poses in (noisy, placed)
    )
    assert after_m < 0.5 * before_m


def test_places_that_look_alike_are_not_glued_together() -> None:
    """The same row of images twice, 30 m apart: every pair across the gap has a perfect relative pose."""
    scene = make_posed_points(images=10, points=250)
    away: Array = np.array([30.0, 0.0, 0.0])
    twice = replace(
        scene,
        poses=(*scene.poses, *(Pose(pose.rotation, pose.translation + away) for pose in scene.poses)),
        features=scene.features * 2,
        point_of_keypoint=scene.point_of_keypoint * 2,
    )
    assert _bending(_place(twice, twice.poses, _ODOMETRY), twice.poses) < 0.3


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("reversed", _ODOMETRY),
        ("turned", _SURVEY),
        pytest.param("turned", _ODOMETRY, marks=pytest.mark.slow),
        pytest.param("reversed", _SURVEY, marks=pytest.mark.slow),
    ],
)
def test_poses_of_another_trajectory_are_refused(what: str, given: GivenPoses) -> None:
    scene = make_posed_points(images=12, points=250)
    poses = scene.poses[::-1]
    if what == "turned":
        turns = [Pose.from_rotation_vector([0.0, 0.5 * k, 0.0], np.zeros(3)) for k in range(12)]
        poses = tuple(pose @ turn for pose, turn in zip(scene.poses, turns, strict=True))
    with pytest.raises(MapError, match=r"contradict the images: \d+ of \d+ pairs"):
        _place(scene, poses, given)


def test_a_camera_that_also_turned_on_the_spot_is_placed() -> None:
    scene = make_posed_points(images=12, points=250)
    spot = scene.poses[6]
    stopped = [spot if k in (6, 7) else pose for k, pose in enumerate(scene.poses)]
    features = [scene.features[6] if k == 7 else found for k, found in enumerate(scene.features)]
    placed = _place(scene, _drift(stopped), _ODOMETRY, features=features)
    assert _bending(placed, stopped) < 0.08


def _with_positions(images: Sequence[PosedImage], poses: Sequence[Pose], std_m: float) -> list[PosedImage]:
    noise = np.random.default_rng(2).normal(0, std_m, (len(poses), 3))
    return [
        replace(image, position=MeasuredPosition(pose.translation + one, np.repeat(std_m, 3)))
        for image, pose, one in zip(images, poses, noise, strict=True)
    ]


_LYING = Pose.from_rotation_vector([-np.pi / 2, 0.0, 0.0], np.zeros(3))  # optical axes, z up


def _level_row(*, images: int = 12, points: int = 250) -> tuple[PosedPoints, list[Pose]]:
    """Cameras exactly along x of a level frame, and their poses there."""
    scene = make_posed_points(images=images, points=points)
    return scene, [_LYING @ pose for pose in scene.poses]


def test_positions_move_level_odometry_into_their_frame() -> None:
    """Along a straight line, where positions alone would let the map roll about it."""
    scene, level = _level_row()
    east = Pose.from_rotation_vector([0.0, 0.0, 2.0], [500.0, 300.0, 20.0])
    truth = [east @ pose for pose in level]
    images = _with_positions(scene.images(), truth, 0.3)
    placed = _place(scene, _drift(level), _ODOMETRY, images=images)
    errors = np.array([one.distance_to(pose) for one, pose in zip(placed, truth, strict=True)])
    assert np.median(errors[:, 0]) < 0.3
    rolls = [one.error_to(pose)[3:] @ east.rotation[:, 0] for one, pose in zip(placed, truth, strict=True)]
    assert np.abs(np.median(rolls)) < 0.1


def test_gravity_levels_tilted_odometry() -> None:
    scene, level = _level_row()
    tilt = Pose.from_rotation_vector([0.35, 0.0, 0.0], np.zeros(3))
    images = [
        replace(image, gravity=MeasuredGravity(DOWN @ pose.rotation, 0.01))
        for image, pose in zip(scene.images(), level, strict=True)
    ]
    placed = _place(scene, [tilt @ pose for pose in level], _ODOMETRY, images=images)
    downs = [one.rotation @ pose.rotation.T @ DOWN for one, pose in zip(placed, level, strict=True)]
    tilts = [np.arctan2(np.linalg.norm(np.cross(DOWN, down)), DOWN @ down) for down in downs]
    assert max(tilts) < 0.03


def test_positions_are_those_of_the_images_where_clocks_differ() -> None:
    """Camera and odometry differ by 0.1 s, and positions have odometry's clock."""
    scene, level = _level_row(images=20, points=400)
    step_ns, late_ns = 10**8, 10**8
    true_path = Trajectory(np.arange(len(level)) * step_ns, tuple(level))

    def by_odometry(stamp_ns: int) -> Pose | None:
        return true_path.interpolate(stamp_ns - late_ns)

    first = 2
    kept = list(range(first, len(level)))
    images = [
        replace(
            image,
            stamp_ns=k * step_ns,
            map_from_camera=by_odometry(k * step_ns),
            position=MeasuredPosition(level[k - 1].translation, np.repeat(0.02, 3)),
        )
        for k, image in zip(kept, [scene.images()[k] for k in kept], strict=True)
    ]
    views = [
        ExtractedImage(image, scene.features[k], CAMERA.unproject(scene.features[k].xy))
        for k, image in zip(kept, images, strict=True)
    ]
    placement = place_by_measurements(views, GivenPoses(drifting=True, camera_path=by_odometry), _CONFIG, silent)
    assert placement.time_offset_s == pytest.approx(0.1, abs=0.02)
    errors_m = [one.distance_to(level[k])[0] for k, one in zip(kept, placement.poses, strict=True) if one is not None]
    assert np.median(errors_m) < 0.05


def test_positions_of_another_drive_are_refused() -> None:
    scene = make_posed_points(images=12, points=250)
    images = _with_positions(scene.images(), [Pose(np.eye(3), [0.2 * k, 2.0 * (k % 2), 0.0]) for k in range(12)], 0.02)
    with pytest.raises(MapError, match="positions contradict the images"):
        _place(scene, scene.poses, _ODOMETRY, images=images)


def test_positions_and_gravity_give_images_scale_and_frame() -> None:
    scene = make_posed_points(images=12, points=250)
    up = np.array([0.0, -1.0, 0.0])  # of the row of cameras
    level = Pose.from_rotation_vector([-np.pi / 2, 0.0, 0.0], np.zeros(3))
    truth = [level @ pose for pose in scene.poses]
    images = [
        replace(image, gravity=MeasuredGravity(-up @ pose.rotation, 0.01))
        for image, pose in zip(_with_positions(scene.images(posed=False), truth, 0.02), scene.poses, strict=True)
    ]
    views = [
        ExtractedImage(image, found, CAMERA.unproject(found.xy))
        for image, found in zip(images, scene.features, strict=True)
    ]
    placed = place_by_images(views, MeasuredPositions(), _CONFIG, silent).poses
    errors_m = [one.distance_to(pose)[0] for one, pose in zip(placed, truth, strict=True) if one is not None]
    assert len(errors_m) == len(truth)
    assert np.median(errors_m) < 0.05
