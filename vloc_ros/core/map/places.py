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

"""Places of a map that are not keyframes: LiDAR submaps, aerial tiles, or whatever else a modality retrieves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array, Pose


@dataclass(frozen=True, slots=True, eq=False)
class Payload:
    """Data of every place in one array: that of place n is `values[offsets[n]:offsets[n + 1]]`.

    Attributes:
        values: (sum, ...) such as the points of LiDAR submaps.
        offsets: (N + 1,) int64.
    """

    values: Array
    offsets: Array

    def of(self, place: int) -> Array:
        """The data of a place."""
        return np.asarray(self.values[self.offsets[place] : self.offsets[place + 1]])


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The places of one modality.

    Attributes:
        names: N names.
        scenes: (N,) int32 scene of the map that each is in.
        rotations: (N, 3, 3) float64 rotations of scene_from_place.
        translations: (N, 3) float64 translations of scene_from_place, metres from the origin of its scene.
        extents: (N, 3) float64 size along the place's own axes, metres.
        payloads: data of the places by name.
    """

    names: tuple[str, ...]
    scenes: Array
    rotations: Array
    translations: Array
    extents: Array
    payloads: Mapping[str, Payload] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.names)
        expected = {"scenes": (n,), "rotations": (n, 3, 3), "translations": (n, 3), "extents": (n, 3)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise MapError(
                    f"a map has {n} places but {name} of shape {getattr(self, name).shape}, expected {shape}; "
                    "build it again"
                )
        for name, payload in self.payloads.items():
            offsets = payload.offsets
            if offsets.shape != (n + 1,) or offsets[0] != 0 or (np.diff(offsets) < 0).any():
                raise MapError(f"a map's places have {name} with offsets that do not fit them; build it again")
            if offsets[-1] != len(payload.values):
                raise MapError(
                    f"a map's places have {len(payload.values)} {name}, expected {offsets[-1]}; build it again"
                )

    def __len__(self) -> int:
        return len(self.names)

    def pose(self, place: int) -> Pose:
        """scene_from_place."""
        return Pose(self.rotations[place], self.translations[place])

    def in_scene(self, scene: int) -> Places:
        """The places of one scene, as of a map of that scene alone."""
        kept = np.flatnonzero(self.scenes == scene)
        return Places(
            tuple(self.names[k] for k in kept),
            np.zeros(len(kept), np.int32),
            self.rotations[kept],
            self.translations[kept],
            self.extents[kept],
            {name: _some(payload, kept) for name, payload in self.payloads.items()},
        )


def _some(payload: Payload, kept: Array) -> Payload:
    parts = [payload.of(int(k)) for k in kept]
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return Payload(np.concatenate([payload.values[:0], *parts]), offsets)


def merge_places(places: list[Places], first_scenes: list[int]) -> Places:
    """The places of several maps as those of one; their payloads have the same names.

    Args:
        places: of one modality, at least one.
        first_scenes: what the first scene of each map is numbered in the merged map.

    Raises:
        MapError: their payloads differ.
    """
    kinds = {tuple(sorted(one.payloads)) for one in places}
    if len(kinds) > 1:
        raise MapError(f"the maps' places hold different data ({kinds}), expected the same; build them alike")
    return Places(
        tuple(name for one in places for name in one.names),
        np.concatenate([one.scenes + np.int32(first) for one, first in zip(places, first_scenes, strict=True)]),
        np.concatenate([one.rotations for one in places]),
        np.concatenate([one.translations for one in places]),
        np.concatenate([one.extents for one in places]),
        {name: _merge_payloads([one.payloads[name] for one in places]) for name in places[0].payloads},
    )


def _merge_payloads(payloads: list[Payload]) -> Payload:
    firsts = np.cumsum([0, *(len(payload.values) for payload in payloads)])
    offsets = [payload.offsets[:-1] + first for payload, first in zip(payloads, firsts, strict=False)]
    return Payload(np.concatenate([p.values for p in payloads]), np.concatenate([*offsets, firsts[-1:]]))
