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

"""Accuracy floors on real photographs, through the commands that a user runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vloc_ros.cli.main import main
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.storage.cameras import read_camera, write_camera
from vloc_ros.storage.maps import read_map, write_map


def vloc(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


Images = tuple[Path, Path, Path]
_EVERY_FOURTH = slice(0, 100, 4)
_FIRST, _SECOND = slice(0, 50, 4), slice(50, 100, 4)  # the first half does not show all that the queries show


def part_of(data: Path, which: str, folder: Path, images: slice = slice(None)) -> Images:
    """Some of the map's images or of the queries: their folder, the file of their poses, and that of their camera."""
    (folder / "images").mkdir(parents=True)
    for image in sorted((data / which / "images").iterdir())[images]:
        (folder / "images" / image.name).symlink_to(image)
    rows = [row for row in (data / which / "poses_tum.txt").read_text().splitlines() if row and not row.startswith("#")]
    (folder / "poses.txt").write_text("\n".join(rows[images]) + "\n")
    return folder / "images", folder / "poses.txt", data / "camera_info.yaml"


def words_of(images: Images) -> tuple[object, ...]:
    return tuple(word for pair in zip(("--images", "--poses", "--camera"), images, strict=True) for word in pair)


def evaluated(map_folder: Path, queries: Images, scores_file: Path) -> dict[str, Any]:
    vloc("evaluate", "--map", map_folder, *words_of(queries), "--json", scores_file)
    return json.loads(scores_file.read_text())


def built(images: Images, folder: Path, *options: str) -> Path:
    vloc("map", "build", *words_of(images), *options, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def part_map(shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[slice], Path]:
    """Return a function that gives the map of some of redkitchen's 100 images, whose covariance is not calibrated."""

    @cache
    def build_part(start: int, stop: int, step: int) -> Path:
        folder = tmp_path_factory.mktemp("part")
        images = part_of(shared_data("redkitchen"), "map", folder, slice(start, stop, step))
        return built(images, folder / "map", "--set", "calibration_gap_m=0")

    return lambda images: build_part(images.start, images.stop, images.step or 1)


@pytest.fixture(scope="module")
def redkitchen(part_map: Callable[[slice], Path]) -> Path:
    """A map of every fourth image."""
    return part_map(_EVERY_FOURTH)


@pytest.fixture(scope="module")
def queries(shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Images:
    """Every fourth query of redkitchen."""
    return part_of(shared_data("redkitchen"), "query", tmp_path_factory.mktemp("queries"), slice(0, 80, 4))


@pytest.fixture(scope="module")
def scores(redkitchen, queries, tmp_path_factory) -> dict[str, Any]:
    """Of the map of every fourth image."""
    return evaluated(redkitchen, queries, tmp_path_factory.mktemp("scores") / "scores.json")


def test_redkitchen_is_localized_to_centimetres(scores):
    assert scores["queries"] == 20
    assert scores["recall"]["5cm_5deg"] == 1.0
    assert scores["recall"]["2cm_2deg"] * 20 >= 19
    assert scores["median_translation_m"] <= 0.003
    assert scores["false_accepts"] == 0
    assert scores["map_bytes"] <= 300_000


@pytest.mark.slow
def test_castle_is_localized_to_centimetres(shared_data, tmp_path):
    data = shared_data("castle")
    images = part_of(data, "map", tmp_path / "map", slice(0, 30, 2))
    queries = part_of(data, "query", tmp_path / "query", slice(0, 9, 2))
    settings = ("--set", "calibration_gap_m=0", "--set", "extractor.max_megapixels=0.5")
    castle = built(images, tmp_path / "castle", "--max-keypoints", "3000", *settings)
    scores = evaluated(castle, queries, tmp_path / "scores.json")
    assert scores["queries"] == 5
    assert scores["recall"]["5cm_5deg"] == 1.0
    assert scores["median_translation_m"] <= 0.015
    assert scores["false_accepts"] == 0


@pytest.mark.parametrize("name", ["castle/query", pytest.param("kitti/drive_04", marks=pytest.mark.slow)])
def test_other_places_are_refused(redkitchen, shared_data, tmp_path, name):
    words = ("--images", shared_data(name) / "images", "--absent", "--limit", "4", "--json", tmp_path / "s.json")
    vloc("evaluate", "--map", redkitchen, *words)
    assert json.loads((tmp_path / "s.json").read_text())["false_accepts"] == 0


@pytest.mark.parametrize(("factor", "expected"), [(0.8, True), (1.005, False)])
def test_a_wrong_focal_length_is_said(redkitchen, shared_data, tmp_path, capsys, factor, expected):
    """Of images that the map's own camera took; calibrations of one camera differ a little."""
    data = shared_data("redkitchen")
    right = read_camera(data / "camera_info.yaml")
    write_camera(tmp_path / "camera.yaml", _with_focal_length(right, factor), name="given")
    given = ("--images", data / "query/images", "--poses", data / "query/poses_tum.txt", "--limit", "5")
    main([str(word) for word in ("evaluate", "--map", redkitchen, *given, "--camera", tmp_path / "camera.yaml")])
    assert (f"have a focal length of {right.intrinsics[0]:.1f} px" in capsys.readouterr().err) is expected


def _with_focal_length(camera: Camera, factor: float) -> Camera:
    focal = camera.parameters.index(camera.intrinsics[2])  # before the principal point
    scaled = [factor * value for value in camera.parameters[:focal]]
    return replace(camera, parameters=(*scaled, *camera.parameters[focal:]))


@pytest.fixture(scope="module")
def before(part_map, queries, tmp_path_factory) -> dict[str, Any]:
    """The scores of the map of the first half."""
    return evaluated(part_map(_FIRST), queries, tmp_path_factory.mktemp("before") / "scores.json")


@pytest.mark.slow
@pytest.mark.parametrize("posed", [True, False])
def test_a_second_visit_finds_what_one_build_finds(part_map, scores, before, queries, shared_data, tmp_path, posed):
    images, poses, _ = part_of(shared_data("redkitchen"), "map", tmp_path / "second", _SECOND)
    given = ("--images", images, *(("--poses", poses) if posed else ()))
    vloc("map", "update", part_map(_FIRST), *given, "--out", tmp_path / "m")
    after = evaluated(tmp_path / "m", queries, tmp_path / "s.json")
    assert after["recall"]["5cm_5deg"] == 1.0
    assert after["recall"]["2cm_2deg"] * 20 >= 19
    assert after["median_translation_m"] <= 2.0 * scores["median_translation_m"]
    assert after["median_translation_m"] < 0.9 * before["median_translation_m"]
    assert after["map_bytes"] <= 1.1 * scores["map_bytes"]
    assert after["false_accepts"] == 0


def _move_map(folder: Path, moved_folder: Path) -> None:
    """A map turned and moved into another frame."""
    new_from_old = Pose.from_rotation_vector([0.3, -1.2, 0.5], [4.0, -2.0, 1.0])
    similarity = Similarity(1.0, new_from_old.rotation, new_from_old.translation)
    write_map(transform_map(read_map(folder), similarity, frame_id="again"), moved_folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("some", "others", "align", "median_m"),
    [
        (_EVERY_FOURTH, slice(2, 100, 4), "auto", 0.003),  # taken along one way
        (_FIRST, _SECOND, "same", 0.004),  # taken along two, with half in common
    ],
)
def test_two_maps_of_redkitchen_become_one(part_map, queries, tmp_path, capsys, some, others, align, median_m):
    _move_map(part_map(others), tmp_path / "moved")
    vloc("map", "merge", part_map(some), tmp_path / "moved", "--align", align, "--out", tmp_path / "whole")
    assert "again is aligned with map" in capsys.readouterr().out
    whole, separate = read_map(tmp_path / "whole").keyframes, read_map(part_map(others)).keyframes
    first = len(whole) - len(separate)
    for k in range(len(separate)):
        distance_m, angle_rad = whole.pose(first + k).distance_to(separate.pose(k))
        assert distance_m < 0.01
        assert angle_rad < 0.005
    scores = evaluated(tmp_path / "whole", queries, tmp_path / "scores.json")
    assert scores["recall"]["5cm_5deg"] == 1.0
    assert scores["median_translation_m"] <= median_m
    assert scores["false_accepts"] == 0
