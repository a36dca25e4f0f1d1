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

"""`vloc map export`: what a map holds comes out, and goes in again by `vloc map build --colmap`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from plane_scene import CAMERA, PlaneScene, make_plane_scene, poses, write_images

from vloc_ros.cli.main import main
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.colmap_models import read_colmap_images
from vloc_ros.storage.maps import read_map, write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum

pycolmap = pytest.importorskip("pycolmap", reason="the extra 'mapping' is not installed")

_QUICK = ("--max-keypoints", "500", "--set", "calibration_gap_m=0")


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlaneScene, list[Pose], Path]:
    """Eight images of a wall, far from the origin of the frame, and the map of them."""
    folder = tmp_path_factory.mktemp("wall")
    scene, views = make_plane_scene(), poses(8, seed=3)
    write_images(scene, views, folder / "images")
    write_camera(folder / "camera.yaml", CAMERA, name="camera")
    far = [Pose(view.rotation, view.translation + np.array([500_000.0, 0, 0])) for view in views]
    write_tum(folder / "poses.txt", Trajectory(np.arange(len(far)) * 10**9, tuple(far)))
    given = ["--images", f"{folder}/images", "--poses", f"{folder}/poses.txt", "--camera", f"{folder}/camera.yaml"]
    assert main(["map", "build", *given, "--write-unverified", *_QUICK, "--out", f"{folder}/map"]) == 0
    return scene, far, folder


def test_a_model_goes_round(wall: tuple[PlaneScene, list[Pose], Path], tmp_path: Path) -> None:
    _, views, folder = wall
    assert main(["map", "export", f"{folder}/map", "--colmap", f"{tmp_path}/model"]) == 0
    model, landmark_map = pycolmap.Reconstruction(tmp_path / "model"), read_map(folder / "map")
    assert len(model.points3D) == len(landmark_map.points)
    assert len(model.cameras) == 1
    observations = sum(len(point.track.elements) for point in model.points3D.values())
    assert observations > 0.98 * len(landmark_map.keyframes.point_indices)
    for image in model.images.values():
        seen = [point for point in image.points2D if point.has_point3D()]
        for point in seen[:5]:
            projected = image.project_point(model.points3D[point.point3D_id].xyz)
            np.testing.assert_allclose(projected, point.xy, atol=0.01)
    again = ["--images", f"{folder}/images", "--colmap", f"{tmp_path}/model", "--scale-unknown"]
    assert main(["map", "build", *again, "--write-unverified", *_QUICK, "--out", f"{tmp_path}/map"]) == 0
    rebuilt = read_map(tmp_path / "map")
    assert not rebuilt.metric
    assert rebuilt.keyframes.cameras == (CAMERA,) * 8
    poses_again = [image.world_from_camera for image in read_colmap_images(tmp_path / "model")]
    assert max(max(a.distance_to(b)) for a, b in zip(poses_again, views, strict=True)) < 1e-6
    assert len(rebuilt.points) == pytest.approx(len(landmark_map.points), rel=0.02)


def test_a_model_is_ground_truth(wall: tuple[PlaneScene, list[Pose], Path], tmp_path: Path) -> None:
    """Poses, names and calibration are the model's; images that it lacks are left out."""
    folder = wall[2]
    assert main(["map", "export", f"{folder}/map", "--colmap", f"{tmp_path}/model"]) == 0
    given = ["--images", f"{folder}/images", "--colmap", f"{tmp_path}/model"]
    assert main(["evaluate", "--map", f"{folder}/map", *given, "--json", f"{tmp_path}/scores.json"]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["queries"] == 8
    assert scores["recall"]["2cm_2deg"] == 1.0


def test_points_have_the_colour_of_the_images(wall: tuple[PlaneScene, list[Pose], Path], tmp_path: Path) -> None:
    scene, _, folder = wall
    ply = tmp_path / "wall.ply"
    assert main(["map", "export", f"{folder}/map", "--ply", f"{ply}", "--images", f"{folder}/images"]) == 0
    header, _, body = ply.read_bytes().partition(b"end_header\n")
    assert b"format binary_little_endian 1.0" in header
    kinds = [("xyz", "<f8", 3), ("rgb", "u1", 3)]
    rows = np.frombuffer(body, kinds)
    landmark_map = read_map(folder / "map")
    np.testing.assert_allclose(rows["xyz"], landmark_map.points.astype(float) + landmark_map.scene().origin)
    columns, lines = np.rint((rows["xyz"][:, :2] - [500_000.0, 0]) * 200 - 0.5).astype(int).T
    inside = (columns >= 0) & (columns < 1100) & (lines >= 0) & (lines < 600)
    difference = np.abs(rows["rgb"][inside, 0].astype(int) - scene.texture[lines[inside], columns[inside]])
    assert np.median(difference) < 12
    for path in (folder / "images").iterdir():  # OpenCV's order is blue, green, red
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        (tmp_path / "red").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "red" / path.name), np.dstack([0 * grey, 0 * grey, grey]))
    assert main(["map", "export", f"{folder}/map", "--ply", f"{ply}", "--images", f"{tmp_path}/red"]) == 0
    red = np.frombuffer(ply.read_bytes().partition(b"end_header\n")[2], kinds)["rgb"]
    assert red[:, 0].mean() > 50
    assert not red[:, 1:].any()
    assert main(["map", "export", f"{folder}/map", "--ply", f"{ply}"]) == 0, "a PLY file is replaced"
    without = np.frombuffer(ply.read_bytes().partition(b"end_header\n")[2], kinds)
    assert len(np.unique(without["rgb"], axis=0)) == len(np.unique(landmark_map.landmark_ids))


def test_what_has_no_scale_is_exported_with_a_note(
    wall: tuple[PlaneScene, list[Pose], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_map(replace(read_map(wall[2] / "map"), metric=False), tmp_path / "map")
    for folder, noted in ((wall[2] / "map", False), (tmp_path / "map", True)):
        assert main(["map", "export", f"{folder}", "--ply", f"{tmp_path}/points.ply"]) == 0
        assert ("the lengths in it are not metres" in capsys.readouterr().err) is noted


def test_images_of_a_bag_are_named_as_their_files(wall: tuple[PlaneScene, list[Pose], Path], tmp_path: Path) -> None:
    """Keyframes of a bag have a stamp without a suffix for a name."""
    folder = wall[2]
    landmark_map = read_map(folder / "map")
    names = tuple(name.removesuffix(".png") for name in landmark_map.keyframes.names)
    bag_map = replace(landmark_map, keyframes=replace(landmark_map.keyframes, names=names))
    write_map(bag_map, tmp_path / "map")
    given = ["--colmap", f"{tmp_path}/model", "--images", f"{folder}/images"]
    assert main(["map", "export", f"{tmp_path}/map", *given]) == 0
    assert [image.name for image in read_colmap_images(tmp_path / "model")] == sorted(landmark_map.keyframes.names)


def test_what_is_there_stays(
    wall: tuple[PlaneScene, list[Pose], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = wall[2]
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["map", "export", f"{folder}/map", "--colmap", f"{tmp_path}"]) == 1
    assert "notes.txt" in capsys.readouterr().err
    (tmp_path / "sparse").mkdir()
    (tmp_path / "sparse/images.bin").write_bytes(b"a model")
    assert main(["map", "export", f"{folder}/map", "--colmap", f"{tmp_path}/sparse"]) == 1
    assert "sparse: holds a COLMAP model, expected nothing" in capsys.readouterr().err
    assert main(["map", "export", f"{folder}/map", "--ply", f"{tmp_path}/notes.txt"]) == 1
    assert "is no PLY file" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_options_that_contradict_each_other(
    wall: tuple[PlaneScene, list[Pose], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = wall[2]
    build = ["map", "build", "--images", f"{folder}/images", "--out", f"{tmp_path}/map"]
    with pytest.raises(SystemExit):
        main([*build, "--poses", f"{folder}/poses.txt", "--colmap", f"{folder}"])
    assert main([*build, "--camera", f"{folder}/camera.yaml", "--scale-unknown"]) == 1
    assert "--scale-unknown is for poses" in capsys.readouterr().err
    assert main(["map", "build", "--bag", "bag", "--colmap", f"{folder}", "--out", f"{tmp_path}/map"]) == 1
    assert "--colmap goes with --images" in capsys.readouterr().err
    assert main(["evaluate", "--map", f"{folder}/map", "--bag", "bag", "--colmap", f"{folder}", "--live"]) == 1
    assert "--colmap goes with --images" in capsys.readouterr().err
    assert main([*build, "--colmap", f"{folder}"]) == 1
    assert "is no COLMAP model" in capsys.readouterr().err
