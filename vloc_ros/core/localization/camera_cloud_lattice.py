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

"""Positions and headings from which a camera's cloud may have been seen, on a lattice, all compared at once.

Which way is down is known from odometry, so that position and heading are left. They are compared in a grid of the
map's points, as correlative scan matching does (Olson, ICRA 2009).
"""

from __future__ import annotations

import numpy as np

from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_alignment import LEAST_POINTS
from vloc_ros.core.localization.occupancy_grid import OccupancyGrid

_YAWS, _STEP_CELLS = 36, 2
_COMPARED, _CERTAIN_CELLS = 300, 1.5
_MOST_POSITIONS, _CONSIDERED = 300_000, 100_000
_CHOSEN, _SAME_CELLS, _SAME_YAW_RAD = 30, 3.0, 0.2


def make_lattice(centres: Array, *, reach_m: float, reach_up_m: float, cell_m: float) -> Array:
    """(P, 3) int64 positions around some (N, 3) places, in cells from the scene's origin, each once.

    Args:
        centres: metres.
        reach_m: horizontal distance of the positions from the next place at most.
        reach_up_m: how far above and below the places positions are needed; one is within half a step of each height.
        cell_m: size of a cell.

    Raises:
        InputError: they are too many.
    """
    step_m = _STEP_CELLS * cell_m
    across, up = int(np.ceil(reach_m / step_m)), max(int(np.ceil(reach_up_m / step_m - 0.5)), 1)
    _check_count((2 * across + 1) ** 2 * (2 * up + 1), reach_m)
    offsets = np.mgrid[-across : across + 1, -across : across + 1, -up : up + 1].reshape(3, -1).T
    offsets = offsets[np.hypot(offsets[:, 0], offsets[:, 1]) <= max(reach_m / step_m, 1.0)]
    around = np.unique(np.round(centres / step_m).astype(np.int64), axis=0)[:, None] + offsets
    positions = np.unique(around.reshape(-1, 3), axis=0)
    _check_count(len(positions), reach_m)
    return np.asarray(_STEP_CELLS * positions)


def compare_on_lattice(
    grid: OccupancyGrid, cloud: CameraCloud, odom_from_camera: Array, lattice: Array, rng: np.random.Generator
) -> list[Pose]:
    """The poses, scene_from_camera, at which most points lie on surfaces, best first and of different hypotheses.

    Args:
        grid: of the scene's points.
        cloud: in the optical frame.
        odom_from_camera: (3, 3) rotation of the optical frame in a frame whose z axis points up.
        lattice: positions, see `make_lattice`.
        rng: draws the points that are compared.
    """
    points = _choose_certain(cloud, rng, cell_m=grid.cell_m)
    turns = [_turn(yaw) @ odom_from_camera for yaw in np.arange(_YAWS) * 2 * np.pi / _YAWS]
    scores = np.stack([grid.count(points @ turn.T, lattice) for turn in turns])
    yaws, rows = np.unravel_index(_choose_best(scores), scores.shape)
    chosen = list[tuple[int, Array]]()
    while len(yaws) and len(chosen) < _CHOSEN:
        yaw, position = int(yaws[0]), lattice[rows[0]]
        chosen.append((yaw, position))
        turn = np.abs((yaws - yaw + _YAWS // 2) % _YAWS - _YAWS // 2) * 2 * np.pi / _YAWS
        apart = np.linalg.norm(lattice[rows] - position, axis=1) > _SAME_CELLS
        kept = apart | (turn > _SAME_YAW_RAD)
        yaws, rows = yaws[kept], rows[kept]
    return [Pose(turns[yaw], position * grid.cell_m) for yaw, position in chosen]


def _choose_certain(cloud: CameraCloud, rng: np.random.Generator, *, cell_m: float) -> Array:
    """(N, 3) points to compare, those that are certain to a cell or two where there are enough."""
    certain = np.flatnonzero(cloud.stds_m < _CERTAIN_CELLS * cell_m)
    if len(certain) < LEAST_POINTS:
        certain = np.argsort(cloud.stds_m)[:LEAST_POINTS]
    return np.asarray(cloud.points[rng.choice(certain, min(_COMPARED, len(certain)), replace=False)])


def _choose_best(scores: Array) -> Array:
    """(N,) indices of the most of (Y, P) scores that are considered, best first, in their order where they are equal.

    Only what may be among them is sorted: all scores together are tens of millions.
    """
    counts = np.zeros(int(scores.max(initial=0)) + 1, np.int64)
    for row in scores:
        counts += np.bincount(row, minlength=len(counts))
    at_least = np.cumsum(counts[::-1])[::-1]
    least = int(np.flatnonzero(at_least >= min(_CONSIDERED, scores.size)).max(initial=0))
    flat = scores.ravel()
    candidates = np.flatnonzero(flat >= least)
    return np.asarray(candidates[np.argsort(-flat[candidates].astype(np.int32), kind="stable")][:_CONSIDERED])


def _check_count(positions: int, reach_m: float) -> None:
    if positions > _MOST_POSITIONS:
        raise InputError(
            f"{positions} positions lie within {reach_m:g} m of the places of the map, expected {_MOST_POSITIONS} at "
            "most; reduce the reach, horizontally or vertically, or cut the map"
        )


def _turn(yaw: float) -> Array:
    return Pose.from_rotation_vector([0.0, 0.0, yaw], np.zeros(3)).rotation
