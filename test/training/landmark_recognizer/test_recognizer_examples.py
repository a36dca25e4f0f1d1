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

"""Augmented images, and the landmarks that their keypoints show."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from keypoint_graphs import DIMENSION
from learned_wall import LearnedWall
from plane_scene import CAMERA, PIXELS_PER_METRE, SceneFolder, make_plane_scene, poses
from recognizer_world import tiny, wall_image

from training.data.image_augmentation import (
    ImageAugmentationConfig,
    ImageVersion,
    apply_homography,
    augment_image,
    draw_homography,
    keep_image,
    warp_image,
)
from training.data.localized_images import TrainingImage, list_keyframe_images
from training.landmark_recognizer.examples import make_example, make_examples
from vloc_ros.assembly import build_map_extractor
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import silent
from vloc_ros.mapping.maps.guided_matching import label_keypoints
from vloc_ros.storage.maps import read_map

SCENE = make_plane_scene()
MUCH = ImageAugmentationConfig(sideways=0.4, tilt_deg=30.0, roll_deg=60.0, blur_px=0.0, night=0.0, light=0.5)


def wall_xy(map_from_camera: Pose, xy: Array) -> Array:
    """(N, 2) metres along the wall z = 0 that pixels show."""
    rays = CAMERA.unproject(xy) @ map_from_camera.rotation.T
    return (map_from_camera.translation - rays * (map_from_camera.translation[2] / rays[:, 2:]))[:, :2]


def labels(image: TrainingImage, xy: Array, descriptors: Array, landmark_map: LandmarkMap | None = None) -> Array:
    """The point that each keypoint of an image shows, -1 for none."""
    features = Features(xy.astype(np.float32), descriptors, np.ones(len(xy), np.float32))
    landmark_map = SCENE.landmark_map if landmark_map is None else landmark_map
    return label_keypoints(landmark_map, image.points, features, image.camera, image.scene_from_camera)


@pytest.mark.parametrize("seed", range(4))
def test_labels_are_transformed_by_a_warp(seed: int) -> None:
    pose = poses(3)[1]
    image = wall_image(SCENE, pose)
    version = augment_image(image.load(), CAMERA, MUCH, np.random.default_rng(seed))
    found = build_map_extractor(SCENE.landmark_map).extract(version.image)
    shown = labels(image, version.to_original(found.xy), found.descriptors)
    labelled = shown >= 0
    assert labelled.mean() > 0.25
    truth = wall_xy(pose, version.to_original(found.xy)[labelled])
    apart_px = np.linalg.norm(truth - SCENE.landmark_map.points[shown[labelled], :2], axis=1) * PIXELS_PER_METRE
    assert apart_px.max() < 4
    wrong = labels(image, found.xy, found.descriptors)
    assert (wrong >= 0).mean() < 0.2 * labelled.mean()


def test_rays_are_those_of_the_augmented_image() -> None:
    image = wall_image(SCENE, poses(3)[1])
    version = augment_image(image.load(), CAMERA, MUCH, np.random.default_rng(1))
    found = build_map_extractor(SCENE.landmark_map).extract(version.image)
    example = make_example(found, version, image, SCENE.landmark_map)
    inside = CAMERA.contains(version.to_original(found.xy))
    assert 0 < len(example) == inside.sum() < len(found)
    pixels = CAMERA.project(np.column_stack([example.rays, np.ones(len(example))]))
    assert np.allclose(pixels, found.xy[inside], atol=1e-3)


def test_a_warp_moves_pixels_by_its_homography() -> None:
    image = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    image[100:103, 150:153] = 255
    homography = draw_homography(CAMERA, MUCH, np.random.default_rng(2))
    there = apply_homography(homography, np.array([[151.5, 101.5]]))[0]
    dot = warp_image(image, homography).astype(float) * (warp_image(np.full_like(image, 255), homography) == 255)
    rows, columns = np.nonzero(dot)
    weights = dot[rows, columns]
    centre = np.average(np.column_stack([columns, rows]) + 0.5, axis=0, weights=weights)
    assert np.allclose(centre, there, atol=0.1)
    assert np.allclose(ImageVersion(image, homography).to_original(there[None]), [[151.5, 101.5]])


def test_a_step_of_the_camera_moves_a_plane_as_seen_from_there() -> None:
    straight = ImageAugmentationConfig(tilt_deg=0.0, roll_deg=0.0, sideways=0.0, forward=0.3)
    homography = draw_homography(CAMERA, straight, np.random.default_rng(0))
    corner, centre = apply_homography(homography, np.array([[0.0, 0.0], [160.0, 120.0]]))
    assert np.allclose(centre, [160, 120])
    zoom = (centre - corner) / [160, 120]
    assert zoom[0] == pytest.approx(zoom[1])
    assert 1 / 1.3 <= zoom[0] <= 1 / 0.7


@pytest.mark.parametrize("seed", range(6))
def test_a_camera_that_steps_aside_turns_back_to_the_middle(seed: int) -> None:
    homography = draw_homography(CAMERA, ImageAugmentationConfig(sideways=0.5), np.random.default_rng(seed))
    there = apply_homography(homography, np.array([[160.0, 120.0]]))[0]
    assert np.linalg.norm(there - [160, 120]) < 0.3 * 0.7 * 280 + 20


def test_a_keypoint_with_another_descriptor_is_background() -> None:
    image = wall_image(SCENE, poses(3)[1])
    found = build_map_extractor(SCENE.landmark_map).extract(image.load())
    others = np.roll(found.descriptors, 1, axis=0)
    strict = replace(SCENE.landmark_map, descriptor_statistics=DescriptorStatistics(0.1, 0.636, "strict"))
    right, wrong = ((labels(image, found.xy, looks, strict) >= 0).mean() for looks in (found.descriptors, others))
    assert right > 0.4
    assert wrong < 0.3 * right


def test_versions_of_images_are_reproducible() -> None:
    config = tiny("images.versions=3", "fit.kept_keypoints=100")
    images = [wall_image(SCENE, pose) for pose in poses(3)]
    first, second = (make_examples(images, SCENE.landmark_map, config, progress=silent) for _ in range(2))
    assert [len(versions) for versions in first] == [3, 3, 3]
    assert len(first[0][0]) == 100
    for once, again in zip(chain(*first), chain(*second), strict=True):
        assert np.array_equal(once.descriptors, again.descriptors)
        assert np.array_equal(once.landmarks, again.landmarks)
    assert not np.array_equal(first[0][1].rays, first[0][2].rays)


@pytest.mark.parametrize("seed", range(4))
def test_light_changes_in_all_channels_alike(seed: int) -> None:
    """A colour network learns from colours, RootSIFT from the grey images that it learned from before."""
    grey, night = SCENE.image(poses(3)[1]), ImageAugmentationConfig(night=0.5)
    bgr = np.stack([grey, grey, grey], axis=-1)
    in_grey, in_bgr = (augment_image(image, CAMERA, night, np.random.default_rng(seed)).image for image in (grey, bgr))
    for channel in range(3):
        np.testing.assert_allclose(in_bgr[..., channel].astype(int), in_grey.astype(int), atol=1)
    assert keep_image(bgr).image is bgr


def test_examples_of_a_map_of_a_keypoint_model(learned_wall: LearnedWall) -> None:
    landmark_map = read_map(learned_wall.map)
    images = [replace(wall_image(SCENE, pose), points=np.arange(len(landmark_map.points))) for pose in poses(3)]
    examples = make_examples(images, landmark_map, tiny("images.versions=2"), progress=silent)
    for original, augmented in examples:
        assert original.descriptors.shape[1] == augmented.descriptors.shape[1] == DIMENSION
        assert (original.landmarks >= 0).mean() > 0.3


def test_missing_images_are_named(scene_folder: SceneFolder) -> None:
    landmark_map = SCENE.landmark_map
    with pytest.raises(
        InputError, match=r"holds 0 of the map's 8 images, missing are 0.png, 1.png, 2.png, \.\.\.; give"
    ):
        list_keyframe_images(landmark_map, scene_folder.images, CAMERA)


def test_a_map_without_cameras_is_refused(tmp_path: Path) -> None:
    landmark_map = replace(SCENE.landmark_map, keyframes=replace(SCENE.landmark_map.keyframes, cameras=()))
    with pytest.raises(InputError, match="has no cameras, expected one per keyframe; give --camera"):
        list_keyframe_images(landmark_map, tmp_path)


def test_an_image_of_another_size_is_refused() -> None:
    image = replace(wall_image(SCENE, poses(3)[1]), load=lambda: np.zeros((10, 20), np.uint8))
    with pytest.raises(InputError, match="wall is 20x10, its camera calibration is for 320x240"):
        make_examples([image], SCENE.landmark_map, tiny(), progress=silent)
