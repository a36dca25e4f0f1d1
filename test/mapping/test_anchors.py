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

"""Positions and gravity give the frame of a map, say how well, or that they leave it open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.geometry.covariance import is_covariance, squared_mahalanobis_distances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.sources import MeasuredGravity, MeasuredPosition
from vloc_ros.mapping.sfm.anchors import (
    DOWN,
    Anchors,
    align_to_anchors,
    check_positions,
    measured_down,
    position_frame_uncertainty,
)

_LEVER = np.array([0.1, 0.5, -0.2])


def _poses(count: int, bend: float, seed: int = 0) -> list[Pose]:
    """Cameras 1 m apart along x, straight for a bend of 0."""
    rng = np.random.default_rng(seed)
    return [
        Pose.from_rotation_vector(rng.normal(0, 0.5, 3), [k, bend * np.sin(0.4 * k), bend * np.cos(0.7 * k)])
        for k in range(count)
    ]


def _measured(truth: list[Pose], std_m: float, rng: np.random.Generator) -> dict[int, MeasuredPosition]:
    noise = rng.normal(0, std_m, (len(truth), 3))
    return {
        i: MeasuredPosition(pose.apply(_LEVER) + noise[i], np.repeat(std_m, 3), _LEVER) for i, pose in enumerate(truth)
    }


def _gravity(truth: list[Pose]) -> dict[int, MeasuredGravity]:
    return {i: MeasuredGravity(DOWN @ pose.rotation, 0.01) for i, pose in enumerate(truth)}


def _in_another_frame(truth: list[Pose], *, scale: float, rotation_vector: Array) -> list[Pose]:
    turn = Pose.from_rotation_vector(rotation_vector, np.zeros(3))
    moved = Similarity(scale, turn.rotation, np.array([3.0, -8.0, 2.0]))
    return [moved.apply_to_pose(pose) for pose in truth]


@pytest.mark.parametrize(
    ("bend", "scale", "rotation_vector", "gravity"),
    [
        (2.0, 0.3, (0.4, -1.0, 0.7), False),
        (0.0, 0.3, (0.4, -1.0, 0.7), True),
        # odometry is level by convention, and keeps its scale
        (0.0, 1.0, (0.0, 0.0, 2.5), False),
    ],
)
def test_positions_and_gravity_give_the_frame(
    bend: float, scale: float, rotation_vector: tuple[float, float, float], gravity: bool
) -> None:
    truth = _poses(20, bend)
    # the scale of positions of the receiver is exact where the camera turns little about its lever
    anchors = Anchors(positions={i: MeasuredPosition(p.translation, np.full(3, 0.01)) for i, p in enumerate(truth)})
    if gravity:
        anchors = Anchors(positions=anchors.positions, gravity=_gravity(truth))
    poses: list[Pose | None] = [*_in_another_frame(truth, scale=scale, rotation_vector=np.array(rotation_vector))]
    poses[3] = None
    found = align_to_anchors(poses, anchors, with_scale=scale != 1.0)
    for pose, true in zip(poses, truth, strict=True):
        if pose is not None:
            assert found.apply_to_pose(pose).distance_to(true) == pytest.approx((0.0, 0.0), abs=1e-3)


def test_positions_on_a_line_leave_the_frame_of_images_open() -> None:
    truth = _poses(20, 0.0)
    anchors = Anchors(positions=_measured(truth, 0.01, np.random.default_rng(0)))
    with pytest.raises(InputError, match="measure gravity"):
        align_to_anchors(_in_another_frame(truth, scale=2.0, rotation_vector=np.ones(3)), anchors, with_scale=True)


def test_two_positions_are_too_few() -> None:
    truth = _poses(5, 2.0)
    few = Anchors(positions={i: one for i, one in _measured(truth, 0.1, np.random.default_rng(0)).items() if i < 2})
    with pytest.raises(InputError, match="2 of 5 images are placed and have a measured position"):
        align_to_anchors(truth, few, with_scale=True)


def test_positions_that_are_worse_than_they_say_contradict_the_images() -> None:
    truth = _poses(20, 2.0)
    claimed = {
        i: MeasuredPosition(one.position, np.full(3, 0.02), _LEVER)
        for i, one in _measured(truth, 0.2, np.random.default_rng(0)).items()
    }
    with pytest.raises(MapError, match=r"off by more than \d+\.\d times their standard deviation"):
        check_positions(truth, Anchors(positions=claimed))
    check_positions(truth, Anchors(positions=_measured(truth, 0.2, np.random.default_rng(0))))


def test_a_frame_that_is_nearly_level_is_meant_to_be() -> None:
    truth = _poses(10, 1.0)
    gravity = _gravity(truth)
    tilted = _in_another_frame(truth, scale=1.0, rotation_vector=np.array([0.05, 0.0, 0.0]))
    lying = _in_another_frame(truth, scale=1.0, rotation_vector=np.array([np.pi / 2, 0.0, 0.0]))
    np.testing.assert_array_equal(measured_down(tilted, gravity), DOWN)
    np.testing.assert_allclose(measured_down(lying, gravity), [0.0, 1.0, 0.0], atol=1e-9)


def test_the_frame_is_as_uncertain_as_a_fit_to_the_positions() -> None:
    """By Monte Carlo: fit a trajectory of exact shape to positions with noise, again and again."""
    truth, errors, expected = _poses(7, 6.0), [], []
    for seed in range(200):
        measured = _measured(truth, 0.05, np.random.default_rng(seed))
        source = np.array([pose.apply(_LEVER) for pose in truth])
        target = np.array([measured[i].position for i in range(len(truth))])
        fitted = Similarity.fit(source, target, with_scale=True, max_residual=10.0)
        placed = [fitted.apply_to_pose(pose) for pose in truth]
        errors += [one.error_to(pose) for one, pose in zip(placed, truth, strict=True)]
        frame = position_frame_uncertainty(placed, Anchors(positions=measured))
        expected += [frame.at(pose.translation) for pose in placed]
    nees = squared_mahalanobis_distances(np.array(errors), np.array(expected)).mean() / 6
    assert 0.9 < nees < 1.2


def test_positions_that_share_an_error_tell_of_the_frame_as_one() -> None:
    truth = _poses(8, 6.0)
    measured = _measured(truth, 0.2, np.random.default_rng(0))
    shared = {i: replace(one, shared_by=8.0) for i, one in measured.items()}
    own, common = (position_frame_uncertainty(truth, Anchors(positions=one)).covariance for one in (measured, shared))
    # of a turn and the scale something is known beforehand
    np.testing.assert_allclose(common[:3, :3], 8.0 * own[:3, :3], rtol=0.05)
    contradicting = {i: replace(one, std=np.full(3, 0.02)) for i, one in shared.items()}
    with pytest.raises(MapError, match="times their standard deviation"):
        check_positions(truth, Anchors(positions=contradicting))


def test_the_frame_of_a_long_straight_road_has_a_covariance() -> None:
    """Positions that are good along kilometres say much of the heading and nothing of the roll."""
    poses = [Pose(np.eye(3), np.array([k, k, 0.0])) for k in range(600)]
    positions = {i: MeasuredPosition(pose.translation, np.full(3, 0.02)) for i, pose in enumerate(poses)}
    gravity = {i: MeasuredGravity(DOWN, 1.0) for i in range(600)}
    frame = position_frame_uncertainty(poses, Anchors(positions=positions, gravity=gravity))
    assert is_covariance(frame.covariance)
    np.testing.assert_array_equal(frame.covariance, frame.covariance.T)
