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

"""A synthetic scene in MegaDepth's layout: its pairs, its depth, and views that are turned for every epoch."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")
pytest.importorskip("h5py", reason="no h5py, which MegaDepth's depth needs")

import h5py

from training.iterative_matching.config import DataConfig, LightConfig
from training.iterative_matching.ground_truth import label_pair
from training.iterative_matching.megadepth import MegaDepthViews, read_depth
from training.iterative_matching.views import PosedGeometry
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.simulation.render import render_depth
from vloc_ros.simulation.scenario import make_lap
from vloc_ros.simulation.world import make_world

CAMERA = Camera("PINHOLE", 320, 240, (260.0, 260.0, 160.0, 120.0))
EXTRACTOR = RootSift(RootSiftConfig(max_keypoints=300, min_keypoints=0))
LIGHT = LightConfig(light=0.1, dusk=0.0, night=0.0, blur_px=0.0)


def write_scene(root: Path, **changes: np.ndarray) -> None:
    """Three views of a room; the third has no depth, as images of MegaDepth that no model has."""
    lap = make_lap(make_world("room", 3), 30, 3, camera=CAMERA)
    images, depths = "Undistorted_SfM/0000/images", "phoenix/S6/zl548/MegaDepth_v1/0000/dense0/depths"
    for folder in (images, depths, "scene_info"):
        (root / folder).mkdir(parents=True)
    poses = []
    for k in range(2):
        cv2.imwrite(str(root / images / f"{k}.png"), lap.image(k))
        with h5py.File(root / depths / f"{k}.h5", "w") as file:
            depth = render_depth(lap.world, CAMERA, lap.map_from_camera[k])
            file["depth"] = np.where(np.isfinite(depth), depth, 0)
        pose = lap.map_from_camera[k].inverse()
        poses.append(np.vstack([np.column_stack([pose.rotation, pose.translation]), [0, 0, 0, 1]]))
    arrays = {
        "image_paths": np.array([f"{images}/0.png", "", f"{images}/1.png"]),
        "depth_paths": np.array([f"{depths}/0.h5", "", f"{depths}/1.h5"]),
        "intrinsics": np.stack([CAMERA.matrix] * 3),
        "poses": np.stack([poses[0], np.eye(4), poses[1]]).astype(np.float32),
        "overlap_matrix": np.array([[1, -1, 0.7], [-1, 1, -1], [0.6, -1, 1]]),
    }
    np.savez(root / "scene_info/0000.npz", **(arrays | changes))


def read(root: Path, **data: float) -> MegaDepthViews:
    return MegaDepthViews(root, replace(DataConfig(keypoints=300), **data), LIGHT, {"name": "rootsift"}, seed=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("megadepth")
    write_scene(folder)
    return folder


def test_pairs_are_those_of_the_overlap_matrix(root: Path) -> None:
    assert read(root).pairs.tolist() == [[0, 1]]
    assert read(root).scenes.tolist() == [0, 0]
    with pytest.raises(InputError, match="no images overlap"):
        read(root, least_overlap=0.65)


def test_several_files_of_a_landmark_are_of_one_place(tmp_path: Path) -> None:
    write_scene(tmp_path)
    for name in ("0000_0.1_0.3", "0001"):
        shutil.copy(tmp_path / "scene_info/0000.npz", tmp_path / f"scene_info/{name}.npz")
    source = read(tmp_path)
    assert source.scenes.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.places.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("version", [0, 1])
def test_keypoints_match_where_depth_and_pose_put_them(root: Path, version: int) -> None:
    source = read(root)
    views = [source.make(k, EXTRACTOR, version=version) for k in range(2)]
    assert label_pair(*views, positive_px=2.0, negative_px=4.0).matches > 25
    for view in views:
        assert isinstance(view.geometry, PosedGeometry)
        assert np.isfinite(view.geometry.depth).mean() > 0.5


def test_another_version_is_turned_about_the_same_centre(root: Path) -> None:
    source = read(root)
    geometries = [source.make(0, EXTRACTOR, version=version).geometry for version in (0, 1, 1)]
    poses = [one.scene_from_camera for one in geometries if isinstance(one, PosedGeometry)]
    metres, radians = poses[0].distance_to(poses[1])
    assert metres == pytest.approx(0.0, abs=1e-9)
    assert 0.02 < radians < 0.6
    assert poses[1].distance_to(poses[2]) == pytest.approx((0.0, 0.0))


def test_what_is_damaged_or_holds_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no npz"):
        read(tmp_path)
    write_scene(tmp_path / "objects", image_paths=np.array(["a", None, "b"], object))
    with pytest.raises(InputError, match="converted to text"):
        read(tmp_path / "objects")
    write_scene(tmp_path / "short", poses=np.zeros((2, 4, 4)))
    with pytest.raises(InputError, match=r"poses is of \(2, 4, 4\), expected \(3, 4, 4\)"):
        read(tmp_path / "short")
    (tmp_path / "depth.h5").write_bytes(b"none")
    with pytest.raises(InputError, match="holds no depth"):
        read_depth(tmp_path / "depth.h5")
