"""What is a positive, and how encoders of all kinds are scored."""

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
from places_world import scattered, tiny, wall_map, write_wall
from plane_scene import CAMERA, poses, write_images

from training.place_recognition.checkpoints import write_checkpoint
from training.place_recognition.descriptors import DescribedImages, _reduced
from training.place_recognition.encoders import build_encoder
from training.place_recognition.evaluate import main
from training.place_recognition.export import export
from training.place_recognition.ground_truth import (
    expected_queries,
    near_by_pose,
    pairs_by_hand,
    posed_queries,
    sharing,
)
from training.place_recognition.views import views_of_map
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import RootSift
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.landmark_map import RetrievalIndex
from vloc_ros.core.retrieval.vlad import Vocabulary
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import read_map, write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map with its VLAD, its images, queries with poses, and models that nobody trained."""
    made = tmp_path_factory.mktemp("places")
    scene, landmark_map = wall_map(8)
    extractor = RootSift(landmark_map.extractor)
    looks = [landmark_map.codec.project(extractor.extract(scene.image(landmark_map.keyframes.pose(k))).descriptors)
             for k in range(8)]  # fmt: skip
    words = Vocabulary.fit(np.concatenate(looks), 4)
    places = RetrievalIndex(words.hash, np.stack([words.encode(part) for part in looks]), words.arrays)
    landmark_map = replace(landmark_map, places={"vlad": places})
    write_map(landmark_map, made / "map")
    write_wall(made / "images", scene, landmark_map)
    truth = poses(5, seed=1)
    write_images(scene, truth, made / "queries")
    write_tum(made / "poses.txt", Trajectory(np.arange(5) * 10**9, tuple(truth)))
    write_camera(made / "camera.yaml", CAMERA, name="camera")
    torch.manual_seed(0)
    student, teacher = (build_encoder(tiny(model=model), extent_m=3.0).eval() for model in ("student", "teacher"))
    some = [scene.image(pose) for pose in truth]
    export(student, made / "student", preprocessing=Preprocessing((48, 48)), images=some, training={})
    config = tiny(model="teacher")
    write_checkpoint(made / "teacher", teacher, config, extent_m=3.0, training={"config": asdict(config)})
    return made


def command(folder: Path, *words: str) -> int:
    places = ["--map", folder / "map", "--images", folder / "images", "--queries", folder / "queries"]
    return main([str(word) for word in [*places, "--threads", "1", *words]])


@pytest.mark.parametrize("positives", ["points", "pose"])
def test_every_kind_of_encoder_is_scored(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], positives: str
) -> None:
    encoders = [str(folder / "student"), str(folder / "teacher"), "vlad", "vlad256"]
    words = [word for encoder in encoders for word in ("--encoder", encoder)]
    posed = ["--poses", str(folder / "poses.txt"), "--camera", str(folder / "camera.yaml")]
    report = tmp_path / "scores.json"
    asked = ["--positives", positives, "--radius", "0.4", "--min-share", "0.2", "--json", str(report)]
    assert command(folder, *words, *posed, *asked) == 0
    rows = {row["encoder"]: row for row in json.loads(report.read_text())}
    assert list(rows) == encoders
    assert [row["dimension"] for row in rows.values()] == [16, 16, 4 * 64, 7]
    assert all(row["queries"] == 5 for row in rows.values())
    assert rows["vlad"]["R@1"] == rows["vlad"]["P@1"] >= 0.8
    assert all(row["R@20"] == row["P@20"] == 1 for row in rows.values())
    assert "vlad256" in capsys.readouterr().out


def test_pairs_made_by_hand_need_no_poses(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, report = tmp_path / "same.csv", tmp_path / "scores.json"
    table.write_text("query_image,map_image\nframe-000.png,00.png\nframe-000.png,01.png\nframe-004.png,07.png\n")
    asked = ["--pairs", str(table), "--camera", str(folder / "camera.yaml")]
    for said in ("written", "replaced"):
        assert command(folder, "--encoder", "vlad", *asked, "--json", str(report)) == 0
        assert f"{said}: {report}" in capsys.readouterr().out
    assert json.loads(report.read_text())[0]["queries"] == 2
    assert command(folder, "--encoder", str(folder / "teacher"), *asked) == 1
    assert "a teacher looks at 3D structure" in capsys.readouterr().err
    table.write_text("query_image,map_image\nframe-000.png,99.png\n")
    with pytest.raises(InputError, match=r"line 2: no image 99.png is there"):
        pairs_by_hand(table, [Path("frame-000.png")], [Path("00.png")])


def test_a_pair_names_one_image(tmp_path: Path) -> None:
    table, queries = tmp_path / "same.csv", [Path("queries/a.png")]
    database = [Path("images/0001.png"), Path("images/visit2/0001.png"), Path("images/visit2/0002.png")]

    def found(name: str) -> list[bool]:
        table.write_text(f"query_image,map_image\na.png,{name}\n")
        return list(pairs_by_hand(table, queries, database)[0])

    assert found("visit2/0001.png") == [False, True, False]
    assert found("images/0001.png") == [True, False, False]
    assert found("0002.png") == [False, False, True]
    with pytest.raises(
        InputError, match=r"line 2: 0001.png is 2 images, such as images/0001.png and .*more of its path"
    ):
        found("0001.png")
    for missing in ("", "visit3/0002.png", "2.png"):
        with pytest.raises(InputError, match=f"line 2: no image {missing} is there"):
            found(missing)


def test_poses_are_of_one_frame(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    landmark_map = read_map(folder / "map")
    frames = [replace(landmark_map, scenes=(replace(landmark_map.scenes[0], frame_id=name),)) for name in ("a", "b")]
    write_map(merge_maps(frames, name="both", config=MappingConfig()), tmp_path / "both")
    for name in ("a", "b"):
        shutil.copytree(folder / "images", tmp_path / name)
    posed = ["--poses", str(folder / "poses.txt"), "--camera", str(folder / "camera.yaml")]
    for positives in ("points", "pose"):
        asked = ["--map", str(tmp_path / "both"), "--images", str(tmp_path), *posed, "--positives", positives]
        assert command(folder, "--encoder", "vlad", *asked) == 1
        assert re.search(r"both: has 2 scenes.*expected one for .*give --pairs", capsys.readouterr().err)


def test_what_is_not_said_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(folder, "--encoder", "vlad") == 1
    assert "give --poses and --camera, or --pairs" in capsys.readouterr().err


def test_a_query_sees_what_its_keypoints_show(folder: Path) -> None:
    _, landmark_map = wall_map(8)
    database = views_of_map(landmark_map, folder / "images")
    truth, paths = poses(5, seed=1), sorted((folder / "queries").iterdir())
    shown = posed_queries(paths, truth, CAMERA, landmark_map, database)
    near = near_by_pose(truth, database, radius_m=0.6, angle_rad=0.5)
    expected = expected_queries(paths, truth, CAMERA, database, near)
    for k, pose in enumerate(truth):
        inside = np.flatnonzero(CAMERA.contains(CAMERA.project(pose.inverse().apply(database.points))))
        seen = shown.indices[shown.seen(k)]
        assert set(seen) <= set(inside)
        assert len(seen) > 0.2 * len(inside)
        assert set(expected.indices[expected.seen(k)]) <= set(inside)
        assert len(expected.indices[expected.seen(k)]) > 0.6 * len(inside)


def test_sharing_counts_points_and_their_part() -> None:
    queries, database = (
        scattered(np.array([[1, 1, 1, 0]], bool)),
        scattered(np.array([[1, 1, 0, 1], [0, 0, 1, 0]], bool)),
    )
    assert sharing(queries, database, min_shared=1, min_share=0.0).tolist() == [[True, True]]
    assert sharing(queries, database, min_shared=2, min_share=0.0).tolist() == [[True, False]]
    assert sharing(queries, database, min_shared=1, min_share=0.4).tolist() == [[True, False]]
    assert sharing(queries, database, min_shared=1, min_share=0.51).tolist() == [[False, False]]


def test_near_is_near_and_looks_the_same_way() -> None:
    database = scattered(np.ones((3, 2), bool))
    database.translations[:] = [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    database.rotations[2] = np.diag([-1.0, 1.0, -1.0])
    found = near_by_pose([Pose.identity()], database, radius_m=0.5, angle_rad=0.5)
    assert found.tolist() == [[True, False, False]]


def test_reduced_descriptors_keep_who_is_near() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(400, 5)))[0]
    rows = rng.normal(size=(30, 5)) @ axes.T + 1.0
    found = _reduced(DescribedImages(rows, rows[:3] + 1e-3 * rng.normal(size=(3, 400)), 0.0))
    assert found.database.shape == (30, 29)
    assert np.allclose(np.linalg.norm(found.queries, axis=1), 1)
    assert (found.queries @ found.database.T).argmax(axis=1).tolist() == [0, 1, 2]
