"""Accuracy floors on real photographs, through the commands that a user runs."""

import json
from collections.abc import Callable
from dataclasses import replace
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


def evaluated(map_folder: Path, data: Path, scores_file: Path) -> dict[str, Any]:
    given = ("--images", data / "query/images", "--poses", data / "query/poses_tum.txt")
    vloc("evaluate", "--map", map_folder, *given, "--camera", data / "camera_info.yaml", "--json", scores_file)
    return json.loads(scores_file.read_text())


def built(data: Path, folder: Path, *options: str) -> Path:
    given = ("--images", data / "map/images", "--poses", data / "map/poses_tum.txt")
    vloc("map", "build", *given, "--camera", data / "camera_info.yaml", *options, "--out", folder)
    return folder


@pytest.fixture(scope="session")
def redkitchen(shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of the 100 posed map images."""
    return built(shared_data("redkitchen"), tmp_path_factory.mktemp("redkitchen") / "map")


def test_redkitchen_is_localized_to_centimetres(redkitchen, shared_data, tmp_path):
    scores = evaluated(redkitchen, shared_data("redkitchen"), tmp_path / "scores.json")
    assert scores["queries"] == 80
    assert scores["recall"]["5cm_5deg"] == 1.0
    assert scores["recall"]["2cm_2deg"] * 80 >= 78
    assert scores["median_translation_m"] <= 0.003
    assert scores["false_accepts"] == 0
    assert scores["map_bytes"] <= 2_000_000


def test_castle_is_localized_to_centimetres(shared_data, tmp_path):
    data = shared_data("castle")
    scores = evaluated(built(data, tmp_path / "map", "--max-keypoints", "4000"), data, tmp_path / "scores.json")
    assert scores["queries"] == 9
    assert scores["recall"]["5cm_5deg"] == 1.0
    assert scores["median_translation_m"] <= 0.015
    assert scores["false_accepts"] == 0


@pytest.mark.parametrize("name", ["castle/query", "kitti/drive_04"])
def test_other_places_are_refused(redkitchen, shared_data, tmp_path, name):
    images = shared_data(name) / "images"
    vloc(
        "evaluate", "--map", redkitchen, "--images", images, "--absent", "--limit", "12", "--json", tmp_path / "s.json"
    )
    assert json.loads((tmp_path / "s.json").read_text())["false_accepts"] == 0


@pytest.mark.parametrize(("factor", "expected"), [(0.8, True), (1.25, True), (1.005, False)])
def test_a_wrong_focal_length_is_said(redkitchen, shared_data, tmp_path, capsys, factor, expected):
    """Of images that the map's own camera took; calibrations of one camera differ a little."""
    data = shared_data("redkitchen")
    right = read_camera(data / "camera_info.yaml")
    write_camera(tmp_path / "camera.yaml", _with_focal_length(right, factor), name="given")
    given = ("--images", data / "query/images", "--poses", data / "query/poses_tum.txt", "--limit", "12")
    main([str(word) for word in ("evaluate", "--map", redkitchen, *given, "--camera", tmp_path / "camera.yaml")])
    assert (f"have a focal length of {right.intrinsics[0]:.1f} px" in capsys.readouterr().err) is expected


def _with_focal_length(camera: Camera, factor: float) -> Camera:
    focal = camera.parameters.index(camera.intrinsics[2])  # before the principal point
    scaled = [factor * value for value in camera.parameters[:focal]]
    return replace(camera, parameters=(*scaled, *camera.parameters[focal:]))


def _half(data: Path, folder: Path, images: slice) -> tuple[Path, Path]:
    """A folder of some of the map images, and the file of their poses."""
    (folder / "images").mkdir(parents=True)
    for image in sorted((data / "map/images").iterdir())[images]:
        (folder / "images" / image.name).symlink_to(image)
    rows = [row for row in (data / "map/poses_tum.txt").read_text().splitlines() if row and not row.startswith("#")]
    (folder / "poses.txt").write_text("\n".join(rows[images]) + "\n")
    return folder / "images", folder / "poses.txt"


@pytest.fixture(scope="session")
def first_half(shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of the first 50 map images, which do not show all that the queries show."""
    data, folder = shared_data("redkitchen"), tmp_path_factory.mktemp("first_half")
    images, poses = _half(data, folder, slice(0, 50))
    given = ("--images", images, "--poses", poses, "--camera", data / "camera_info.yaml")
    vloc("map", "build", *given, "--out", folder / "map")
    return folder / "map"


@pytest.mark.parametrize("posed", [True, False])
def test_a_second_visit_makes_redkitchen_as_good_as_one_build(redkitchen, first_half, shared_data, tmp_path, posed):
    data = shared_data("redkitchen")
    images, poses = _half(data, tmp_path / "second", slice(50, 100))
    vloc(
        "map", "update", first_half, "--images", images, *(("--poses", poses) if posed else ()), "--out", tmp_path / "m"
    )
    before, after, whole = (
        evaluated(folder, data, tmp_path / "s.json") for folder in (first_half, tmp_path / "m", redkitchen)
    )
    assert after["recall"]["5cm_5deg"] == 1.0
    assert after["recall"]["2cm_2deg"] * 80 >= 78
    assert after["median_translation_m"] <= 0.003
    assert after["median_translation_m"] < 0.9 * before["median_translation_m"]
    assert after["map_bytes"] <= 1.1 * whole["map_bytes"]
    assert after["false_accepts"] == 0


def _move_map(folder: Path, moved_folder: Path) -> None:
    """A map turned and moved into another frame."""
    new_from_old = Pose.from_rotation_vector([0.3, -1.2, 0.5], [4.0, -2.0, 1.0])
    similarity = Similarity(1.0, new_from_old.rotation, new_from_old.translation)
    write_map(transform_map(read_map(folder), similarity, frame_id="again"), moved_folder)


@pytest.mark.parametrize(
    ("some", "others", "align", "median_m"),
    [
        (slice(0, 100, 2), slice(1, 100, 2), "auto", 0.003),  # taken along one way
        (slice(0, 50), slice(50, 100), "same", 0.004),  # taken along two, with half in common
    ],
)
def test_two_maps_of_redkitchen_become_one(shared_data, tmp_path, capsys, some, others, align, median_m):
    data = shared_data("redkitchen")
    for name, which in (("some", some), ("others", others)):
        images, poses = _half(data, tmp_path / f"{name}_images", which)
        given = ("--images", images, "--poses", poses, "--camera", data / "camera_info.yaml")
        vloc("map", "build", *given, "--out", tmp_path / name)
    _move_map(tmp_path / "others", tmp_path / "moved")
    vloc("map", "merge", tmp_path / "some", tmp_path / "moved", "--align", align, "--out", tmp_path / "whole")
    assert "again is aligned with map" in capsys.readouterr().out
    whole, separate = read_map(tmp_path / "whole").keyframes, read_map(tmp_path / "others").keyframes
    for k in range(50):
        distance_m, angle_rad = whole.pose(50 + k).distance_to(separate.pose(k))
        assert distance_m < 0.01
        assert angle_rad < 0.005
    scores = evaluated(tmp_path / "whole", data, tmp_path / "scores.json")
    assert scores["recall"]["5cm_5deg"] == 1.0
    assert scores["median_translation_m"] <= median_m
    assert scores["false_accepts"] == 0
