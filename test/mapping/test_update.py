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

"""A map that is updated by another visit, on features with exact truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from posed_points import CAMERA, UTM, PosedPoints, extracting, make_posed_points, unit

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.encoders import GlobalDescriptorEncoder
from vloc_ros.core.retrieval.vlad import VLAD
from vloc_ros.core.sources import PosedImage
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.mapping.maps.update import MapUpdate, update_map
from vloc_ros.storage.maps import read_map, write_map

_SMALL = MappingConfig(landmark_max_points=50, vocabulary_words=8, pairs_per_image=6, calibration_gap_m=0.0)
# the first visit takes images 0 to 11 of a row of 44, the second goes on from 8 and takes every other one
_FIRST, _SECOND = slice(0, 12), slice(8, 44, 2)


def _localizer(landmark_map: LandmarkMap):
    return build_localizer(LocalizerConfig(), landmark_map)


def _build(row: PosedPoints, images: Sequence[PosedImage], frame_id: str = "map") -> LandmarkMap:
    """Images of another name than those of a visit."""
    with extracting(row.features):
        images = [replace(image, name=f"first-{image.name}") for image in images]
        return build_map(images, name="row", config=_SMALL, frame_id=frame_id)


def _update(
    row: PosedPoints,
    landmark_map: LandmarkMap,
    images: Sequence[PosedImage],
    features: Sequence[Features] | None = None,
    frame_id: str = "",
    encoder: GlobalDescriptorEncoder | None = None,
) -> MapUpdate:
    with extracting(row.features if features is None else features):
        return update_map(landmark_map, images, config=_SMALL, encoder=encoder, frame_id=frame_id)


@pytest.fixture(scope="module")
def row() -> PosedPoints:
    return make_posed_points(images=44, points=1500)


@pytest.fixture(scope="module")
def first(row: PosedPoints) -> LandmarkMap:
    return _build(row, row.images()[_FIRST])


@pytest.fixture(scope="module")
def second(row: PosedPoints, first: LandmarkMap) -> MapUpdate:
    return _update(row, first, row.images()[_SECOND])


def test_images_too_far_for_the_numbers_of_a_map_are_refused(row: PosedPoints, first: LandmarkMap) -> None:
    images = row.images()[_SECOND]
    far = images[0].map_from_camera
    assert far is not None
    images[0] = replace(images[0], map_from_camera=replace(far, translation=np.add(far.translation, [0.0, 2e5, 0.0])))
    with pytest.raises(InputError, match=r"images lie up to 20.... m from the map's origin, expected at most 100000 m"):
        update_map(first, images, config=_SMALL)


def _errors_m(row: PosedPoints, landmark_map: LandmarkMap, which: range) -> Array:
    localizer, errors = _localizer(landmark_map), []
    query = Query.single(np.zeros((CAMERA.height, CAMERA.width), np.uint8), CAMERA)
    for k in which:
        result = localizer.localize_features((row.features[k],), query)
        errors.append(result.map_from_rig.distance_to(row.poses[k])[0] if result.map_from_rig is not None else np.inf)
    return np.array(errors)


def test_what_the_map_held_stays_as_it_was(first: LandmarkMap, second: MapUpdate) -> None:
    grown, points, keyframes = second.landmark_map, len(first.points), len(first.keyframes)
    for name in ("points", "codes", "landmark_ids"):
        np.testing.assert_array_equal(getattr(grown, name)[:points], getattr(first, name))
    np.testing.assert_array_equal(grown.landmarks.keys[: len(first.landmarks)], first.landmarks.keys)
    np.testing.assert_array_equal(grown.landmarks.parents[: len(first.landmarks)], first.landmarks.parents)
    np.testing.assert_array_equal(grown.keyframes.translations[:keyframes], first.keyframes.translations)
    for k in range(keyframes):
        np.testing.assert_array_equal(grown.keyframes.visible(k), first.keyframes.visible(k))
    assert grown.codec is first.codec
    assert grown.keyframes.names[:keyframes] == first.keyframes.names
    assert grown.retrieval[VLAD].encoder == first.retrieval[VLAD].encoder
    np.testing.assert_array_equal(grown.retrieval[VLAD].descriptors[:keyframes], first.retrieval[VLAD].descriptors)
    assert grown.scene().calibration is first.scene().calibration


def test_what_is_new_is_found(row: PosedPoints, first: LandmarkMap, second: MapUpdate) -> None:
    beyond = range(39, 44)
    assert np.isinf(_errors_m(row, first, beyond)).all()
    assert np.median(_errors_m(row, second.landmark_map, beyond)) < 0.01
    assert second.new_points > 100
    assert not second.left_out


def test_new_keyframes_observe_what_they_show(row: PosedPoints, first: LandmarkMap, second: MapUpdate) -> None:
    keyframes = second.landmark_map.keyframes
    for k, image in enumerate(range(*_SECOND.indices(44)), start=len(first.keyframes)):
        seen = keyframes.visible(k)
        shown = row.points[row.point_of_keypoint[image]]
        apart = np.linalg.norm(second.landmark_map.points[seen][:, None] - shown[None], axis=2).min(axis=1)
        assert len(seen) > 100
        assert np.mean(apart < 0.1) > 0.98
        if image < _FIRST.stop:  # was there before: most of what it shows is old
            assert (seen < len(first.points)).mean() > 0.8
    assert keyframes.names[len(first.keyframes)] == "visit2/008.png"


def test_points_that_are_mapped_already_are_not_mapped_again(row: PosedPoints, first: LandmarkMap) -> None:
    again = _update(row, first, row.images()[_FIRST])
    assert again.new_points < 0.02 * len(first.points)
    assert again.localized == 12


def test_a_point_with_noisy_descriptors_is_still_the_old_one(row: PosedPoints, first: LandmarkMap) -> None:
    """Its descriptor in one image is too noisy to match; the mean over several images is not."""
    rng = np.random.default_rng(0)
    noisy = [
        replace(found, descriptors=unit(found.descriptors + rng.normal(0, 0.1, found.descriptors.shape)))
        for found in row.features
    ]
    again = _update(row, first, row.images()[_FIRST], noisy)
    old = [(again.landmark_map.keyframes.visible(k) < len(first.points)).sum() for k in range(12, 24)]
    assert np.mean(old) > 150
    assert again.new_points < 0.02 * len(first.points)


def test_new_landmarks_come_behind_and_old_ones_get_no_larger(first: LandmarkMap, second: MapUpdate) -> None:
    grown, old = second.landmark_map, len(first.landmarks)
    assert len(grown.landmarks) > old
    assert grown.landmarks.parents[old:].min() == first.landmarks.coarse_count
    assert np.unique(grown.landmark_ids).tolist() == list(range(len(grown.landmarks)))
    joined = grown.landmark_ids[len(first.points) :] < old
    assert 0 < joined.sum() < len(joined)
    for point in np.flatnonzero(joined) + len(first.points):
        own = first.points[first.landmark_ids == grown.landmark_ids[point]]
        reach = np.linalg.norm(own - np.median(own, axis=0), axis=1).max()
        assert np.linalg.norm(grown.points[point] - np.median(own, axis=0)) <= reach


def test_images_without_poses_are_placed_by_the_map(row: PosedPoints, first: LandmarkMap) -> None:
    features = [Features.empty(128) if k == 10 else found for k, found in enumerate(row.features)]
    update = _update(row, first, row.images(posed=False)[6:14], features)
    assert list(update.left_out) == ["010.png"]
    assert "no keypoints" in update.left_out["010.png"]
    keyframes = update.landmark_map.keyframes
    assert keyframes.names[12:] == tuple(f"visit2/{k:03}.png" for k in (6, 7, 8, 9, 11, 12, 13))
    for k, image in enumerate((6, 7, 8, 9, 11, 12, 13), start=12):
        assert keyframes.pose(k).distance_to(row.poses[image])[0] < 0.02


def test_a_map_far_from_zero_grows_as_one_near_it(row: PosedPoints, first: LandmarkMap, second: MapUpdate) -> None:
    there = row.shift(UTM)
    images = there.images()[_SECOND]
    images[:12:3] = there.images(posed=False)[_SECOND][:12:3]
    update = _update(there, transform_map(first, Similarity(1.0, np.eye(3), UTM)), images)
    grown, near = update.landmark_map, second.landmark_map
    assert not update.left_out
    assert abs(update.new_points - second.new_points) < 0.1 * second.new_points
    shift = grown.scene().origin - UTM
    apart_m = np.linalg.norm(grown.keyframes.translations + shift - near.keyframes.translations, axis=1)
    assert apart_m.max() < 0.02
    assert np.abs(grown.points).max() < 100
    assert np.median(_errors_m(there, grown, range(38, 44))) < 0.01


def test_a_third_visit_is_distinguished_from_the_second(row: PosedPoints, second: MapUpdate) -> None:
    third = _update(row, second.landmark_map, [replace(i, name=f"late-{i.name}") for i in row.images()[10:12]])
    assert third.landmark_map.keyframes.names[-1] == "visit3/late-011.png"
    assert [u["images"] for u in third.landmark_map.provenance["updates"]] == [18, 2]


def test_images_that_the_map_holds_are_left_out(row: PosedPoints, first: LandmarkMap, second: MapUpdate) -> None:
    again = [replace(image, name=f"first-{image.name}") for image in row.images()[10:12]]
    others = row.images()[12:16:2]
    update = _update(row, first, [*again, *others])
    assert update.left_out == {image.name: f"is in the map already, as {image.name}" for image in again}
    assert update.repeated == 2
    assert update.landmark_map.keyframes.names[12:] == ("visit2/012.png", "visit2/014.png")
    with pytest.raises(InputError, match=r"all 2 images .* already \(012\.png as visit2/012\.png\), expected"):
        _update(row, second.landmark_map, others)


def test_another_image_of_the_same_name_is_added(row: PosedPoints, first: LandmarkMap) -> None:
    """Robots count from 0 again: 2 m from there a third of what the keyframe shows is out of view."""
    renamed = [replace(row.images()[k], name=f"first-{k - 10:03}.png") for k in (20, 21)]
    assert not _update(row, first, renamed).left_out


def _shifted(images: Sequence[PosedImage], metres: float) -> list[PosedImage]:
    """Poses that are that far to the side."""
    moved = Pose(np.eye(3), np.array([0.0, metres, 0.0]))
    return [replace(image, map_from_camera=moved @ image.map_from_camera) for image in images]


def test_a_pose_that_contradicts_the_map_is_left_out(row: PosedPoints, first: LandmarkMap) -> None:
    images = row.images()[_SECOND]
    update = _update(row, first, [*_shifted(images[:1], 0.3), *images[1:]])
    assert list(update.left_out) == ["008.png"]
    assert "0.30 m" in update.left_out["008.png"]
    assert len(update.landmark_map.keyframes) == 12 + 17


def test_poses_of_another_frame_are_refused(row: PosedPoints, first: LandmarkMap) -> None:
    with pytest.raises(InputError, match=r"contradict the map for \d+ of \d+ .*008\.png: .*in the frame map"):
        _update(row, first, _shifted(row.images()[_SECOND], 100.0))


def test_images_of_another_place_are_refused(first: LandmarkMap) -> None:
    other = make_posed_points(images=4, points=300, seed=3)
    with pytest.raises(InputError, match=r"none of the 4 images is localized in the map"):
        _update(other, first, other.images())


def test_a_visit_without_images_and_one_with_a_name_twice_are_refused(row: PosedPoints, first: LandmarkMap) -> None:
    images = row.images()[:2]
    with pytest.raises(InputError, match="no images"):
        _update(row, first, [])
    with pytest.raises(InputError, match="same name"):
        _update(row, first, [images[0], images[0]])


@pytest.fixture(scope="module")
def other() -> PosedPoints:
    """Another row."""
    return make_posed_points(images=12, points=600, seed=5)


@pytest.fixture(scope="module")
def house(first: LandmarkMap, other: PosedPoints) -> LandmarkMap:
    """The first visit as the hall, and the other row as the kitchen."""
    hall = replace(first, scenes=(replace(first.scene(), frame_id="hall"),))
    return merge_maps([hall, _build(other, other.images()[:8], "kitchen")], name="house", config=_SMALL)


@pytest.mark.parametrize("frame", [pytest.param("hall", marks=pytest.mark.slow), "kitchen"])
def test_one_scene_of_several_grows(
    row: PosedPoints, other: PosedPoints, house: LandmarkMap, frame: str, tmp_path: Path
) -> None:
    grows, images = (row, row.images()[_SECOND]) if frame == "hall" else (other, other.images()[4:])
    update = _update(grows, house, images, frame_id=frame)
    still = "kitchen" if frame == "hall" else "hall"
    before, after = house.part(still), update.landmark_map.part(still)
    for name in ("points", "codes", "landmark_ids"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_array_equal(after.keyframes.point_indices, before.keyframes.point_indices)
    assert after.keyframes.names == before.keyframes.names
    assert len(update.landmark_map.scene(frame).points) == len(house.scene(frame).points) + update.new_points
    assert update.landmark_map.part(frame).keyframes.names[-1].startswith(f"{frame}/visit2/")
    write_map(update.landmark_map, tmp_path / "house")
    np.testing.assert_array_equal(read_map(tmp_path / "house").points, update.landmark_map.points)
    with pytest.raises(InputError, match="has 2 scenes"):
        _update(row, house, row.images()[:2])


def test_a_keyframe_that_shows_few_points_is_not_taken_for_the_image(row: PosedPoints, first: LandmarkMap) -> None:
    """As after a strong compression: the points that are left are matched in other images too."""
    keyframes = first.keyframes
    visible = [
        keyframes.visible(k)[: 19 if name == "first-010.png" else None] for k, name in enumerate(keyframes.names)
    ]
    offsets = np.cumsum([0, *map(len, visible)])
    thin = replace(first, keyframes=replace(keyframes, point_offsets=offsets, point_indices=np.concatenate(visible)))
    again = [replace(image, name=f"first-{image.name}") for image in row.images()[10:12]]
    update = _update(row, thin, [*again, row.images()[12]])
    assert list(update.left_out) == ["first-011.png"]
