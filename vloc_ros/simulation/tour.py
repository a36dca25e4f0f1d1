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

"""A round trip through a world's free floor: stations spread over it, and a short path past all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.scene import World

_CELL_M = 0.15
_STATION_SPACING_M = 1.4
_MAX_STATIONS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Tour:
    """A closed path through a world.

    Attributes:
        stations: (S, 2) positions to pass, in order, metres.
        legs: S paths, each (M, 2), metres, from every station to the next; the last leads back to the first.
    """

    stations: Array
    legs: tuple[Array, ...]


@lru_cache(maxsize=16)
def plan_tour(world: World, clearance_m: float) -> Tour:
    """Plan the round trip of a world, at least `clearance_m` from all obstacles; it is the same for every walk.

    Raises:
        InputError: the world has no free floor of that clearance.
    """
    places, graph, room_m = _free_cells(world, clearance_m)
    stations = _spread_stations(places, room_m)
    costs, came_from = dijkstra(graph, indices=stations, return_predecessors=True)
    order = _order_stations(costs[:, stations])
    legs = tuple(
        places[_trace_path(came_from[a], int(stations[a]), int(stations[b]))]
        for a, b in zip(order, np.roll(order, -1), strict=True)
    )
    return Tour(places[stations[order]], legs)


def _trace_path(came_from: Array, source: int, target: int) -> Array:
    cells = [target]
    while cells[-1] != source:
        cells.append(int(came_from[cells[-1]]))
    return np.array(cells[::-1])


def _free_cells(world: World, clearance_m: float) -> tuple[Array, csr_matrix, Array]:
    """The largest connected free floor: (N, 2) cell centres, their graph, (N,) clearance beyond `clearance_m`."""
    low = np.array([[a.x_min, a.y_min] for a in world.floors]).min(axis=0)
    high = np.array([[a.x_max, a.y_max] for a in world.floors]).max(axis=0)
    columns, rows = np.ceil((high - low) / _CELL_M).astype(int) + 1
    x, y = np.meshgrid(low[0] + np.arange(columns) * _CELL_M, low[1] + np.arange(rows) * _CELL_M)
    free = world.is_free(np.column_stack([x.ravel(), y.ravel()]), margin_m=clearance_m).reshape(rows, columns)
    number, labels, sizes, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
    if number < 2:
        raise InputError(f"the world {world.name} has no floor that is {clearance_m} m clear; make another one")
    free = labels == 1 + int(np.argmax(sizes[1:, cv2.CC_STAT_AREA]))
    room_m = cv2.distanceTransform(np.pad(free, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1] * _CELL_M
    return np.column_stack([x[free], y[free]]), _graph(free, room_m), room_m[free]


def _graph(free: Array, room_m: Array) -> csr_matrix:
    """Graph of neighbouring free cells; a step costs its length, and more near obstacles."""
    number = np.cumsum(free.ravel()).reshape(free.shape) - 1
    rows, columns = free.shape
    starts, ends, costs = [], [], []
    for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = slice(0, rows - dr), slice(max(0, -dc), columns - max(0, dc))
        there = slice(dr, rows), slice(max(0, dc), columns - max(0, -dc))
        both = free[here] & free[there]
        starts.append(number[here][both])
        ends.append(number[there][both])
        costs.append(np.hypot(dr, dc) * (1.0 + 0.3 / (0.1 + room_m[here][both])))
    a, b, cost = np.concatenate(starts), np.concatenate(ends), np.concatenate(costs)
    size = int(free.sum())
    return csr_matrix((np.tile(cost, 2), (np.concatenate([a, b]), np.concatenate([b, a]))), shape=(size, size))


def _spread_stations(places: Array, room_m: Array) -> Array:
    """(S,) indices of places that cover all of them by farthest-point sampling (Gonzalez 1985)."""
    chosen = [int(np.argmax(room_m))]
    distance = np.linalg.norm(places - places[chosen[0]], axis=1)
    while distance.max() > _STATION_SPACING_M and len(chosen) < _MAX_STATIONS:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return np.array(chosen)


def _order_stations(costs: Array) -> list[int]:
    """Order of a short round trip over an (S, S) cost matrix: nearest neighbour, then 2-opt."""
    order = [0]
    while len(order) < len(costs):
        order.append(min(set(range(len(costs))) - set(order), key=lambda i: float(costs[order[-1], i])))
    improved = True
    while improved:
        improved = False
        for i in range(1, len(order) - 1):
            for j in range(i + 1, len(order)):
                a, b, c, d = order[i - 1], order[i], order[j], order[(j + 1) % len(order)]
                if costs[a, c] + costs[b, d] < costs[a, b] + costs[c, d] - 1e-9:
                    order[i : j + 1] = order[i : j + 1][::-1]
                    improved = True
    return order
