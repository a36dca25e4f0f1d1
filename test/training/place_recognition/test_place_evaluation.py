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

"""Ground truth of retrieval, and the evaluation of encoders of all kinds."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from graphs import ENCODER_DIMENSION, write_encoder
from place_world import make_random_views, tiny, wall_map, write_wall
from plane_scene import CAMERA, poses, write_images

from training.data.map_images import collect_keyframes
from training.place_recognition.checkpoints import write_checkpoint
from training.place_recognition.descriptors import MapDescriptors, _reduce_by_pca
from training.place_recognition.encoders import build_encoder
from training.place_recognition.evaluate import main
from training.place_recognition.ground_truth import (
    label_by_pose,
    label_by_shared_points,
    observe_queries,
    predict_queries,
    read_pairs,
)
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.core.retrieval.vlad import Vocabulary
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import read_map, write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map with its VLAD, its images, queries with poses, and an untrained teacher."""
    made = tmp_path_factory.mktemp("places")
    scene, landmark_map = wall_map(8)
    extractor = RootSift(landmark_map.extractor)
    found = [extractor.extract(scene.image(landmark_map.keyframes.pose(k))) for k in range(8)]
    descriptors = [landmark_map.codec.project(features.descriptors) for features in found]
    words = Vocabulary.fit(np.concatenate(descriptors), 4)
    rows = np.stack([words.encode(part) for part in descriptors])
    landmark_map = landmark_map.with_retrieval(
        RetrievalIndex("vlad", words.hash, rows, np.arange(8), encoder_arrays=words.arrays)
    )
    write_map(landmark_map, made / "map")
    write_wall(made / "images", scene, landmark_map)
    truth = poses(5, seed=1)
    write_images(scene, truth, made / "queries")
    write_tum(made / "poses.txt", Trajectory(np.arange(5) * 10**9, tuple(truth)))
    write_camera(made / "camera.yaml", CAMERA, name="camera")
    torch.manual_seed(0)
    config = tiny(model="teacher")
    teacher = build_encoder(config, extent_m=3.0).eval()
    write_checkpoint(made / "teacher", teacher, config, extent_m=3.0, training={"config": asdict(config)})
    return made


def command(folder: Path, *words: str) -> int:
    places = ["--map", folder / "map", "--images", folder / "images", "--queries", folder / "queries"]
    return main([str(word) for word in [*places, "--threads", "1", *words]])


@pytest.mark.parametrize("positives", ["points", "pose"])
def test_poses_of_queries_are_in_the_map_frame(folder: Path, tmp_path: Path, positives: str) -> None:
    """A map far from zero has the scores of the same one near it, with ground truth in its frame."""
    utm = np.array([5e5, 5.4e6, 0.0])
    write_map(transform_map(read_map(folder / "map"), Similarity(1.0, np.eye(3), utm)), tmp_path / "map")
    far = [Pose(pose.rotation, pose.translation + utm) for pose in poses(5, seed=1)]
    write_tum(tmp_path / "poses.txt", Trajectory(np.arange(5) * 10**9, tuple(far)))
    rows = []
    for where in (folder, tmp_path):
        given = ["--map", where / "map", "--poses", where / "poses.txt", "--camera", folder / "camera.yaml"]
        options = ["--positives", positives, "--radius", "0.4", "--json", tmp_path / "scores.json"]
        assert command(folder, "--encoder", "vlad", *given, *options) == 0
        rows.append(json.loads((tmp_path / "scores.json").read_text())[0])
    scores = [{name: value for name, value in row.items() if name != "median_ms"} for row in rows]
    assert scores[0] == scores[1]
    assert scores[0]["queries"] == 5


def test_an_exported_model_is_scored(folder: Path, tmp_path: Path) -> None:
    model = write_encoder(tmp_path / "model")
    posed = ["--poses", str(folder / "poses.txt"), "--camera", str(folder / "camera.yaml")]
    report = tmp_path / "scores.json"
    options = ["--positives", "pose", "--radius", "0.4", "--json", str(report)]
    assert command(folder, "--encoder", str(model), *posed, *options) == 0
    (row,) = json.loads(report.read_text())
    assert (row["encoder"], row["dimension"], row["queries"]) == (str(model), ENCODER_DIMENSION, 5)


@pytest.mark.parametrize("positives", ["points", "pose"])
def test_every_kind_of_encoder_is_scored(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], positives: str
) -> None:
    encoders = [str(folder / "teacher"), "vlad", "vlad256"]
    words = [word for encoder in encoders for word in ("--encoder", encoder)]
    posed = ["--poses", str(folder / "poses.txt"), "--camera", str(folder / "camera.yaml")]
    report = tmp_path / "scores.json"
    options = ["--positives", positives, "--radius", "0.4", "--min-share", "0.2", "--json", str(report)]
    assert command(folder, *words, *posed, *options) == 0
    rows = {row["encoder"]: row for row in json.loads(report.read_text())}
    assert list(rows) == encoders
    assert [row["dimension"] for row in rows.values()] == [16, 4 * 64, 7]
    assert all(row["queries"] == 5 for row in rows.values())
    assert rows["vlad"]["R@1"] == rows["vlad"]["P@1"] >= 0.8
    assert all(row["R@20"] == row["P@20"] == 1 for row in rows.values())
    assert "vlad256" in capsys.readouterr().out


def test_pairs_made_by_hand_need_no_poses(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, report = tmp_path / "same.csv", tmp_path / "scores.json"
    table.write_text("query_image,map_image\nframe-000.png,00.png\nframe-000.png,01.png\nframe-004.png,07.png\n")
    options = ["--pairs", str(table), "--camera", str(folder / "camera.yaml")]
    for report_text in ("written", "replaced"):
        assert command(folder, "--encoder", "vlad", *options, "--json", str(report)) == 0
        assert f"{report_text}: {report}" in capsys.readouterr().out
    assert json.loads(report.read_text())[0]["queries"] == 2
    assert command(folder, "--encoder", str(folder / "teacher"), *options) == 1
    assert "a teacher needs 3D structure" in capsys.readouterr().err
    table.write_text("query_image,map_image\nframe-000.png,99.png\n")
    with pytest.raises(InputError, match=r"line 2: there is no image 99.png"):
        read_pairs(table, [Path("frame-000.png")], [Path("00.png")])


def test_a_pair_names_one_image(tmp_path: Path) -> None:
    table, queries = tmp_path / "same.csv", [Path("queries/a.png")]
    database = [Path("images/0001.png"), Path("images/visit2/0001.png"), Path("images/visit2/0002.png")]

    def found(name: str) -> list[bool]:
        table.write_text(f"query_image,map_image\na.png,{name}\n")
        return list(read_pairs(table, queries, database)[0])

    assert found("visit2/0001.png") == [False, True, False]
    assert found("images/0001.png") == [True, False, False]
    assert found("0002.png") == [False, False, True]
    with pytest.raises(
        InputError, match=r"line 2: 0001.png matches 2 images, such as images/0001.png and .*more of its path"
    ):
        found("0001.png")
    for missing in ("", "visit3/0002.png", "2.png"):
        with pytest.raises(InputError, match=f"line 2: there is no image {missing}"):
            found(missing)


def test_poses_are_of_one_frame(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    landmark_map = read_map(folder / "map")
    frames = [replace(landmark_map, scenes=(replace(landmark_map.scenes[0], frame_id=name),)) for name in ("a", "b")]
    write_map(merge_maps(frames, name="both", config=MappingConfig()), tmp_path / "both")
    for name in ("a", "b"):
        shutil.copytree(folder / "images", tmp_path / name)
    posed = ["--poses", str(folder / "poses.txt"), "--camera", str(folder / "camera.yaml")]
    for positives in ("points", "pose"):
        options = ["--map", str(tmp_path / "both"), "--images", str(tmp_path), *posed, "--positives", positives]
        assert command(folder, "--encoder", "vlad", *options) == 1
        assert re.search(r"both: has 2 scenes.*expected one for .*give --pairs", capsys.readouterr().err)


def test_missing_poses_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(folder, "--encoder", "vlad") == 1
    assert "give --poses and --camera, or --pairs" in capsys.readouterr().err


def test_points_of_queries_are_those_that_they_see(folder: Path) -> None:
    _, landmark_map = wall_map(8)
    database = collect_keyframes(landmark_map, folder / "images")
    truth, paths = poses(5, seed=1), sorted((folder / "queries").iterdir())
    shown = observe_queries(paths, truth, CAMERA, landmark_map, database).visibility
    near = label_by_pose(truth, database.posed, radius_m=0.6, angle_rad=0.5)
    expected = predict_queries(paths, truth, CAMERA, database, near).visibility
    for k, pose in enumerate(truth):
        inside = np.flatnonzero(CAMERA.contains(CAMERA.project(pose.inverse().apply(database.visibility.points))))
        seen = shown.indices[shown.observations(k)]
        assert set(seen) <= set(inside)
        assert len(seen) > 0.2 * len(inside)
        assert set(expected.indices[expected.observations(k)]) <= set(inside)
        assert len(expected.indices[expected.observations(k)]) > 0.6 * len(inside)


def test_labels_by_shared_points_and_their_share() -> None:
    queries, database = (
        make_random_views(np.array([[1, 1, 1, 0]], bool)).visibility,
        make_random_views(np.array([[1, 1, 0, 1], [0, 0, 1, 0]], bool)).visibility,
    )
    assert label_by_shared_points(queries, database, min_shared=1, min_share=0.0).tolist() == [[True, True]]
    assert label_by_shared_points(queries, database, min_shared=2, min_share=0.0).tolist() == [[True, False]]
    assert label_by_shared_points(queries, database, min_shared=1, min_share=0.4).tolist() == [[True, False]]
    assert label_by_shared_points(queries, database, min_shared=1, min_share=0.51).tolist() == [[False, False]]


def test_near_is_in_position_and_viewing_direction() -> None:
    database = make_random_views(np.ones((3, 2), bool)).posed
    database.positions[:] = [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    database.rotations[2] = np.diag([-1.0, 1.0, -1.0])
    found = label_by_pose([Pose.identity()], database, radius_m=0.5, angle_rad=0.5)
    assert found.tolist() == [[True, False, False]]


def test_reduced_descriptors_keep_nearest_neighbours() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(400, 5)))[0]
    rows = rng.normal(size=(30, 5)) @ axes.T + 1.0
    found = _reduce_by_pca(MapDescriptors(rows, rows[:3] + 1e-3 * rng.normal(size=(3, 400)), 0.0))
    assert found.database.shape == (30, 29)
    assert np.allclose(np.linalg.norm(found.queries, axis=1), 1)
    assert (found.queries @ found.database.T).argmax(axis=1).tolist() == [0, 1, 2]
