"""Walks through a world: smooth laps past the same places, by another path for every seed."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.pose import Array, Pose
from vloc_ros.simulation.scene import World

CLEARANCE_M = 0.3
_CELL_M = 0.1
_STATION_SPACING_M = 1.4
_STATION_JITTER_M = 0.35
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """A lap of a robot that stays on the floor.

    Attributes:
        stamps_ns: (N,) int64, evenly spaced.
        map_from_base: N poses of the base, z = 0, x forward.
        base_from_camera: where the camera sits.
    """

    stamps_ns: Array
    map_from_base: tuple[Pose, ...]
    base_from_camera: Pose

    @property
    def map_from_camera(self) -> list[Pose]:
        """N poses of the camera."""
        return [pose @ self.base_from_camera for pose in self.map_from_base]


def stamps_at(frames: int, *, rate_hz: float = 10.0, start_ns: int = _NS_PER_S) -> Array:
    """(N,) int64 nanoseconds, evenly spaced."""
    return start_ns + np.round(np.arange(frames) * (_NS_PER_S / rate_hz)).astype(np.int64)


def walk(world: World, frames: int, seed: int, *, height_m: float = 1.4) -> list[Pose]:
    """map_from_camera along one lap of the world, hand-held: looking around, bobbing, a little roll.

    Every seed passes the same stations in the same order, at its own distance, and looks around at its own time.

    Raises:
        InputError: fewer than two frames.
    """
    rng = np.random.default_rng([seed, 4])
    path, heading = _lap(world, frames, rng)
    time = np.linspace(0.0, 1.0, frames) * _length(path)
    yaw = heading + _sway(rng, time, amplitude=0.7, period=3.5)
    pitch = -0.08 + _sway(rng, time, amplitude=0.16, period=4.5)
    roll = _sway(rng, time, amplitude=0.05, period=2.0)
    height = height_m + _sway(rng, time, amplitude=0.12, period=3.0)
    return [
        Pose(_turn(y) @ _looking(p, r), np.array([x[0], x[1], h]))
        for x, y, p, r, h in zip(path, yaw, pitch, roll, height, strict=True)
    ]


def drive(world: World, frames: int, seed: int, *, rate_hz: float = 10.0, camera_height_m: float = 0.6) -> Drive:
    """One lap of a wheeled robot whose camera looks ahead and slightly up, 10 cm before the base's origin.

    Raises:
        InputError: fewer than two frames.
    """
    rng = np.random.default_rng([seed, 5])
    path, heading = _lap(world, frames, rng)
    poses = tuple(Pose(_turn(h), np.array([x[0], x[1], 0.0])) for x, h in zip(path, heading, strict=True))
    base_from_camera = Pose(_looking(0.12, 0.0), np.array([0.1, 0.0, camera_height_m]))
    return Drive(stamps_at(frames, rate_hz=rate_hz), poses, base_from_camera)


def _turn(yaw: float) -> Array:
    return np.asarray(cv2.Rodrigues(np.array([0.0, 0.0, yaw]))[0])


def _looking(pitch: float, roll: float) -> Array:
    """base_from_camera rotation: optical axis along x, `pitch` up, `roll` about the optical axis."""
    ahead = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    up = cv2.Rodrigues(np.array([0.0, -pitch, 0.0]))[0]
    return np.asarray(up @ ahead @ cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0])


def _sway(rng: np.random.Generator, time: Array, *, amplitude: float, period: float) -> Array:
    """A smooth wandering value: two sines of random phase and slightly random period (per metre walked)."""
    total = np.zeros(len(time))
    for share, factor in ((0.7, 1.0), (0.3, 0.37)):
        length = period * factor * rng.uniform(0.8, 1.25)
        total += share * np.sin(2 * np.pi * (time / length + rng.random()))
    return amplitude * total


def _length(path: Array) -> float:
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def _lap(world: World, frames: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """(N, 2) positions evenly along a lap, (N,) headings (radians, unwrapped)."""
    if frames < 2:
        raise InputError(f"a walk of {frames} frames was asked for, expected at least 2")
    grid = _Grid.of(world)
    stations = _jittered(world, _tour(grid, _stations(grid)), rng)
    legs = [grid.path(a, b) for a, b in zip(stations, np.roll(stations, -1, axis=0), strict=True)]
    path = _smooth(world, np.concatenate([leg[:-1] for leg in legs]))
    position = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    start = rng.uniform(0, 0.03) * position[-1]
    at = start + np.linspace(0.0, 0.97, frames) * position[-1]
    ahead = _along(path, position, at + 0.3) - _along(path, position, at - 0.1)
    return _along(path, position, at), np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0]))


def _along(path: Array, position: Array, at: Array) -> Array:
    """(N, 2) points of a closed path at arc lengths `at`."""
    wrapped = np.mod(at, position[-1])
    return np.column_stack([np.interp(wrapped, position, path[:, i]) for i in range(2)])


def _smooth(world: World, path: Array) -> Array:
    """Corners of a closed path rounded as far as the free space allows; the first point is repeated at the end."""
    closed = _resampled(np.vstack([path, path[:1]]), 0.05)[:-1]
    for _ in range(60):
        average = (np.roll(closed, 1, axis=0) + closed + np.roll(closed, -1, axis=0)) / 3
        free = world.is_free(average, margin_m=CLEARANCE_M)
        closed = np.where(free[:, None], average, closed)
    return np.vstack([closed, closed[:1]])


def _resampled(path: Array, step_m: float) -> Array:
    position = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0.0, position[-1], max(3, round(position[-1] / step_m)))
    return np.column_stack([np.interp(at, position, path[:, i]) for i in range(2)])


def _jittered(world: World, stations: Array, rng: np.random.Generator) -> Array:
    moved = stations + rng.uniform(-_STATION_JITTER_M, _STATION_JITTER_M, stations.shape)
    free = world.is_free(moved, margin_m=CLEARANCE_M)
    return np.where(free[:, None], moved, stations)


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Free cells of the floor: (rows, columns) bool, the middle of cell (0, 0), clearance in metres."""

    free: Array
    origin: Array
    clearance: Array

    @staticmethod
    def of(world: World) -> _Grid:
        low = np.array([min(a.x_min for a in world.floors), min(a.y_min for a in world.floors)])
        high = np.array([max(a.x_max for a in world.floors), max(a.y_max for a in world.floors)])
        columns, rows = np.ceil((high - low) / _CELL_M).astype(int) + 1
        x, y = np.meshgrid(low[0] + np.arange(columns) * _CELL_M, low[1] + np.arange(rows) * _CELL_M)
        free = world.is_free(np.column_stack([x.ravel(), y.ravel()]), margin_m=CLEARANCE_M).reshape(rows, columns)
        clearance = cv2.distanceTransform(np.pad(free, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1] * _CELL_M
        number, labels = cv2.connectedComponents(free.astype(np.uint8), connectivity=4)
        largest = 1 + int(np.argmax([np.sum(labels == i) for i in range(1, number)])) if number > 1 else 0
        return _Grid(free & (labels == largest), low, clearance)

    def cell(self, xy: Array) -> tuple[int, int]:
        """The free cell nearest to a point."""
        rows, columns = np.nonzero(self.free)
        centres = self.origin + np.column_stack([columns, rows]) * _CELL_M
        nearest = int(np.argmin(np.linalg.norm(centres - xy, axis=1)))
        return int(rows[nearest]), int(columns[nearest])

    def path(self, start: Array, goal: Array) -> Array:
        """(M, 2) points from `start` to `goal` by free cells (Dijkstra 1959), rather far from what stands around."""
        source, target = self.cell(start), self.cell(goal)
        cost, came_from = {source: 0.0}, {source: source}
        queue = [(0.0, source)]
        while queue:
            spent, cell = heapq.heappop(queue)
            if cell == target:
                break
            for step, length in self._neighbours(cell):
                total = spent + length
                if total < cost.get(step, np.inf):
                    cost[step], came_from[step] = total, cell
                    heapq.heappush(queue, (total, step))
        cells = [target]
        while cells[-1] != source:
            cells.append(came_from[cells[-1]])
        return self.origin + np.array(cells[::-1])[:, ::-1] * _CELL_M

    def _neighbours(self, cell: tuple[int, int]) -> list[tuple[tuple[int, int], float]]:
        found = []
        for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            row, column = cell[0] + dr, cell[1] + dc
            if 0 <= row < self.free.shape[0] and 0 <= column < self.free.shape[1] and self.free[row, column]:
                penalty = 1.0 + 0.3 / (0.1 + self.clearance[row, column])
                found.append(((row, column), float(np.hypot(dr, dc)) * penalty))
        return found


def _stations(grid: _Grid) -> Array:
    """Free places spread over the world, the farthest next (Gonzalez 1985)."""
    rows, columns = np.nonzero(grid.free)
    places = grid.origin + np.column_stack([columns, rows]) * _CELL_M
    chosen = [places[int(np.argmax(grid.clearance[rows, columns]))]]
    distance = np.linalg.norm(places - chosen[0], axis=1)
    while distance.max() > _STATION_SPACING_M and len(chosen) < 40:
        chosen.append(places[int(np.argmax(distance))])
        distance = np.minimum(distance, np.linalg.norm(places - chosen[-1], axis=1))
    return np.array(chosen)


def _tour(grid: _Grid, stations: Array) -> Array:
    """A short round trip: the nearest next, measured along the floor, then crossings removed (2-opt)."""
    lengths = np.array([[_length(grid.path(a, b)) for b in stations] for a in stations])
    order = [0]
    while len(order) < len(stations):
        order.append(min(set(range(len(stations))) - set(order), key=lambda i: lengths[order[-1], i]))
    improved = True
    while improved:
        improved = False
        for i in range(1, len(order) - 1):
            for j in range(i + 1, len(order)):
                a, b, c, d = order[i - 1], order[i], order[j], order[(j + 1) % len(order)]
                if lengths[a, c] + lengths[b, d] < lengths[a, b] + lengths[c, d] - 1e-9:
                    order[i : j + 1] = order[i : j + 1][::-1]
                    improved = True
    return stations[order]
