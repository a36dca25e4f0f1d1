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

"""Views of simulated worlds, whose depth is exact: a walk by day, and another one in any light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from training.iterative_matching.config import DataConfig
from training.iterative_matching.views import PosedGeometry, View, make_view, sample_depth
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.lighting import DAY, DUSK, NIGHT, Lighting
from vloc_ros.simulation.render import render_depth
from vloc_ros.simulation.scenario import DEFAULT_CAMERA, Lap, make_lap
from vloc_ros.simulation.world import make_world

# a town takes a hundred times as long as a room
KINDS = ("room", "apartment", "corridor", "yard", "street")
# between the pixels that tell what two frames share; depths that differ by less, relative, are of one surface
_GRID_PX, _SAME_DEPTH = 24, 0.05
TRAINING_SEED, HELD_OUT_SEED = 61_000, 62_000


def list_worlds(count: int, first_seed: int) -> list[tuple[str, int]]:
    """Kinds and seeds of so many worlds, the kinds in turn."""
    return [(KINDS[number % len(KINDS)], first_seed + number) for number in range(count)]


class WorldViews:
    """A `ViewSource` of simulated worlds, each a scene."""

    def __init__(self, worlds: Sequence[tuple[str, int]], config: DataConfig, extractor: Mapping[str, Any]) -> None:
        """Views of worlds.

        Args:
            worlds: kind and seed of each.
            config: of the data.
            extractor: its configuration, as JSON types.
        """
        self._worlds, self._config = tuple(worlds), config
        self.scenes: Array = np.repeat(np.arange(len(worlds)), 2 * config.frames)
        self.places: Array = self.scenes
        self.pairs: Array | None = None
        self.description = {
            "source": "simulated worlds",
            "worlds": [list(world) for world in worlds],
            "light": [config.dusk, config.night],
            "frames": config.frames,
            "keypoints": config.keypoints,
            "extractor": dict(extractor),
        }

    def make(self, index: int, extractor: Extractor, *, version: int) -> View:
        """A rendered image; of another version it has other noise."""
        world, rest = divmod(index, 2 * self._config.frames)
        walk, frame = divmod(rest, self._config.frames)
        kind, seed = self._worlds[world]
        lap = _make_lap(kind, seed, walk, self._config.frames, self._draw_light(seed) if walk else DAY)
        if version:
            lap = Lap(
                lap.world, lap.camera, lap.lighting, lap.map_from_camera, lap.stamps_ns, lap.seed + 7919 * version
            )
        features, pose = extractor.extract(lap.image(frame)), lap.map_from_camera[frame]
        depth = sample_depth(render_depth(lap.world, lap.camera, pose), features.xy)
        geometry = PosedGeometry(lap.camera, pose, depth)
        return make_view(features, (lap.camera.width, lap.camera.height), geometry, keypoints=self._config.keypoints)

    def _draw_light(self, seed: int) -> Lighting:
        share = np.random.default_rng([seed, 26]).uniform()
        if share < self._config.night:
            return NIGHT
        return DUSK if share < self._config.night + self._config.dusk else DAY


def shared_shares(lap: Lap) -> Array:
    """(N, N) share of the pixels of each frame of a lap that each other frame shows, by exact depth."""
    camera = lap.camera
    x, y = np.meshgrid(
        np.arange(_GRID_PX / 2, camera.width, _GRID_PX), np.arange(_GRID_PX / 2, camera.height, _GRID_PX)
    )
    xy = np.column_stack([x.ravel(), y.ravel()])
    depths = [render_depth(lap.world, camera, pose) for pose in lap.map_from_camera]
    rays, (column, row) = camera.unproject(xy), xy.astype(np.intp).T
    found = np.zeros((len(lap), len(lap)))
    for i, (pose, depth) in enumerate(zip(lap.map_from_camera, depths, strict=True)):
        known = np.isfinite(depth[row, column])
        points = pose.apply(rays[known] * depth[row, column][known, None])
        for j, (other, other_depth) in enumerate(zip(lap.map_from_camera, depths, strict=True)):
            there = other.inverse().apply(points)
            pixels = camera.project(there)
            inside = camera.contains(pixels)
            at = pixels[inside].astype(np.intp)
            agrees = np.abs(other_depth[at[:, 1], at[:, 0]] / there[inside, 2] - 1) < _SAME_DEPTH
            found[i, j] = agrees.sum() / len(xy)
    return found


@lru_cache(maxsize=16)
def _make_lap(kind: str, seed: int, walk: int, frames: int, lighting: Lighting) -> Lap:
    return make_lap(make_world(kind, seed), frames, 2 * seed + walk, camera=DEFAULT_CAMERA, lighting=lighting)
