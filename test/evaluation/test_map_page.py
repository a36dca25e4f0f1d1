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

"""The page of a map holds the whole map and loads nothing."""

import base64
from dataclasses import replace

import cv2
import numpy as np
import pytest
from plane_scene import CAMERA
from test_report import assert_self_contained, data_in

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.evaluation import map_page as module
from vloc_ros.evaluation.map_page import QueryPose, make_map_page
from vloc_ros.evaluation.point_colours import sample_point_colours


def points_in(data: dict) -> np.ndarray:
    levels = np.frombuffer(base64.b64decode(data["points"]), "<u2").reshape(-1, 3)
    return np.array(data["low"]) + levels * np.array(data["step"])


def test_page_holds_every_point_and_keyframe(scene_folder):
    landmark_map = scene_folder.scene.landmark_map
    page = make_map_page(landmark_map, map_hash="0123456789abcdef")
    data = data_in(page)
    assert_self_contained(page)
    np.testing.assert_allclose(points_in(data), landmark_map.points, atol=2e-4)
    np.testing.assert_allclose(data["positions"], landmark_map.keyframes.translations, atol=1e-4)
    assert "0123456789ab" in page
    assert "4000 points ·" in page


def test_points_of_a_landmark_share_a_colour_of_their_own(scene_folder):
    landmark_map = scene_folder.scene.landmark_map
    data = data_in(make_map_page(landmark_map, map_hash=""))
    colours = np.frombuffer(base64.b64decode(data["landmark_colours"]), np.uint8).reshape(-1, 3)
    pairs = {(int(i), tuple(map(int, c))) for i, c in zip(landmark_map.landmark_ids, colours, strict=True)}
    assert len(pairs) == len(landmark_map.landmarks) == len({colour for _, colour in pairs})


def test_a_large_map_is_thinned_and_the_page_states_so(scene_folder, monkeypatch):
    monkeypatch.setattr(module, "_MAX_POINTS", 1500)
    page = make_map_page(scene_folder.scene.landmark_map, map_hash="")
    assert len(points_in(data_in(page))) == 1334
    assert "4000 points (1334 of them drawn)" in page


def test_keyframes_that_see_hardly_any_point_are_marked(scene_folder):
    landmark_map = scene_folder.scene.landmark_map
    assert "see hardly any point" not in make_map_page(landmark_map, map_hash="")
    offsets = landmark_map.keyframes.point_offsets.copy()
    offsets[1] = offsets[0]
    page = make_map_page(
        replace(landmark_map, keyframes=replace(landmark_map.keyframes, point_offsets=offsets)), map_hash=""
    )
    assert "1 that see hardly any point" in page
    assert data_in(page)["few"].count(True) == 1


def test_names_cannot_break_out_of_the_page(scene_folder):
    evil = "</title></script><script>alert(1)</script>"
    landmark_map = scene_folder.scene.landmark_map
    keyframes = replace(landmark_map.keyframes, names=(evil, *landmark_map.keyframes.names[1:]))
    named = replace(landmark_map, name=evil, keyframes=keyframes)
    page = make_map_page(named, map_hash="", queries=[QueryPose(evil, Pose.identity(), evil)])
    assert "<title>&lt;/title&gt;" in page
    assert "<script>alert" not in page
    assert data_in(page)["names"][0] == data_in(page)["queries"][0]["note"] == evil


def test_outliers_are_left_out_and_the_page_states_so(scene_folder):
    points = scene_folder.scene.landmark_map.points.copy()
    points[[5, 9]] = [[900.0, 0.0, 0.0], [0.0, -80.0, 0.0]]
    landmark_map = replace(scene_folder.scene.landmark_map, points=points)
    page = make_map_page(landmark_map, map_hash="")
    assert "4000 points (2 far away left out)" in page
    assert len(points_in(data_in(page))) == 3998


def test_page_knows_which_keyframes_observe_a_point(scene_folder):
    landmark_map = scene_folder.scene.landmark_map
    data = data_in(make_map_page(landmark_map, map_hash=""))
    seen = np.frombuffer(base64.b64decode(data["seen"]), "<u4")
    np.testing.assert_array_equal(seen, landmark_map.keyframes.point_indices)
    assert data["seen_counts"] == np.diff(landmark_map.keyframes.point_offsets).tolist()


def test_query_poses_are_relative_to_the_origin_of_the_scene(scene_folder):
    landmark_map = scene_folder.scene.landmark_map
    moved = replace(landmark_map, scenes=(replace(landmark_map.scenes[0], origin=np.array([500.0, 0.0, 0.0])),))
    query = QueryPose("a.png", Pose(np.eye(3), np.array([501.0, 2.0, 3.0])), "")
    data = data_in(make_map_page(moved, map_hash="", queries=[query]))
    assert data["queries"][0]["position"] == [1.0, 2.0, 3.0]


@pytest.fixture
def coloured(scene_folder, tmp_path):
    """The wall in blue, with the cameras of its keyframes, and the images of these."""
    scene = scene_folder.scene
    keyframes = replace(scene.landmark_map.keyframes, cameras=(CAMERA,) * 8)
    paths = [tmp_path / f"{k}.png" for k in range(8)]
    for k, path in enumerate(paths):
        grey = scene.image(keyframes.pose(k))
        cv2.imwrite(str(path), np.dstack([grey, grey // 2, np.zeros_like(grey)]))
    return replace(scene.landmark_map, keyframes=keyframes), paths


def test_points_have_the_colour_that_the_images_have_there(scene_folder, coloured):
    landmark_map, paths = coloured
    colours = sample_point_colours(landmark_map, paths).astype(int)
    columns, rows = np.floor(landmark_map.points[:, :2].T * 200).astype(int)
    seen = np.unique(landmark_map.keyframes.point_indices)
    wall = scene_folder.scene.texture[rows, columns].astype(int)
    assert np.median(np.abs(colours[seen, 2] - wall[seen])) < 12
    assert (colours[seen, 0] == 0).all()
    assert (np.delete(colours, seen, axis=0) == 150).all()
    data = data_in(make_map_page(landmark_map, map_hash="", keyframe_images=paths))
    assert len(data["images"]) == 8
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(data["image_colours"]), np.uint8), colours.ravel())


def test_images_of_another_size_are_refused(coloured):
    landmark_map, paths = coloured
    cv2.imwrite(str(paths[3]), np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(InputError, match="10x10"):
        sample_point_colours(landmark_map, paths)
