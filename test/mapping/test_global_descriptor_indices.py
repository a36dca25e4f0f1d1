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

"""Retrieval indices of global descriptor models: made in a simulated room, and kept when maps change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from graphs import ENCODER_DIMENSION, write_encoder
from plane_scene import make_plane_scene, poses, write_images
from posed_points import PosedPoints, extracting, make_posed_points

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex
from vloc_ros.core.retrieval.vlad import VLAD
from vloc_ros.core.sources import PosedImage
from vloc_ros.datasets.keyframe_images import find_keyframe_images
from vloc_ros.inference.global_descriptors import OnnxGlobalDescriptor, read_global_descriptor
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.indexing.global_descriptors import MODEL, describe_incomplete_indices, encode_keyframes
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.maps.compress import keep_points, rank_points
from vloc_ros.mapping.maps.map_registration import Align, register_maps
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.mapping.maps.update import update_map
from vloc_ros.simulation.scenario import Lap, make_scenario
from vloc_ros.storage.images import read_image
from vloc_ros.storage.maps import read_map, write_map

_CONFIG = MappingConfig(vocabulary_words=8, calibration_gap_m=0.0)
_CAMERA = Camera("PINHOLE", 320, 240, (264.0, 264.0, 160.0, 120.0))


def _images(landmark_map: LandmarkMap, folder: Path) -> Iterator[tuple[int, Array]]:
    return enumerate(map(read_image, find_keyframe_images(landmark_map, folder)))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OnnxGlobalDescriptor:
    return read_global_descriptor(write_encoder(tmp_path_factory.mktemp("models") / "student"))


@dataclass(frozen=True, eq=False)
class Room:
    """A simulated room: its map, the folder of its images, and another lap through it."""

    landmark_map: LandmarkMap
    images: Path
    queries: Lap


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    scenario = make_scenario("room", 11, map_frames=32, query_frames=8, camera=_CAMERA)
    lap, folder = scenario.map_lap, tmp_path_factory.mktemp("room")
    for k in range(len(lap)):
        cv2.imwrite(str(folder / lap.name(k)), lap.image(k))
    images = [
        PosedImage(lap.name(k), lambda k=k: cv2.imread(str(folder / lap.name(k))), lap.camera, lap.map_from_camera[k])
        for k in range(len(lap))
    ]
    return Room(build_map(images, name="room", config=_CONFIG), folder, scenario.query_lap)


def _found(landmark_map: LandmarkMap, room: Room, encoder: OnnxGlobalDescriptor) -> int:
    """Of a lap's images how many are localized where they were taken, by the three most similar keyframes of each."""
    candidates = CandidateConfig(whole_map_max_points=0, retrieval_top_k=3, landmarks="none")
    localizer = build_localizer(LocalizerConfig(candidates=candidates), landmark_map, encoder=encoder)
    found, queries = 0, room.queries
    for k in range(len(queries)):
        result = localizer.localize(Query.single(queries.image(k), queries.camera))
        if result.map_from_rig is not None:
            assert result.candidate == "retrieval/model"
            found += result.map_from_rig.distance_to(queries.map_from_camera[k])[0] < 0.05
    return found


def test_images_are_localized_by_the_keyframes_that_the_encoder_retrieves(
    room: Room, encoder: OnnxGlobalDescriptor, tmp_path: Path
) -> None:
    write_map(encode_keyframes(room.landmark_map, _images(room.landmark_map, room.images), encoder), tmp_path / "map")
    back = read_map(tmp_path / "map")
    right = _found(back, room, encoder)
    assert right >= 6
    index = back.retrieval[MODEL]
    turned = replace(index, descriptors=np.roll(index.descriptors, len(index.descriptors) // 2, axis=0))
    assert _found(back.with_retrieval(turned), room, encoder) <= right - 4


def test_all_else_of_a_map_stays_and_comes_back_from_disk(
    room: Room, encoder: OnnxGlobalDescriptor, tmp_path: Path
) -> None:
    whole = encode_keyframes(room.landmark_map, _images(room.landmark_map, room.images), encoder)
    assert room.landmark_map.retrieval.keys() == {VLAD}
    for name in ("points", "codes", "keyframes", "landmarks", "scenes", "provenance"):
        assert getattr(whole, name) is getattr(room.landmark_map, name)
    digest = write_map(whole, tmp_path / "map")
    back = read_map(tmp_path / "map")
    assert set(back.retrieval) == {VLAD, MODEL}
    index = back.retrieval[MODEL]
    assert (index.encoder, index.descriptors.shape) == (encoder.hash, (32, ENCODER_DIMENSION))
    np.testing.assert_allclose(index.descriptors, whole.retrieval[MODEL].descriptors, atol=0.005)
    np.testing.assert_array_equal(
        back.retrieval[VLAD].descriptors, read_map_of(room, tmp_path).retrieval[VLAD].descriptors
    )
    assert write_map(back, tmp_path / "again") == digest
    assert write_map(encode_keyframes(back, _images(back, room.images), encoder), tmp_path / "twice") == digest


def read_map_of(room: Room, folder: Path) -> LandmarkMap:
    """The room's own map, from disk."""
    write_map(room.landmark_map, folder / "own")
    return read_map(folder / "own")


def test_images_that_are_missing_are_counted_and_named(
    room: Room, encoder: OnnxGlobalDescriptor, tmp_path: Path
) -> None:
    for name in room.landmark_map.keyframes.names[4:]:
        (tmp_path / name).symlink_to(room.images / name)
    names = r"frame-000000\.png, frame-000001\.png, frame-000002\.png, \.\.\.;"
    with pytest.raises(InputError, match=rf"holds 28 of the map's 32 images, missing are {names}"):
        encode_keyframes(room.landmark_map, _images(room.landmark_map, tmp_path), encoder)


def test_images_of_another_size_are_refused(room: Room, encoder: OnnxGlobalDescriptor, tmp_path: Path) -> None:
    for name in room.landmark_map.keyframes.names:
        cv2.imwrite(str(tmp_path / name), cv2.imread(str(room.images / name))[::2, ::2])
    with pytest.raises(InputError, match=r"frame-000000\.png is 160x120, the map's image of this name 320x240"):
        encode_keyframes(room.landmark_map, _images(room.landmark_map, tmp_path), encoder)


class Broken:
    """Gives descriptors that are not finite."""

    modality, dimension, batch_size = IMAGE, 2, 4

    def __init__(self, hash_: str) -> None:
        self.hash = hash_

    def encode(self, images: Sequence[Array]) -> Array:
        return np.full((len(images), 2), np.nan, np.float32)


def test_a_descriptor_that_is_not_finite_is_refused(room: Room) -> None:
    with pytest.raises(ModelError, match=r"gives frame-000000\.png a descriptor that is not finite"):
        encode_keyframes(room.landmark_map, _images(room.landmark_map, room.images), Broken("c" * 64))


class Counting:
    """Describes an image by its brightness, and notes how many it was given at a time."""

    hash, modality, dimension = "c" * 64, IMAGE, 1

    def __init__(self, batch_size: int) -> None:
        self.batch_size, self.given = batch_size, list[int]()

    def encode(self, images: Sequence[Array]) -> Array:
        self.given.append(len(images))
        return np.array([[image.mean() / 255] for image in images], np.float32)


def test_an_encoder_is_given_batches_of_its_size_in_any_order(room: Room) -> None:
    images = list(_images(room.landmark_map, room.images))
    single, several = Counting(1), Counting(5)
    expected = encode_keyframes(room.landmark_map, images, single).retrieval[MODEL].descriptors
    found = encode_keyframes(room.landmark_map, images[::-1], several).retrieval[MODEL].descriptors
    assert (single.given, several.given) == ([1] * 32, [5] * 6 + [2])
    np.testing.assert_array_equal(found, expected)


def test_no_more_images_are_read_than_a_batch_holds(room: Room) -> None:
    encoder, ahead = Counting(5), []

    def images() -> Iterator[tuple[int, Array]]:
        for k, image in _images(room.landmark_map, room.images):
            ahead.append(k - sum(encoder.given))
            yield k, image

    encode_keyframes(room.landmark_map, images(), encoder)
    assert max(ahead) == 4


# the row of a keyframe is (map, keyframe), as numbers


def _numbered(landmark_map: LandmarkMap, number: float, *, encoder: str = "a" * 64, name: str = MODEL) -> LandmarkMap:
    count = len(landmark_map.keyframes)
    rows = np.column_stack([np.full(count, number), np.arange(count)]).astype(np.float32)
    return landmark_map.with_retrieval(RetrievalIndex(name, encoder, rows, np.arange(count)))


def _in_frame(landmark_map: LandmarkMap, frame_id: str) -> LandmarkMap:
    return replace(landmark_map, scenes=(replace(landmark_map.scene(), frame_id=frame_id),))


@pytest.fixture(scope="module")
def walls() -> tuple[LandmarkMap, LandmarkMap]:
    return tuple(_in_frame(make_plane_scene(s).landmark_map, name) for s, name in ((0, "hall"), (5, "kitchen")))


def _rows(landmark_map: LandmarkMap, name: str = MODEL) -> list[tuple[int, int]]:
    """The row of every keyframe, in order."""
    index = landmark_map.retrieval[name]
    assert sorted(index.items) == list(range(len(landmark_map.keyframes)))
    return [tuple(map(int, row)) for row in index.descriptors[np.argsort(index.items)]]


def test_maps_of_one_encoder_are_merged_with_their_index(walls: tuple[LandmarkMap, LandmarkMap]) -> None:
    hall, kitchen = _numbered(walls[0], 0), _numbered(walls[1], 1)
    whole = merge_maps([hall, kitchen], name="house", config=_CONFIG)
    assert _rows(whole) == [(number, k) for number in (0, 1) for k in range(8)]
    assert whole.retrieval[MODEL].encoder == "a" * 64
    assert _rows(whole.part("kitchen")) == [(1, k) for k in range(8)]
    assert describe_incomplete_indices([hall, kitchen], whole) == []


def test_each_of_several_encoders_keeps_its_index(walls: tuple[LandmarkMap, LandmarkMap]) -> None:
    """Whatever their names: the index of an encoder has that of the first map, and is there once."""
    first, second, third = "a" * 64, "b" * 64, "c" * 64
    hall = _numbered(_numbered(walls[0], 0, encoder=first), 2, encoder=second, name="other")
    kitchen = _numbered(_numbered(walls[1], 1, encoder=first, name="elder"), 3, encoder=second)
    kitchen = _numbered(kitchen, 9, encoder=third, name="only")
    whole = merge_maps([hall, kitchen], name="house", config=_CONFIG)
    encoders = {name: index.encoder for name, index in whole.retrieval.items() if name != VLAD}
    assert encoders == {MODEL: first, "other": second}
    assert _rows(whole) == [(number, k) for number in (0, 1) for k in range(8)]
    assert _rows(whole, "other") == [(number, k) for number in (2, 3) for k in range(8)]
    assert _rows(whole.part("kitchen"), "other") == [(3, k) for k in range(8)]
    (line,) = describe_incomplete_indices([hall, kitchen], whole)
    assert "without the retrieval index only" in line


@pytest.mark.parametrize("second", [None, "b" * 64])
def test_an_index_of_some_keyframes_alone_is_dropped_and_reported(
    walls: tuple[LandmarkMap, LandmarkMap], second: str | None
) -> None:
    hall = _numbered(walls[0], 0)
    kitchen = walls[1] if second is None else _numbered(walls[1], 1, encoder=second)
    for maps in ([hall, kitchen], [kitchen, hall]):
        whole = merge_maps(maps, name="house", config=_CONFIG)
        assert set(whole.retrieval) == {VLAD}
        (line,) = describe_incomplete_indices(maps, whole)
        assert "without the retrieval index model" in line
        assert "`vloc map encode`" in line


@pytest.mark.parametrize(("same", "expected"), [(True, [0] * 8 + [1] * 8 + [2] * 8), (False, None)])
def test_a_map_that_is_taken_in_brings_its_rows(
    walls: tuple[LandmarkMap, LandmarkMap], same: bool, expected: list[int] | None
) -> None:
    """Into the first of two scenes: its rows go between those of the two."""
    moved_hall = transform_map(
        walls[0], Similarity(1.0, Pose.from_rotation_vector([0, 0, 0.4], [1.0, 2.0, 0.0]).rotation, [3.0, 0, 0])
    )
    again = _numbered(_in_frame(moved_hall, "again"), 1, encoder=("a" if same else "b") * 64)
    house = merge_maps([_numbered(walls[0], 0), _numbered(walls[1], 2)], name="house", config=_CONFIG)
    (whole,), _ = register_maps([house, again], Align.SAME)
    if expected is None:
        assert MODEL not in whole.retrieval
        assert describe_incomplete_indices([house, again], whole)
    else:
        assert [row[0] for row in _rows(whole)] == expected
        assert [row[1] for row in _rows(whole)] == [*range(8)] * 3
        assert whole.keyframes.names[8].startswith("again/")


class Reading:
    """Describes a numbered image as one of map 5."""

    hash, modality, dimension, batch_size = "a" * 64, IMAGE, 2, 3

    def encode(self, images: Sequence[Array]) -> Array:
        numbers = [int.from_bytes(image[0, :4].tobytes(), "little") for image in images]
        return np.array([(5, number) for number in numbers], np.float32)


@pytest.fixture(scope="module")
def row() -> PosedPoints:
    return make_posed_points(images=16, points=800)


@pytest.fixture(scope="module")
def mapped(row: PosedPoints) -> LandmarkMap:
    """The first twelve images of a row, encoded; and a scene behind it."""
    with extracting(row.features):
        maps = [
            build_map(row.images()[images], name=name, frame_id=name, config=_CONFIG)
            for name, images in (("row", slice(0, 12)), ("end", slice(10, 16)))
        ]
    return merge_maps([_numbered(m, k) for k, m in enumerate(maps)], name="both", config=_CONFIG)


def test_an_update_with_the_encoder_encodes_the_new_keyframes(row: PosedPoints, mapped: LandmarkMap) -> None:
    with extracting(row.features):
        grown = update_map(mapped, row.images()[12:], config=_CONFIG, encoder=Reading(), frame_id="row").landmark_map
    expected = [*((0, k) for k in range(12)), *((5, k) for k in range(12, 16)), *((1, k) for k in range(6))]
    assert _rows(grown) == expected
    assert _rows(grown.part("end")) == expected[16:]
    assert describe_incomplete_indices([mapped], grown) == []


def test_an_update_without_the_encoder_keeps_the_rows_of_old_keyframes(row: PosedPoints, mapped: LandmarkMap) -> None:
    with extracting(row.features):
        grown = update_map(mapped, row.images()[12:], config=_CONFIG, frame_id="row").landmark_map
    index = grown.retrieval[MODEL]
    assert index.items.tolist() == [*range(12), *range(16, 22)]
    assert [tuple(map(int, each)) for each in index.descriptors] == _rows(mapped)
    assert len(grown.retrieval[VLAD].items) == 22
    (line,) = describe_incomplete_indices([mapped], grown)
    assert "covers 18 of 22 keyframes" in line


def test_an_update_by_an_encoder_that_does_not_fit_is_refused(row: PosedPoints, mapped: LandmarkMap) -> None:
    with pytest.raises(ModelError, match="the encoder has the hash cccccccccccc, expected aaaaaaaaaaaa"):
        update_map(mapped, row.images()[12:], config=_CONFIG, encoder=Broken("c" * 64), frame_id="row")
    with pytest.raises(ModelError, match=r"gives 012\.png a descriptor that is not finite"), extracting(row.features):
        update_map(mapped, row.images()[12:], config=_CONFIG, encoder=Broken("a" * 64), frame_id="row")


def test_what_moves_points_or_leaves_some_out_keeps_the_index(walls: tuple[LandmarkMap, LandmarkMap]) -> None:
    hall = _numbered(walls[0], 0)
    turned = transform_map(hall, Similarity(1.0, np.eye(3), np.array([1.0, 0.0, 0.0])))
    small = keep_points(hall, rank_points(hall)[:200])
    assert _rows(turned) == _rows(small) == _rows(hall)


def test_a_merged_maps_images_lie_in_folders_by_scene(tmp_path: Path, encoder: OnnxGlobalDescriptor) -> None:
    maps = []
    for number, name in enumerate(("hall", "kitchen")):
        scene = make_plane_scene(5 * number)
        write_images(scene, poses(8, seed=99), tmp_path / name)
        names = tuple(f"frame-{k:03}.png" for k in range(8))
        maps.append(
            _in_frame(replace(scene.landmark_map, keyframes=replace(scene.landmark_map.keyframes, names=names)), name)
        )
    whole = merge_maps(maps, name="house", config=_CONFIG)
    at_once = encode_keyframes(whole, _images(whole, tmp_path), encoder)
    apart = merge_maps(
        [encode_keyframes(m, _images(m, tmp_path / m.frame_ids[0]), encoder) for m in maps],
        name="house",
        config=_CONFIG,
    )
    np.testing.assert_array_equal(at_once.retrieval[MODEL].descriptors, apart.retrieval[MODEL].descriptors)
