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

"""Simulated worlds for fitting, choosing and reporting the decision: no world serves two purposes.

Each frame is rendered once, by day, and stored; darkness, dusk, night and motion blur are made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.lighting import DUSK, NIGHT, blur_by_motion, relight, underexpose
from vloc_ros.simulation.scenario import Lap, make_lap
from vloc_ros.simulation.world import make_aliased_world, make_variant, make_world

CONDITIONS = ("day", "dusk", "night", "dark", "blur")
KINDS = ("room", "corridor", "yard", "apartment")
MAP_FRAMES = {"room": 50, "corridor": 60, "yard": 60, "apartment": 90}
# how much the rooms of a building that are furnished alike differ, see `make_variant`
DIFFERENCES = (0.1, 0.25, 0.5)


@dataclass(frozen=True, slots=True)
class Split:
    """Worlds of one purpose.

    Attributes:
        name: of the purpose.
        seed: of its first world; the others follow.
        maps: number of maps.
        own_frames: queries of each mapped world.
        aliased_frames: queries of a world that looks like each mapped one.
        foreign_worlds: number of other worlds.
        foreign_frames: images of each of them; every one by day and in one other condition, or in all.
        all_conditions: of foreign images.
        maps_per_frame: how many maps each foreign query is compared with; a third of them with a prior.
    """

    name: str
    seed: int
    maps: int
    own_frames: int
    aliased_frames: int
    foreign_worlds: int
    foreign_frames: int
    all_conditions: bool
    maps_per_frame: int

    def foreign_conditions(self, number: int) -> Sequence[int]:
        """Of a foreign image, as numbers of `CONDITIONS`."""
        return range(len(CONDITIONS)) if self.all_conditions else (0, 1 + number % (len(CONDITIONS) - 1))

    @property
    def mapped_seeds(self) -> range:
        """Of the worlds that have maps."""
        return range(self.seed, self.seed + self.maps)

    @property
    def foreign_seeds(self) -> range:
        """Of the worlds that have none."""
        return range(self.seed + 500, self.seed + 500 + self.foreign_worlds)


SPLITS = {
    split.name: split
    for split in (
        Split("fit", 7000, 12, 30, 30, 16, 25, False, 3),
        Split("choose", 8000, 12, 0, 40, 30, 17, True, 12),
        Split("report", 9000, 12, 20, 20, 20, 13, False, 6),
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class MappedWorld:
    """A world with a map, and what its map is queried by.

    Attributes:
        scenes: laps to build the map from, one for each scene: two rooms furnished alike, or one world.
        own: queries of the first scene.
        aliased: queries of a world that looks like it and is not in the map.
        furnished_alike: whether that world, like the second scene, is a room furnished alike, which can hardly be
            distinguished; else it has another layout and some of the same products.
    """

    scenes: tuple[Lap, ...]
    own: Lap | None
    aliased: Lap | None
    furnished_alike: bool


@lru_cache(maxsize=4)
def make_mapped_world(split: Split, number: int) -> MappedWorld:
    """One of the worlds of a split that have maps."""
    seed, kind = split.mapped_seeds[number], KINDS[number % len(KINDS)]
    world = make_world(kind, seed)
    alike = number // len(KINDS) % 2 == 1 and kind != "apartment"
    different = DIFFERENCES[number % len(DIFFERENCES)]
    scenes = [make_variant(world, copy, different=different) for copy in (1, 2)] if alike else [world]
    other = make_variant(world, 3, different=different) if alike else make_aliased_world(world, seed)
    return MappedWorld(
        tuple(make_lap(scene, MAP_FRAMES[kind], 10 * seed + k) for k, scene in enumerate(scenes)),
        make_lap(scenes[0], split.own_frames, 10 * seed + 5) if split.own_frames else None,
        make_lap(other, split.aliased_frames, 10 * seed + 6) if split.aliased_frames else None,
        alike,
    )


@lru_cache(maxsize=4)
def make_foreign_lap(split: Split, number: int) -> Lap:
    """A lap of one of the worlds that have no map."""
    seed = split.foreign_seeds[number]
    return make_lap(make_world(KINDS[seed % len(KINDS)], seed), split.foreign_frames, 10 * seed + 7)


def load_frame(lap: Lap, number: int, folder: Path) -> Array:
    """A frame by day, (H, W, 3) uint8 BGR; rendered once and kept below a folder."""
    path = folder / f"{lap.world.name}-{lap.seed}" / lap.name(number)
    if path.exists() and (image := cv2.imread(str(path))) is not None:
        return np.asarray(image)
    image = lap.image(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.png")
    cv2.imwrite(str(unfinished), image)
    unfinished.replace(path)
    return image


def degrade(image: Array, condition: str, seed: int) -> Array:
    """An image by day as it would be in another condition, of random severity."""
    rng = np.random.default_rng([seed, 11])
    if condition == "dusk" or condition == "night":
        return relight(image, DUSK if condition == "dusk" else NIGHT, seed)
    if condition == "dark":
        return underexpose(
            image,
            float(np.exp(rng.uniform(np.log(1 / 80), np.log(1 / 4)))),
            full_well=float(np.exp(rng.uniform(np.log(3000), np.log(20000)))),
            read_noise=float(rng.uniform(1.5, 8.0)),
            vignetting=float(rng.uniform(0.1, 0.6)),
            seed=seed,
        )
    if condition == "blur":
        return blur_by_motion(image, float(rng.uniform(3.0, 33.0)), float(rng.uniform(0.0, np.pi)))
    return image
