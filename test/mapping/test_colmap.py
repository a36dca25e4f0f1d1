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

"""Triangulation and structure from motion on points with exact truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from posed_points import CAMERA, make_posed_points

from vloc_ros.core.errors import InputError
from vloc_ros.mapping.sfm import colmap
from vloc_ros.mapping.sfm.colmap import reconstruct, triangulate
from vloc_ros.mapping.sfm.scale import GivenPoses, apply_scale
from vloc_ros.mapping.sfm.structure import Structure, mean_descriptors


def _true_points(scene, structure: Structure) -> np.ndarray:
    """(P, 3) what each reconstructed point should be, by its first observation."""
    _, first = np.unique(structure.track_points, return_index=True)
    rows = zip(structure.track_images[first], structure.track_keypoints[first], strict=True)
    return scene.points[[scene.point_of_keypoint[image][keypoint] for image, keypoint in rows]]


def test_triangulated_points_are_where_they_were_and_poses_are_kept() -> None:
    scene = make_posed_points(noise_px=0.2)
    structure = triangulate(scene.images(), scene.features, scene.true_matches())
    assert len(structure.points) > 350
    errors = np.linalg.norm(structure.points - _true_points(scene, structure), axis=1)
    assert np.median(errors) < 0.01
    assert structure.mean_reprojection_error_px == pytest.approx(0.25, abs=0.1)
    for pose, truth in zip(structure.poses, scene.poses, strict=True):
        assert pose is not None
        np.testing.assert_array_equal(pose.matrix, truth.matrix)


def test_the_same_input_gives_the_same_points() -> None:
    scene = make_posed_points(images=8)
    first, second = (triangulate(scene.images(), scene.features, scene.true_matches()) for _ in range(2))
    np.testing.assert_array_equal(first.points, second.points)
    np.testing.assert_array_equal(first.track_keypoints, second.track_keypoints)


def test_each_image_keeps_its_own_camera() -> None:
    scene = make_posed_points(images=8, noise_px=0.0)
    wide = replace(CAMERA, parameters=(420.0, 320.0, 240.0, -0.02))
    images = [replace(image, camera=wide) if k % 2 else image for k, image in enumerate(scene.images())]
    features = []
    for image, found, shown in zip(images, scene.features, scene.point_of_keypoint, strict=True):
        pixels = image.camera.project(image.map_from_camera.inverse().apply(scene.points[shown]))
        features.append(replace(found, xy=pixels.astype(np.float32)))
    structure = triangulate(images, features, scene.true_matches())
    assert np.linalg.norm(structure.points - _true_points(scene, structure), axis=1).max() < 1e-3


def test_images_alone_give_the_poses_up_to_scale_and_frame() -> None:
    scene = make_posed_points(images=8, noise_px=0.2)
    structure = reconstruct(scene.images(posed=False), scene.features, scene.true_matches())
    poses = apply_scale(structure, scene.images(), GivenPoses())
    assert sum(pose is not None for pose in poses) == 8
    errors = [p.distance_to(t) for p, t in zip(poses, scene.poses, strict=True) if p is not None]
    translation, rotation = np.max(errors, axis=0)
    assert translation < 0.02
    assert rotation < 0.01


def test_an_image_that_few_points_hold_has_no_pose_and_no_point_lies_behind_a_camera() -> None:
    scene = make_posed_points(images=8)
    with colmap._scratch() as folder:
        colmap._write_database(folder / "database.db", scene.images(), scene.features, scene.true_matches())
        posed = colmap._posed_reconstruction(scene.images(), scene.features, scene.poses)
        built = pycolmap.triangulate_points(posed, folder / "database.db", folder, folder, options=colmap._options())
    observations = pycolmap.ObservationManager(built)
    for image, left in ((8, 11), (7, 12)):
        seen = [number for number, point in enumerate(built.images[image].points2D) if point.has_point3D()]
        for number in seen[left:]:
            observations.delete_observation(image, number)
    behind = next(number for number, point in built.points3D.items() if point.track.length() > 2)
    built.points3D[behind].xyz = scene.poses[0].translation - 5.0 * scene.poses[0].rotation[:, 2]
    colmap._remove_unsupported(built)
    assert [image for image, one in sorted(built.images.items()) if one.has_pose] == [1, 2, 3, 4, 5, 6, 7]
    assert behind not in built.points3D


def test_images_that_share_nothing_are_refused() -> None:
    scene = make_posed_points(images=4)
    with pytest.raises(InputError, match="closer together"):
        reconstruct(scene.images(posed=False), scene.features, {})


def test_images_from_one_place_are_refused_for_what_is_wrong() -> None:
    scene = make_posed_points(images=4)
    one, rng = scene.features[0], np.random.default_rng(0)
    seen = [replace(one, xy=(one.xy + rng.normal(0, 0.2, one.xy.shape)).astype(np.float32)) for _ in range(4)]
    same = np.column_stack([np.arange(len(one)), np.arange(len(one))]).astype(np.uint32)
    matches = {(i, j): same for i in range(4) for j in range(i + 1, 4)}
    with pytest.raises(InputError, match=f"overlap, by up to {len(one)} matches"):
        reconstruct(scene.images(posed=False), seen, matches)


def test_a_missing_pose_is_named() -> None:
    scene = make_posed_points(images=4)
    images = scene.images()
    images[2] = replace(images[2], map_from_camera=None)
    with pytest.raises(InputError, match=r"002\.png has no pose"):
        triangulate(images, scene.features, scene.true_matches())


def test_short_tracks_go_and_the_rest_is_numbered_anew() -> None:
    scene = make_posed_points(images=6, points=200)
    structure = triangulate(scene.images(), scene.features, scene.true_matches())
    longer = structure.with_tracks_of_at_least(5)
    assert 0 < len(longer.points) < len(structure.points)
    assert np.array_equal(np.unique(longer.track_points), np.arange(len(longer.points)))
    assert np.bincount(longer.track_points).min() >= 5


def test_a_points_descriptor_is_nearest_to_what_saw_it() -> None:
    scene = make_posed_points(images=6, points=200)
    structure = triangulate(scene.images(), scene.features, scene.true_matches())
    means = mean_descriptors(structure, [found.descriptors for found in scene.features])
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1.0, atol=1e-5)
    seen = structure.track_images == 3
    similarity = scene.features[3].descriptors[structure.track_keypoints[seen]] @ means.T
    assert np.array_equal(similarity.argmax(axis=1), structure.track_points[seen])


def test_keypoints_that_slip_along_a_repeated_pattern_hardly_move_the_cameras() -> None:
    scene = make_posed_points(images=8, noise_px=0.2)
    slipped = []
    for number, found in enumerate(scene.features):
        xy = found.xy.copy()
        # what lies low in the picture slips as one, like a row of tiles that is matched to the next
        xy[xy[:, 1] > 380] += np.float32([2.5 * (number % 3 - 1), 0.0])
        slipped.append(replace(found, xy=xy))
    structure = reconstruct(scene.images(posed=False), slipped, scene.true_matches())
    poses = apply_scale(structure, scene.images(), GivenPoses())
    errors = [p.distance_to(t)[0] for p, t in zip(poses, scene.poses, strict=True) if p is not None]
    assert len(errors) == 8
    assert np.median(errors) < 0.002
