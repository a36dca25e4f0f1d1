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

"""`vloc map encode`, and what the commands that localize and change maps make of an encoded map."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import write_encoder
from plane_scene import CAMERA, SceneFolder, poses, write_images

from vloc_ros.bags.writing import BagWriter
from vloc_ros.cli.live import resolve_models
from vloc_ros.cli.main import main
from vloc_ros.core.config import parameters_of
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.inference.global_descriptors import read_global_descriptor
from vloc_ros.mapping.indexing import global_descriptors
from vloc_ros.mapping.indexing.global_descriptors import MODEL
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.storage.maps import map_hash, read_map, write_map

LARGE = ("--set", "candidates.whole_map_max_points=0", "--set", "candidates.retrieval_top_k=4")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "student")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "other", shift=1.0)


@pytest.fixture(scope="module")
def keyframes(scene_folder: SceneFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images that the wall's map was made from, by its keyframes' names."""
    folder = tmp_path_factory.mktemp("keyframes")
    write_images(scene_folder.scene, poses(8, seed=99), folder / "images")
    for k in range(8):
        (folder / "images" / f"frame-{k:03}.png").rename(folder / "images" / f"{k}.png")
    return folder / "images"


@pytest.fixture
def encoded(scene_folder: SceneFolder, student: Path, keyframes: Path, tmp_path: Path) -> Path:
    assert (
        run("map", "encode", scene_folder.map, "--model", student, "--images", keyframes, "--out", tmp_path / "m") == 0
    )
    return tmp_path / "m"


def run(*words: object) -> int:
    return main([str(word) for word in words])


def evaluate(scene_folder: SceneFolder, map_: Path, *words: object) -> int:
    given = ("--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera)
    return run("evaluate", "--map", map_, *given, *LARGE, *words)


def test_a_map_is_encoded_in_place(
    scene_folder: SceneFolder, student: Path, keyframes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "map"
    shutil.copytree(scene_folder.map, folder)
    assert run("map", "encode", folder, "--model", student, "--images", keyframes) == 0
    hash_ = read_global_descriptor(student).hash
    out = capsys.readouterr().out
    assert f"8 keyframes encoded by {hash_[:12]}, 48 values each" in out
    assert f"map {map_hash(folder)[:12]} replaced: {folder} (" in out
    assert map_hash(folder) != map_hash(scene_folder.map)
    assert read_map(folder, mapped=False).retrieval[MODEL].encoder == hash_
    assert run("map", "info", folder) == 0
    assert "model (48 values, 8 items)" in capsys.readouterr().out


def test_a_map_of_a_bag_is_encoded_from_it(
    scene_folder: SceneFolder, student: Path, encoded: Path, tmp_path: Path
) -> None:
    with BagWriter(tmp_path / "bag", camera=CAMERA, base_from_camera=Pose.identity()) as bag:
        for k, view in enumerate(poses(8, seed=99)):
            bag.write_image(10**9 + k, scene_folder.scene.image(view))
    wall = scene_folder.scene.landmark_map
    names = tuple(f"{10**9 + k:019}" for k in range(8))
    write_map(replace(wall, keyframes=replace(wall.keyframes, names=names)), tmp_path / "map")
    assert run("map", "encode", tmp_path / "map", "--model", student, "--bag", tmp_path / "bag") == 0
    of_bag, of_folder = (read_map(folder).retrieval[MODEL] for folder in (tmp_path / "map", encoded))
    np.testing.assert_allclose(of_bag.descriptors, of_folder.descriptors, atol=0.005)


def test_the_map_is_left_alone_where_another_folder_is_named(scene_folder: SceneFolder, encoded: Path) -> None:
    assert MODEL not in read_map(scene_folder.map).retrieval
    assert MODEL in read_map(encoded).retrieval


def test_images_are_found_by_the_encoder(
    scene_folder: SceneFolder, encoded: Path, student: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    assert evaluate(scene_folder, encoded, "--encoder", student, "--json", out) == 0
    accepted = json.loads(out.read_text())["accepted_by_candidate"]
    assert set(accepted) == {"retrieval/model"}
    assert accepted["retrieval/model"] >= 5
    words = ("--images", scene_folder.images, "--camera", scene_folder.camera, *LARGE)
    assert run("localize", "--map", encoded, "--encoder", student, *words, "--out", tmp_path / "results") == 0
    assert (tmp_path / "results" / "results.jsonl").read_text().count("retrieval/model") >= 5


def test_another_encoder_is_one_line(
    scene_folder: SceneFolder, encoded: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(scene_folder, encoded, "--encoder", other) == 1
    error = capsys.readouterr().err
    assert f"the encoder has the hash {read_global_descriptor(other).hash[:12]}, expected" in error
    assert "`vloc map encode`" in error
    assert error.count("\n") == 1


def test_a_map_that_is_not_encoded_is_one_line(
    scene_folder: SceneFolder, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(scene_folder, scene_folder.map, "--encoder", student) == 1
    error = capsys.readouterr().err
    assert "has the retrieval indices none, expected one of a model" in error
    assert error.count("\n") == 1


def test_an_encoder_that_is_not_used_is_a_warning(
    scene_folder: SceneFolder, encoded: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, warnings in ((scene_folder.map, 1), (encoded, 0)):
        words = (
            "--images",
            scene_folder.images,
            "--camera",
            scene_folder.camera,
            "--out",
            tmp_path / f"results-{warnings}",
        )
        assert run("localize", "--map", folder, "--encoder", student, *words) == 0
        assert capsys.readouterr().err.count("the encoder is not used") == warnings


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--model", "@student", "--images", "@negatives"], "holds 0 of the map's 8 images, missing are 0.png, 1.png"),
        (["--model", "@map", "--images", "@keyframes"], "is not the manifest of a model"),
        (["--model", "@student", "--images", "nowhere"], "holds 0 of the map's 8 images"),
    ],
)
def test_what_cannot_be_leaves_the_map_as_it_was(
    scene_folder: SceneFolder,
    student: Path,
    keyframes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    reason: str,
) -> None:
    folder = tmp_path / "map"
    shutil.copytree(scene_folder.map, folder)
    named = {"@student": student, "@keyframes": keyframes, "@negatives": scene_folder.negatives, "@map": folder}
    assert run("map", "encode", folder, *(named.get(word, word) for word in words)) == 1
    assert reason in capsys.readouterr().err
    assert map_hash(folder) == map_hash(scene_folder.map)


def test_a_new_folder_is_reported_as_written(
    scene_folder: SceneFolder, student: Path, keyframes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (scene_folder.map, "--model", student, "--images", keyframes, "--out", tmp_path / "new")
    for said in ("written", "replaced"):
        assert run("map", "encode", *words) == 0
        assert f"{said}: {tmp_path / 'new'}" in capsys.readouterr().out


def test_what_is_no_map_stays_and_no_work_is_done(
    scene_folder: SceneFolder,
    student: Path,
    keyframes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def worked(*_: object, **__: object) -> None:
        raise AssertionError("the images were read before the output was checked")

    monkeypatch.setattr("vloc_ros.storage.images.read_image", worked)
    (tmp_path / "photo.png").write_bytes(b"precious")
    words = (scene_folder.map, "--model", student, "--images", keyframes, "--out", tmp_path)
    assert run("map", "encode", *words) == 1
    assert "holds photo.png and no map" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_map_that_was_changed_meanwhile_is_not_overwritten(
    scene_folder: SceneFolder,
    student: Path,
    keyframes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "map"
    shutil.copytree(scene_folder.map, folder)

    def slowly(landmark_map: LandmarkMap, *words: Any) -> LandmarkMap:
        write_map(replace(landmark_map, name="renamed by somebody"), folder)
        return at_once(landmark_map, *words)

    at_once = global_descriptors.encode_keyframes
    monkeypatch.setattr(global_descriptors, "encode_keyframes", slowly)
    assert run("map", "encode", folder, "--model", student, "--images", keyframes) == 1
    assert "it was changed meanwhile; run the command again" in capsys.readouterr().err
    assert read_map(folder).name == "renamed by somebody"
    assert run("map", "encode", folder, "--model", student, "--images", keyframes, "--out", tmp_path / "new") == 0


@pytest.mark.parametrize("with_encoder", [True, False])
def test_an_update_keeps_the_index_and_reports_keyframes_without_rows(
    scene_folder: SceneFolder,
    encoded: Path,
    student: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    with_encoder: bool,
) -> None:
    given = ("--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera)
    given += ("--encoder", student) if with_encoder else ()
    assert run("map", "update", encoded, *given, "--out", tmp_path / "grown") == 0
    assert ("the retrieval index model covers 8 of 14 keyframes" in capsys.readouterr().out) is not with_encoder
    index = read_map(tmp_path / "grown").retrieval[MODEL]
    assert index.items.tolist() == list(range(14 if with_encoder else 8))
    np.testing.assert_allclose(index.descriptors[:8], read_map(encoded).retrieval[MODEL].descriptors, atol=0.005)


def test_an_update_by_another_encoder_is_one_line(
    scene_folder: SceneFolder, encoded: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--images", scene_folder.images, "--camera", scene_folder.camera, "--encoder", other)
    assert run("map", "update", encoded, *given, "--out", tmp_path / "grown") == 1
    error = capsys.readouterr().err
    assert f"the encoder has the hash {read_global_descriptor(other).hash[:12]}, expected" in error
    assert not (tmp_path / "grown").exists()


@pytest.mark.parametrize("both", [True, False])
def test_a_merge_keeps_the_index_of_one_encoder(
    scene_folder: SceneFolder, encoded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], both: bool
) -> None:
    second = encoded if both else scene_folder.map
    shutil.copytree(second, tmp_path / "second")
    maps = (encoded, tmp_path / "second", "--frames", "hall", "kitchen")
    assert run("map", "merge", *maps, "--out", tmp_path / "house") == 0
    assert ("without the retrieval index model" in capsys.readouterr().out) is not both
    assert (MODEL in read_map(tmp_path / "house").retrieval) is both


def test_a_known_calibration_rejects_images_of_another_camera(
    scene_folder: SceneFolder, student: Path, keyframes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wall = scene_folder.scene.landmark_map
    twice = CAMERA.scaled(640, 480)
    write_map(replace(wall, keyframes=replace(wall.keyframes, cameras=(twice,) * 8)), tmp_path / "map")
    assert run("map", "encode", tmp_path / "map", "--model", student, "--images", keyframes) == 1
    assert "0.png is 320x240, the map's image of this name 640x480" in capsys.readouterr().err


def test_the_node_is_given_the_models_of_the_offline_localizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from argparse import Namespace

    monkeypatch.chdir(tmp_path)
    given = Namespace(recognizer=Path("recognizer"), encoder=Path("student"), matcher=Path("lighterglue"))
    models = {"recognizer": "recognizer", "encoder": "student", "matching_network": "lighterglue"}
    assert resolve_models(given) == {name: tmp_path / folder for name, folder in models.items()}
    assert set(models) <= {leaf.name for leaf in parameters_of(LocalizerNodeConfig())}
    assert resolve_models(Namespace(recognizer=None, encoder=None, matcher=None)) == {}
