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

"""Bundle adjustment of a structure whose images have measured motions, by GTSAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import gtsam
import numpy as np
from gtsam.symbol_shorthand import L, X

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import Progress, silent
from vloc_ros.mapping.sfm.anchors import Anchors
from vloc_ros.mapping.sfm.factors import frame_factors, from_gtsam, relative_factor, to_gtsam
from vloc_ros.mapping.sfm.keypoint_factors import KeypointObservation, observations
from vloc_ros.mapping.sfm.map_bending import BENT_IMAGES, bending_of_poses, joint_covariance, keypoint_spread
from vloc_ros.mapping.sfm.measurements import RelativePose
from vloc_ros.mapping.sfm.structure import Structure

# of the loss, in standard deviations
MEASUREMENT_WIDTH = 1.5
_MAX_ITERATIONS = 15
# before points are triangulated anew
_ROUGH_ITERATIONS = 5
# a smaller part of the error by which it falls is not worth another iteration
_ENOUGH = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Adjusted:
    """Adjusted poses.

    Attributes:
        poses: of every image.
        bending: (6,) median variances of a pose about where a shift, a turn and a scale of all of them would have it,
            order x y z rx ry rz in the axes of the map (metres², radians²).
    """

    poses: list[Pose]
    bending: Array = field(default_factory=lambda: np.zeros(6))


def adjust(
    structure: Structure,
    rays: Sequence[Array],
    cameras: Sequence[Camera],
    motions: Sequence[RelativePose],
    anchors: Anchors,
    progress: Progress,
) -> Adjusted:
    """The poses that agree best with keypoints and measurements.

    Args:
        structure: all images have poses.
        rays: (K, 3) rays with z = 1 of each image's keypoints.
        cameras: of each image.
        motions: measured.
        anchors: in the frame of the structure.
        progress: shows the iterations, of which the last ones may not be needed.
    """
    measured = _measurement_factors(structure, motions, anchors)
    observed = list(observations(structure, rays, cameras))
    found = _optimize_structure(structure, measured, observed, progress, iterations=_MAX_ITERATIONS)
    adjusted = _poses_of(found, len(structure.poses))
    chosen = np.linspace(0, len(adjusted) - 1, min(len(adjusted), BENT_IMAGES)).round().astype(int)
    spread = keypoint_spread(observed, found, freedom=3 * len(structure.points) + 6 * len(adjusted))
    joint = joint_covariance(measured, observed, found, chosen, spread=spread)
    return Adjusted(adjusted, bending_of_poses(joint, [adjusted[i] for i in chosen]))


def adjust_roughly(
    structure: Structure,
    rays: Sequence[Array],
    cameras: Sequence[Camera],
    motions: Sequence[RelativePose],
    anchors: Anchors,
) -> list[Pose]:
    """The poses after a few iterations, from which points are triangulated anew; see `adjust`."""
    measured = _measurement_factors(structure, motions, anchors)
    observed = list(observations(structure, rays, cameras))
    found = _optimize_structure(structure, measured, observed, silent, iterations=_ROUGH_ITERATIONS)
    return _poses_of(found, len(structure.poses))


def _measurement_factors(
    structure: Structure, motions: Sequence[RelativePose], anchors: Anchors
) -> list[gtsam.NonlinearFactor]:
    first = structure.poses[0]
    assert first is not None
    factors = frame_factors(anchors, first, MEASUREMENT_WIDTH)
    return factors + [relative_factor(motion, MEASUREMENT_WIDTH) for motion in motions]


def _optimize_structure(
    structure: Structure,
    measured: Sequence[gtsam.NonlinearFactor],
    observed: Sequence[KeypointObservation],
    progress: Progress,
    *,
    iterations: int,
) -> gtsam.Values:
    poses = [pose for pose in structure.poses if pose is not None]
    assert len(poses) == len(structure.poses)
    graph = gtsam.NonlinearFactorGraph()
    for factor in [*measured, *(one.of_calibrated() for one in observed)]:
        graph.add(factor)
    return optimize(graph, initial_values(poses, structure.points), progress, iterations=iterations)


def _poses_of(values: gtsam.Values, count: int) -> list[Pose]:
    return [from_gtsam(values.atPose3(X(number))) for number in range(count)]


def initial_values(poses: Sequence[Pose], points: Array) -> gtsam.Values:
    """Poses X and points L as variables."""
    values = gtsam.Values()
    for number, pose in enumerate(poses):
        values.insert(X(number), to_gtsam(pose))
    for number, point in enumerate(points):
        values.insert(L(number), point)
    return values


def optimize(
    graph: gtsam.NonlinearFactorGraph,
    values: gtsam.Values,
    progress: Progress,
    *,
    description: str = "bundle adjustment",
    iterations: int = _MAX_ITERATIONS,
) -> gtsam.Values:
    """By Levenberg-Marquardt, until the error hardly falls."""
    optimizer = gtsam.LevenbergMarquardtOptimizer(graph, values, gtsam.LevenbergMarquardtParams())
    error = optimizer.error()
    for _ in progress(range(iterations), description=description):
        optimizer.iterate()
        before, error = error, optimizer.error()
        if before - error < _ENOUGH * before:
            break
    return optimizer.values()
