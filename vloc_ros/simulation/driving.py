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

"""Drives of a car through the streets of a world, there and back if wanted, on the right-hand side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.scene import World

# the camera of a car: height, and how far right of the middle of the street it drives
CAMERA_HEIGHT_M, _LANE_M = 1.65, 1.1
_AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
# above the ground, looking ahead
BASE_FROM_CAMERA = Pose(_AHEAD, np.array([0.0, 0.0, CAMERA_HEIGHT_M]))
_STEP_M, _ROUNDING_M = 0.25, 5.0
_SWAY_M, _SWAY_LENGTH_M = 0.12, 23.0


def plan_route(world: World) -> list[tuple[float, float]]:
    """Corners of a route for `drive_route`: along a single street, or around a town and across it, there and back.

    Raises:
        InputError: the world has no roads.
    """
    _check_roads(world)
    if len(world.roads) == 1:
        return [world.roads[0].start, world.roads[0].end]
    (x0, y0), (x1, y1) = _extent(world)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    # the street across is driven in one direction, the one along in both
    return [(x0, y0), (x1, y0), (x1, y1), (x, y1), (x, y0), (x0, y0), (x0, y), (x1, y), (x1, y0), (x1, y), (x0, y)]


def drive_route(world: World, corners: Sequence[tuple[float, float]], *, spacing_m: float, seed: int) -> list[Pose]:
    """map_from_camera of a camera that looks ahead, every so many metres of a route.

    Args:
        world: with roads.
        corners: places that the route passes in a straight line, such as ends of roads.
        spacing_m: from one image to the next.
        seed: of how the car sways in its lane.

    Raises:
        InputError: the world has no roads, or the route is shorter than two images.
    """
    _check_roads(world)
    path = _rounded(_in_lane(np.array(corners, float)))
    travelled = _travelled(path)
    at = np.arange(0.0, travelled[-1], spacing_m)
    if len(at) < 2:
        raise InputError(f"a route of {travelled[-1]:.1f} m has {len(at)} images {spacing_m:g} m apart, expected two")
    rng = np.random.default_rng([seed, 12])
    phase = rng.uniform(0.0, 2 * np.pi, 2)
    x, y = (np.interp(at, travelled, path[:, k]) for k in range(2))
    ahead = [np.interp(np.minimum(at + 0.5, travelled[-1]), travelled, path[:, k]) for k in range(2)]
    behind = [np.interp(np.maximum(at - 0.5, 0.0), travelled, path[:, k]) for k in range(2)]
    yaw = np.arctan2(ahead[1] - behind[1], ahead[0] - behind[0])
    sway = _SWAY_M * np.sin(2 * np.pi * at / _SWAY_LENGTH_M + phase[0])
    pitch = 0.008 * np.sin(2 * np.pi * at / 7.0 + phase[1])
    return [
        _look(np.array([px - s * np.sin(a), py + s * np.cos(a), CAMERA_HEIGHT_M]), float(a), float(b))
        for px, py, s, a, b in zip(x, y, sway, yaw, pitch, strict=True)
    ]


def route_length(corners: Sequence[tuple[float, float]]) -> float:
    """Metres that `drive_route` drives."""
    return float(_travelled(_rounded(_in_lane(np.array(corners, float))))[-1])


def fly_over(world: World, *, height_m: float, spacing_m: float) -> list[Pose]:
    """map_from_camera of a camera that looks straight down on the streets, in rows as a drone flies them."""
    _check_roads(world)
    low, high = _extent(world)
    down = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    rows = np.arange(low[1], high[1] + spacing_m / 2, spacing_m)
    columns = np.arange(low[0], high[0] + spacing_m / 2, spacing_m)
    return [
        Pose(down, np.array([x, y, height_m]))
        for k, y in enumerate(rows)
        for x in (columns if k % 2 == 0 else columns[::-1])
    ]


def _check_roads(world: World) -> None:
    if not world.roads:
        raise InputError(f"{world.name} has no roads, expected a street or a town")


def _extent(world: World) -> tuple[Array, Array]:
    """(2,) least and (2,) largest coordinates of the ends of its roads."""
    ends = np.array([end for road in world.roads for end in (road.start, road.end)])
    return ends.min(axis=0), ends.max(axis=0)


def _in_lane(corners: Array) -> Array:
    """(N, 2) a polyline moved to the right by the distance of a lane; it turns back beside itself."""
    moved = []
    for start, end in pairwise(corners):
        along = (end - start) / np.linalg.norm(end - start)
        right = _LANE_M * np.array([along[1], -along[0]])
        moved += [start + right + _ROUNDING_M * along * 0.5, end + right - _ROUNDING_M * along * 0.5]
    return np.array(moved)


def _rounded(path: Array) -> Array:
    """(M, 2) points closely along a polyline, its corners rounded."""
    travelled = _travelled(path)
    at = np.arange(0.0, travelled[-1], _STEP_M)
    fine = np.column_stack([np.interp(at, travelled, path[:, k]) for k in range(2)])
    half = round(_ROUNDING_M / 2 / _STEP_M)
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(fine, ((half, half), (0, 0)), mode="edge")
    return np.column_stack([np.convolve(padded[:, k], window / window.sum(), mode="valid") for k in range(2)])


def _travelled(path: Array) -> Array:
    """(N,) metres from the start of (N, 2) points."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])


def _look(position: Array, yaw: float, pitch: float) -> Pose:
    turn = Pose.from_rotation_vector([0.0, 0.0, yaw], np.zeros(3)) @ Pose.from_rotation_vector(
        [0.0, pitch, 0.0], np.zeros(3)
    )
    return Pose(turn.rotation @ _AHEAD, position)
