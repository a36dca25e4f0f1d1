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

"""Maps with places beside their keyframes, such as LiDAR submaps, numbered by the map that they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.places import Payload, Places
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex

LIDAR = "lidar"


def add_places(landmark_map: LandmarkMap, number: int, *, count: int = 3, encoder: str = "f" * 64) -> LandmarkMap:
    """A map of one scene with places at its first keyframes; place k has the row (number, k), and k + 1 scan points."""
    keyframes, lengths = landmark_map.keyframes, np.arange(1, count + 1)
    scans = np.column_stack([np.full(lengths.sum(), number), np.repeat(np.arange(count), lengths)]).astype(np.float32)
    places = Places(
        tuple(f"{number}/{k}" for k in range(count)),
        np.zeros(count, np.int32),
        keyframes.rotations[:count],
        keyframes.translations[:count],
        np.tile([4.0, 3.0, 2.0], (count, 1)),
        {"scans": Payload(scans, np.concatenate([[0], np.cumsum(lengths)]))},
    )
    rows = np.column_stack([np.full(count, number), np.arange(count)]).astype(np.float32)
    index = RetrievalIndex("submaps", encoder, rows, np.arange(count), modality=LIDAR)
    return replace(landmark_map, places={LIDAR: places}).with_retrieval(index)


def assert_places(landmark_map: LandmarkMap, expected: list[tuple[int, int, str]]) -> None:
    """Check the places of a map: number of the map that each comes from, its own number, and the frame of its scene."""
    places, index = landmark_map.places[LIDAR], landmark_map.retrieval["submaps"]
    assert places.names == tuple(f"{number}/{k}" for number, k, _ in expected)
    assert [landmark_map.scenes[scene].frame_id for scene in places.scenes] == [frame for _, _, frame in expected]
    rows = {int(item): tuple(map(int, row)) for item, row in zip(index.items, index.descriptors, strict=True)}
    assert rows == {item: (number, k) for item, (number, k, _) in enumerate(expected)}
    for item, (number, k, _) in enumerate(expected):
        np.testing.assert_array_equal(places.payloads["scans"].of(item), np.tile([number, k], (k + 1, 1)))
