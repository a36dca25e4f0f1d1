"""The place index of a learned encoder: made in a simulated room, and kept only where it is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from graphs import ENCODER_DIMENSION, write_encoder
from plane_scene import make_plane_scene, poses, write_images
from posed_points import NumberedExtractor, make_posed_points

from vloc_ros.assembly import build_extractor, build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap, RetrievalIndex
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedImage
from vloc_ros.datasets.keyframe_images import find_keyframe_images
from vloc_ros.inference.global_descriptors import OnnxGlobalDescriptor, read_global_descriptor
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.indexing.global_descriptors import describe_dropped_indices, encode_keyframes
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
_CAMERA = Camera("PINHOLE", 400, 300, (330.0, 330.0, 200.0, 150.0))


def _images(landmark_map: LandmarkMap, folder: Path) -> Iterator[tuple[int, Array]]:
    return enumerate(map(read_image, find_keyframe_images(landmark_map, folder)))


def _localizer(landmark_map: LandmarkMap):
    return build_localizer(LocalizerConfig(), landmark_map)


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
    extractor = build_extractor(_CONFIG.extractor)
    built = build_map(images, name="room", config=_CONFIG, extractor=extractor, localizer_factory=_localizer)
    return Room(built, folder, scenario.query_lap)


def _found(landmark_map: LandmarkMap, room: Room, encoder: OnnxGlobalDescriptor) -> int:
    """Of a lap's images how many are found where they were taken, by the three keyframes most alike of each."""
    candidates = CandidateConfig(whole_map_max_points=0, retrieval_top_k=3, landmarks="none")
    localizer = build_localizer(LocalizerConfig(candidates=candidates), landmark_map, encoder=encoder)
    found, queries = 0, room.queries
    for k in range(len(queries)):
        result = localizer.localize(Query.single(queries.image(k), queries.camera))
        if result.map_from_rig is not None:
            assert result.candidate == "retrieval/model"
            found += result.map_from_rig.distance_to(queries.map_from_camera[k])[0] < 0.05
    return found


def test_images_are_found_by_the_keyframes_that_the_encoder_finds(
    room: Room, encoder: OnnxGlobalDescriptor, tmp_path: Path
) -> None:
    write_map(encode_keyframes(room.landmark_map, _images(room.landmark_map, room.images), encoder), tmp_path / "map")
    back = read_map(tmp_path / "map")
    right = _found(back, room, encoder)
    assert right >= 6
    index = back.places["student"]
    turned = replace(index, descriptors=np.roll(index.descriptors, len(index.descriptors) // 2, axis=0))
    assert _found(replace(back, places={"student": turned}), room, encoder) <= right - 4


def test_all_else_of_a_map_stays_and_comes_back_from_disk(
    room: Room, encoder: OnnxGlobalDescriptor, tmp_path: Path
) -> None:
    whole = encode_keyframes(room.landmark_map, _images(room.landmark_map, room.images), encoder)
    assert replace(whole, places=room.landmark_map.places).places.keys() == {"vlad"}
    for name in ("points", "codes", "keyframes", "landmarks", "scenes", "provenance"):
        assert getattr(whole, name) is getattr(room.landmark_map, name)
    digest = write_map(whole, tmp_path / "map")
    back = read_map(tmp_path / "map")
    assert set(back.places) == {"vlad", "student"}
    index = back.places["student"]
    assert (index.encoder, index.descriptors.shape) == (encoder.hash, (32, ENCODER_DIMENSION))
    np.testing.assert_allclose(index.descriptors, whole.places["student"].descriptors, atol=0.005)
    np.testing.assert_array_equal(
        back.places["vlad"].descriptors, read_map_of(room, tmp_path).places["vlad"].descriptors
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


def test_images_of_another_size_are_not_the_maps(room: Room, encoder: OnnxGlobalDescriptor, tmp_path: Path) -> None:
    for name in room.landmark_map.keyframes.names:
        cv2.imwrite(str(tmp_path / name), cv2.imread(str(room.images / name))[::2, ::2])
    with pytest.raises(InputError, match=r"frame-000000\.png is 200x150, the map's image of this name 400x300"):
        encode_keyframes(room.landmark_map, _images(room.landmark_map, tmp_path), encoder)


def test_a_description_that_is_none_is_refused(room: Room) -> None:
    class Broken:
        hash, dimension, images_at_once = "c" * 64, 2, 4

        def encode(self, images: Sequence[Array]) -> Array:
            return np.full((len(images), 2), np.nan, np.float32)

    with pytest.raises(ModelError, match=r"describes frame-000000\.png by values that are not finite"):
        encode_keyframes(room.landmark_map, _images(room.landmark_map, room.images), Broken())


class Counting:
    """Describes an image by its brightness, and notes how many it was given at a time."""

    hash, dimension = "c" * 64, 1

    def __init__(self, images_at_once: int) -> None:
        self.images_at_once, self.given = images_at_once, list[int]()

    def encode(self, images: Sequence[Array]) -> Array:
        self.given.append(len(images))
        return np.array([[image.mean() / 255] for image in images], np.float32)


def test_an_encoder_is_given_as_many_images_as_it_takes_at_once_in_any_order(room: Room) -> None:
    images = list(_images(room.landmark_map, room.images))
    single, several = Counting(1), Counting(5)
    expected = encode_keyframes(room.landmark_map, images, single).places["student"].descriptors
    found = encode_keyframes(room.landmark_map, images[::-1], several).places["student"].descriptors
    assert (single.given, several.given) == ([1] * 32, [5] * 6 + [2])
    np.testing.assert_array_equal(found, expected)


def test_no_more_images_are_read_than_are_encoded_at_once(room: Room) -> None:
    encoder, ahead = Counting(5), []

    def images() -> Iterator[tuple[int, Array]]:
        for k, image in _images(room.landmark_map, room.images):
            ahead.append(k - sum(encoder.given))
            yield k, image

    encode_keyframes(room.landmark_map, images(), encoder)
    assert max(ahead) == 4


# where keyframes come from is told by their rows, which say "map, keyframe"


def _numbered(landmark_map: LandmarkMap, number: float, *, hash_: str = "a" * 64) -> LandmarkMap:
    count = len(landmark_map.keyframes)
    rows = np.column_stack([np.full(count, number), np.arange(count)]).astype(np.float32)
    return replace(landmark_map, places={**landmark_map.places, "student": RetrievalIndex(hash_, rows)})


def _in_frame(landmark_map: LandmarkMap, frame_id: str) -> LandmarkMap:
    return replace(landmark_map, scenes=(replace(landmark_map.scene(), frame_id=frame_id),))


@pytest.fixture(scope="module")
def walls() -> tuple[LandmarkMap, LandmarkMap]:
    return tuple(_in_frame(make_plane_scene(s).landmark_map, name) for s, name in ((0, "hall"), (5, "kitchen")))


def _rows(landmark_map: LandmarkMap) -> list[tuple[int, int]]:
    return [tuple(map(int, row)) for row in landmark_map.places["student"].descriptors]


def test_maps_of_one_encoder_are_merged_with_their_index(walls: tuple[LandmarkMap, LandmarkMap]) -> None:
    hall, kitchen = _numbered(walls[0], 0), _numbered(walls[1], 1)
    whole = merge_maps([hall, kitchen], name="house", config=_CONFIG)
    assert _rows(whole) == [(number, k) for number in (0, 1) for k in range(8)]
    assert whole.places["student"].encoder == "a" * 64
    assert _rows(whole.part("kitchen")) == [(1, k) for k in range(8)]
    assert describe_dropped_indices([hall, kitchen], whole) == []


@pytest.mark.parametrize("second", [None, "b" * 64])
def test_an_index_of_some_keyframes_alone_is_dropped_with_a_word(
    walls: tuple[LandmarkMap, LandmarkMap], second: str | None
) -> None:
    hall = _numbered(walls[0], 0)
    kitchen = walls[1] if second is None else _numbered(walls[1], 1, hash_=second)
    for maps in ([hall, kitchen], [kitchen, hall]):
        whole = merge_maps(maps, name="house", config=_CONFIG)
        assert set(whole.places) == {"vlad"}
        (line,) = describe_dropped_indices(maps, whole)
        assert "without the place index student" in line
        assert "`vloc map encode`" in line


@pytest.mark.parametrize(("alike", "expected"), [(True, [0] * 8 + [1] * 8 + [2] * 8), (False, None)])
def test_a_map_that_is_taken_in_brings_its_rows(
    walls: tuple[LandmarkMap, LandmarkMap], alike: bool, expected: list[int] | None
) -> None:
    """Into the first of two scenes: its rows go between those of the two."""
    moved_hall = transform_map(
        walls[0], Similarity(1.0, Pose.from_rotation_vector([0, 0, 0.4], [1.0, 2.0, 0.0]).rotation, [3.0, 0, 0])
    )
    again = _numbered(_in_frame(moved_hall, "again"), 1, hash_=("a" if alike else "b") * 64)
    house = merge_maps([_numbered(walls[0], 0), _numbered(walls[1], 2)], name="house", config=_CONFIG)
    (whole,), _ = register_maps([house, again], Align.SAME)
    if expected is None:
        assert "student" not in whole.places
        assert describe_dropped_indices([house, again], whole)
    else:
        assert [row[0] for row in _rows(whole)] == expected
        assert [row[1] for row in _rows(whole)] == [*range(8)] * 3
        assert whole.keyframes.names[8].startswith("again/")


def test_an_update_drops_the_index_and_keeps_the_maps_own() -> None:
    row = make_posed_points(images=16, points=800)
    arguments = {"config": _CONFIG, "extractor": NumberedExtractor(row.features), "localizer_factory": _localizer}
    first = _numbered(build_map(row.images()[:12], name="row", **arguments), 0)
    grown = update_map(first, row.images()[8:], **arguments).landmark_map
    assert set(grown.places) == {"vlad"}
    assert len(describe_dropped_indices([first], grown)) == 1


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
    np.testing.assert_array_equal(at_once.places["student"].descriptors, apart.places["student"].descriptors)
