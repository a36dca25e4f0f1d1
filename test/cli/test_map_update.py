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

"""`vloc map update`: what its options come to, and what it says."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plane_scene import CAMERA, SceneFolder

from vloc_ros.cli.main import main
from vloc_ros.storage.maps import read_map, write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum


def update(scene_folder: SceneFolder, *options: object) -> int:
    return main([str(word) for word in ("map", "update", scene_folder.map, *options)])


@pytest.fixture(scope="module")
def visit(scene_folder: SceneFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six images of the wall, and one of another wall."""
    folder = tmp_path_factory.mktemp("visit")
    for image in scene_folder.images.iterdir():
        shutil.copy(image, folder)
    shutil.copy(scene_folder.negatives / "frame-002.png", folder / "stranger.png")
    return folder


def test_images_without_poses_are_added_where_the_map_localizes_them(
    scene_folder: SceneFolder, visit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert update(scene_folder, "--images", visit, "--camera", scene_folder.camera, "--out", tmp_path / "m") == 0
    printed = capsys.readouterr()
    assert "6 of 7 images added, 6 localized" in printed.out
    assert "calibrated as before" in printed.out
    assert re.search(r"warning: stranger\.png is left out: not localized", printed.err)
    keyframes = read_map(tmp_path / "m").keyframes
    assert keyframes.names[8:] == tuple(f"visit2/frame-{k:03}.png" for k in range(6))
    apart_m = [keyframes.pose(8 + k).distance_to(truth)[0] for k, truth in enumerate(scene_folder.truth)]
    assert max(apart_m) < 0.02


def test_given_poses_are_kept(scene_folder: SceneFolder, tmp_path: Path) -> None:
    given = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    assert update(scene_folder, *given, "--out", tmp_path / "m") == 0
    keyframes = read_map(tmp_path / "m").keyframes
    np.testing.assert_allclose(keyframes.translations[8:], [p.translation for p in scene_folder.truth], atol=1e-8)


def test_the_camera_is_that_of_the_map_where_it_has_one(
    scene_folder: SceneFolder, visit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wall = scene_folder.scene.landmark_map
    write_map(replace(wall, keyframes=replace(wall.keyframes, cameras=(CAMERA,) * 8)), tmp_path / "known")
    words = ("map", "update", tmp_path / "known", "--images", visit, "--out", tmp_path / "m")
    assert main([str(word) for word in words]) == 0
    assert read_map(tmp_path / "m").keyframes.cameras == (CAMERA,) * 14
    capsys.readouterr()
    assert update(scene_folder, "--images", visit, "--out", tmp_path / "n") == 1
    assert "0 calibrations, expected one; name that of yours: --camera" in capsys.readouterr().err


def test_a_map_that_outgrows_the_search_as_a_whole_is_given_a_retrieval_index(
    scene_folder: SceneFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_map(replace(scene_folder.scene.landmark_map, retrieval={}), tmp_path / "bare")
    words = ["map", "update", tmp_path / "bare", "--images", scene_folder.images, "--camera", scene_folder.camera]
    for limit, out, said in ((10**6, "small", False), (100, "large", True)):
        monkeypatch.setattr("vloc_ros.mapping.indexing.vlad_index.MAX_SEARCHED_WHOLE", limit)
        assert main([str(word) for word in (*words, "--out", tmp_path / out)]) == 0
        assert ("it was given a retrieval index" in capsys.readouterr().out) is said
        assert set(read_map(tmp_path / out).retrieval) == ({"vlad"} if said else set())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--out", "@map"], "is not changed in place"),
        (["--out", "@out", "--scene", "garden"], "the frame is 'garden', expected one scene"),
        (["--out", "@out", "--set", "extractor.max_keypoints=9"], "the map's own extractor is used"),
        (["--out", "@out", "--images", "@negatives"], "none of the 6 images is localized in the map"),
        (["--out", "@out", "--poses", "@far"], r"contradict the map for 6 of 6 .* behind|off in the image"),
    ],
)
def test_what_cannot_be_is_said(
    options: list[str], reason: str, scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = [truth.inverse() for truth in scene_folder.truth]
    write_tum(tmp_path / "far.txt", Trajectory(np.arange(6) * 10**9, tuple(far)))
    places = {"@out": tmp_path / "m", "@map": scene_folder.map, "@negatives": scene_folder.negatives}
    places |= {"@far": tmp_path / "far.txt"}
    words = [places.get(word, word) for word in options]
    assert update(scene_folder, "--images", scene_folder.images, "--camera", scene_folder.camera, *words) == 1
    assert re.search(reason, capsys.readouterr().err)
    assert not (tmp_path / "m").exists()
