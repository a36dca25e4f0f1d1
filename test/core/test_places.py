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

"""Places of a map: their parts by scene, merged, and maps of places alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import SyntheticScene

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import MapError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.places import Payload, Places, merge_places
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.mapping.maps.compress import PointRanking


def _places(scenes: list[int], seed: int = 0, payload: str = "points") -> Places:
    """Places with a payload of as many points as their number in the list; the first has none."""
    n, rng = len(scenes), np.random.default_rng(seed)
    rotations = [Pose.from_rotation_vector(rng.normal(size=3), np.zeros(3)).rotation for _ in range(n)]
    offsets = np.cumsum([0, *range(n)])
    return Places(
        tuple(f"{seed}/{k}" for k in range(n)),
        np.array(scenes, np.int32),
        np.reshape(rotations, (n, 3, 3)),
        rng.normal(size=(n, 3)),
        rng.uniform(1, 9, (n, 3)),
        {payload: Payload(rng.normal(size=(offsets[-1], 3)).astype(np.float32), offsets)},
    )


def _assert_same_place(first: Places, a: int, second: Places, b: int) -> None:
    assert first.names[a] == second.names[b]
    np.testing.assert_array_equal(first.pose(a).matrix, second.pose(b).matrix)
    np.testing.assert_array_equal(first.extents[a], second.extents[b])
    np.testing.assert_array_equal(first.payloads["points"].of(a), second.payloads["points"].of(b))


def test_the_places_of_one_scene() -> None:
    places = _places([1, 0, 2, 1, 1])
    part = places.in_scene(1)
    assert part.scenes.tolist() == [0, 0, 0]
    for own, whole in enumerate([0, 3, 4]):
        _assert_same_place(part, own, places, whole)
    nothing = places.in_scene(7)
    assert (len(nothing), nothing.payloads["points"].values.shape) == (0, (0, 3))


def test_merged_places_are_in_the_scenes_of_their_maps() -> None:
    first, second = _places([0, 1, 0]), _places([1, 0, 0, 1], seed=1)
    merged = merge_places([first, second], [0, 2])
    assert merged.scenes.tolist() == [0, 1, 0, 3, 2, 2, 3]
    for k in range(3):
        _assert_same_place(merged, k, first, k)
    for k in range(4):
        _assert_same_place(merged, 3 + k, second, k)
    for scene, source in ((1, first), (3, second)):
        part = merged.in_scene(scene)
        expected = source.in_scene(1)
        assert part.names == expected.names
        np.testing.assert_array_equal(part.payloads["points"].values, expected.payloads["points"].values)


def test_places_of_other_data_are_not_merged() -> None:
    with pytest.raises(MapError, match="hold different data"):
        merge_places([_places([0]), _places([0], payload="tiles")], [0, 1])


@pytest.mark.parametrize(
    "payload",
    [
        Payload(np.zeros((3, 3)), np.array([0, 1, 2, 3])),
        Payload(np.zeros((3, 3)), np.array([0, 2, 3, 2, 3])),
        Payload(np.zeros((3, 3)), np.array([1, 1, 2, 3, 3])),
        Payload(np.zeros((4, 3)), np.array([0, 1, 2, 3, 3])),
    ],
)
def test_payloads_that_do_not_fit_are_refused(payload: Payload) -> None:
    with pytest.raises(MapError, match=r"offsets that do not fit|have 4 points, expected 3"):
        Places(("a",) * 4, np.zeros(4, np.int32), np.zeros((4, 3, 3)), *np.zeros((2, 4, 3)), {"points": payload})


def _map_of_places() -> LandmarkMap:
    """Two scenes of places, with a retrieval index over them, and no images."""
    places = _places([0, 1, 0, 1, 1])
    items = np.array([4, 0, 1, 1, 2])
    rows = np.eye(5, dtype=np.float32)
    codec = DescriptorCodec(np.zeros(128, np.float32), np.eye(128, 64, dtype=np.float32), 0.01)
    return LandmarkMap(
        name="yard",
        scenes=(Scene("yard", range(0), range(0)), Scene("hall", range(0), range(0))),
        points=np.zeros((0, 3), np.float32),
        landmark_ids=np.zeros(0, np.int32),
        landmarks=LandmarkTable.numbered(0),
        codes=np.zeros((0, 64), np.uint8),
        codec=codec,
        keyframes=Keyframes.empty(),
        extractor=RootSiftConfig(),
        descriptor_statistics=RootSiftConfig.recorded_statistics,
        retrieval={"scan": RetrievalIndex("scan", "f" * 64, rows, items, modality="lidar")},
        places={"lidar": places},
    )


def test_a_part_of_a_map_has_its_places_and_their_rows() -> None:
    whole = _map_of_places()
    part = whole.part("hall")
    assert part.places["lidar"].names == ("0/1", "0/3", "0/4")
    assert part.retrieval["scan"].items.tolist() == [2, 0, 0]
    for row, item in zip(part.retrieval["scan"].descriptors, part.retrieval["scan"].items, strict=True):
        (of_whole,) = whole.retrieval["scan"].nearest_items(row[None], 1)
        assert whole.places["lidar"].names[of_whole] == part.places["lidar"].names[item]


def test_a_map_of_places_alone_is_refused_where_landmarks_are_needed() -> None:
    landmark_map = _map_of_places()
    for use in (lambda: build_localizer(LocalizerConfig(), landmark_map), lambda: PointRanking(landmark_map)):
        with pytest.raises(MapError, match="places of lidar and no landmark points"):
            use()


def test_places_of_a_scene_that_is_missing_are_refused(scene: SyntheticScene) -> None:
    landmark_map = replace(scene.landmark_map, places={"lidar": _places([0, 0])})
    assert landmark_map.item_count("lidar") == 2
    with pytest.raises(MapError, match="scenes beyond the map's 1"):
        replace(landmark_map, places={"lidar": _places([0, 1])})
    index = RetrievalIndex("scan", "f" * 64, np.eye(2, dtype=np.float32), np.array([0, 2]), modality="lidar")
    with pytest.raises(MapError, match="items beyond the map's 2"):
        landmark_map.with_retrieval(index)
    with pytest.raises(MapError, match="describes radar, which the map lacks"):
        landmark_map.with_retrieval(RetrievalIndex("scan", "f" * 64, np.eye(2)[:0], np.zeros(0, int), modality="radar"))
    with pytest.raises(MapError, match="is listed as other"):
        replace(landmark_map, retrieval={"other": index})


def test_points_need_keyframes_beside_places_too(scene: SyntheticScene) -> None:
    scenes = (replace(scene.landmark_map.scene(), keyframes=range(0)),)
    with pytest.raises(MapError, match="no keyframes"):
        replace(
            scene.landmark_map,
            scenes=scenes,
            keyframes=Keyframes.empty(),
            retrieval={},
            places={"lidar": _places([0])},
        )
