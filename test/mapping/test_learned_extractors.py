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

"""Maps by a keypoint model: built, updated, merged, compressed and moved, they carry it and localize."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from keypoint_graphs import DIMENSION, write_keypoint_model
from learned_wall import VIEWS, LearnedWall, build_learned_map, colour, posed_images
from plane_scene import CAMERA, make_plane_scene, poses

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, InferenceConfig, LocalizerConfig, TrackingConfig
from vloc_ros.core.errors import InputError, MapError, ModelError
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import PosePrior, Query
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.maps.compress import keep_points, rank_points
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.mapping.maps.update import update_map
from vloc_ros.storage.maps import read_map, write_map


def _errors_m(
    landmark_map: LandmarkMap,
    learned: LearnedWall,
    *,
    config: LocalizerConfig | None = None,
    prior: bool = False,
    in_colour: bool = False,
    moved: Pose | None = None,
) -> list[float]:
    """Distance from the true position of every view; infinite where it is not localized."""
    localizer, errors = build_localizer(config or LocalizerConfig(), landmark_map), []
    for truth in VIEWS:
        image = learned.scene.image(truth)
        expected = PosePrior(Pose(truth.rotation, truth.translation + 0.01), np.diag([3e-4] * 3 + [1e-4] * 3))
        query = Query.single(colour(image) if in_colour else image, CAMERA, prior=expected if prior else None)
        found, there = localizer.localize(query).map_from_rig, truth if moved is None else moved @ truth
        errors.append(np.inf if found is None else float(found.distance_to(there)[0]))
    return errors


@pytest.fixture(scope="module")
def built(learned_wall: LearnedWall) -> LandmarkMap:
    return read_map(learned_wall.map)


def test_a_map_of_a_model_localizes(built: LandmarkMap, learned_wall: LearnedWall) -> None:
    assert max(_errors_m(built, learned_wall)) < 0.01
    assert built.extractor.model_hash == read_keypoint_model(learned_wall.model).hash == built.keypoint_model.hash
    assert built.codec.basis.shape == (DIMENSION, DIMENSION)
    assert built.descriptor_statistics.source.startswith("measured on")
    assert len(built.points) > 1000


@pytest.mark.parametrize(
    "config",
    [
        LocalizerConfig(tracking=TrackingConfig(image_scale=1.0)),
        LocalizerConfig(candidates=CandidateConfig(whole_map_max_points=0, landmarks="none")),
        LocalizerConfig(candidates=CandidateConfig(landmarks_min_points=0)),
        LocalizerConfig(inference=InferenceConfig(threads=1)),
    ],
    ids=["whole map", "vlad", "landmark voting", "one thread"],
)
def test_every_kind_of_candidates_localizes(
    built: LandmarkMap, learned_wall: LearnedWall, config: LocalizerConfig
) -> None:
    assert max(_errors_m(built, learned_wall, config=config)) < 0.01


def test_a_prior_localizes_in_a_reduced_image(built: LandmarkMap, learned_wall: LearnedWall) -> None:
    config = LocalizerConfig(tracking=TrackingConfig(image_scale=0.9, min_image_width_px=200))
    assert max(_errors_m(built, learned_wall, config=config, prior=True)) < 0.02


def test_another_wall_is_refused(built: LandmarkMap, learned_wall: LearnedWall) -> None:
    other = replace(learned_wall, scene=make_plane_scene(seed=5))
    assert not np.isfinite(_errors_m(built, other)).any()


@pytest.mark.slow
def test_the_covariance_is_calibrated_on_left_out_images(learned_wall: LearnedWall) -> None:
    dense = build_learned_map(learned_wall.scene, learned_wall.model, poses(20, seed=4), calibration_gap_m=0.3)
    assert dense.scene().calibration.samples >= 8


def test_a_map_without_the_model_of_its_extractor_is_not_built(learned_wall: LearnedWall) -> None:
    images, model = posed_images(learned_wall.scene, poses(3)), read_keypoint_model(learned_wall.model)
    config = MappingConfig(extractor=keypoint_model_config(model))
    with pytest.raises(MapError, match="keypoint model is missing"):
        build_map(images, name="wall", config=config)
    with pytest.raises(MapError, match="the keypoint model is xfeat"):
        build_map(images, name="wall", config=config, keypoint_model=read_keypoint_model(learned_wall.other_model))
    config = replace(config, inference=InferenceConfig(provider="OpenVINOExecutionProvider"))
    with pytest.raises(ModelError, match="no OpenVINOExecutionProvider here"):
        build_map(images, name="wall", config=config, keypoint_model=model)


def test_an_update_extends_the_map_by_its_own_model(learned_wall: LearnedWall) -> None:
    way = poses(16, seed=4)
    first = build_learned_map(learned_wall.scene, learned_wall.model, way[:9])
    visit = [replace(image, name=f"second-{image.name}") for image in posed_images(learned_wall.scene, way[6:])]
    update = update_map(first, visit, config=MappingConfig())
    assert update.new_points > 200
    assert update.landmark_map.keypoint_model is first.keypoint_model
    assert max(_errors_m(update.landmark_map, learned_wall)) < 0.01
    assert not max(_errors_m(first, learned_wall)) < 0.01


def test_merged_maps_of_one_model_keep_it(built: LandmarkMap, learned_wall: LearnedWall, tmp_path: Path) -> None:
    kitchen = make_plane_scene(seed=5)
    other = build_learned_map(kitchen, learned_wall.model, poses(14, seed=4), frame_id="kitchen")
    other = replace(other, extractor=replace(other.extractor, max_keypoints=1200))
    write_map(merge_maps([built, other], name="house", config=MappingConfig()), tmp_path / "house")
    house = read_map(tmp_path / "house")
    assert house.keypoint_model.hash == built.keypoint_model.hash
    assert house.extractor.max_keypoints == 1200
    for walls in (learned_wall, replace(learned_wall, scene=kitchen)):
        assert max(_errors_m(house, walls)) < 0.01


def test_maps_of_different_models_are_not_merged(built: LandmarkMap, learned_wall: LearnedWall) -> None:
    other = build_learned_map(learned_wall.scene, learned_wall.other_model, poses(14, seed=4), frame_id="again")
    hashes = sorted((built.extractor.model_hash[:12], other.extractor.model_hash[:12]))
    with pytest.raises(InputError, match=f"keypoints of xfeat {hashes[0]}, xfeat {hashes[1]}; build them with"):
        merge_maps([built, other], name="house", config=MappingConfig())
    with pytest.raises(InputError, match=f"keypoints of rootsift, xfeat {built.extractor.model_hash[:12]}"):
        merge_maps([built, _in_frame(learned_wall.scene.landmark_map, "rs")], name="house", config=MappingConfig())


def _in_frame(landmark_map: LandmarkMap, frame_id: str) -> LandmarkMap:
    return replace(landmark_map, scenes=(replace(landmark_map.scene(), frame_id=frame_id),))


def test_a_compressed_and_a_moved_map_carry_the_model(built: LandmarkMap, learned_wall: LearnedWall) -> None:
    small = keep_points(built, rank_points(built)[:600])
    assert small.keypoint_model is built.keypoint_model
    assert max(_errors_m(small, learned_wall)) < 0.02
    motion = Pose.from_rotation_vector([0.1, 0.2, 0.3], [5.0, 6.0, 7.0])
    moved = transform_map(built, Similarity(1.0, motion.rotation, motion.translation))
    assert moved.keypoint_model is built.keypoint_model
    assert max(_errors_m(moved, learned_wall, moved=motion)) < 0.01


def test_a_colour_network_maps_colour_images_and_localizes_them(learned_wall: LearnedWall, tmp_path: Path) -> None:
    """The extractor gets what the camera gives: a map of colour images is for colour images."""
    model = write_keypoint_model(tmp_path / "aliked", color="rgb")
    in_colour = build_learned_map(learned_wall.scene, model, poses(14, seed=4), in_colour=True)
    assert in_colour.extractor.name == "aliked"
    assert max(_errors_m(in_colour, learned_wall, in_colour=True)) < 0.01
    in_grey = build_learned_map(learned_wall.scene, model, poses(14, seed=4))
    assert max(_errors_m(in_grey, learned_wall)) < 0.01


def test_a_map_of_rootsift_carries_no_model(learned_wall: LearnedWall) -> None:
    images = posed_images(learned_wall.scene, poses(14, seed=4))
    config = MappingConfig(extractor=RootSiftConfig(max_keypoints=600), calibration_gap_m=0.0)
    assert build_map(images, name="wall", config=config).keypoint_model is None
