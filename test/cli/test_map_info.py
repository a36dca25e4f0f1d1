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

"""`vloc map info` says what a map holds, to people and to machines."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vloc_ros.cli.main import main
from vloc_ros.core.geometry.covariance import CovarianceCalibration, FrameUncertainty
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage.maps import map_bytes, map_hash, read_map, write_map


def test_a_datum_has_the_yaw_that_navsat_transform_takes(scene_folder, tmp_path: Path, capsys) -> None:
    given = read_map(scene_folder.map)
    datum = Datum(46.84, -91.99, yaw_rad=np.pi / 6)
    write_map(replace(given, scenes=(replace(given.scene(), datum=datum),)), tmp_path / "earth")
    assert main(["map", "info", str(tmp_path / "earth")]) == 0
    found = capsys.readouterr().out
    assert "0.523599 rad from east" in found
    assert "60.00 deg from north" in found


def _calibrated(landmark_map: LandmarkMap, calibration: CovarianceCalibration) -> LandmarkMap:
    return replace(landmark_map, scenes=(replace(landmark_map.scene(), calibration=calibration),))


@pytest.fixture
def known_map(scene_folder, tmp_path: Path) -> Path:
    """The scene's map with a calibration and provenance of known figures."""
    calibration = CovarianceCalibration(1.25, np.array([1e-4, 4e-4, 9e-4, *[np.radians(0.5) ** 2] * 3]), 80)
    provenance = {
        "images": 6,
        "mean_reprojection_error_px": 0.81234,
        "matching": {"pairs": 15},
        "alignments": [{"to": "gravity", "scale": 1.0}],
    }
    scene_map = _calibrated(read_map(scene_folder.map), calibration)
    write_map(replace(scene_map, name="wall", provenance=provenance), tmp_path / "known")
    return tmp_path / "known"


def _rows(text: str) -> dict[str, str]:
    """The table's values by name."""
    pairs = (re.split(r"\s{2,}", row.strip() + "  ", maxsplit=1) for row in text.splitlines())
    return {name: value.strip() for name, value in pairs}


def test_people_read_a_table(known_map: Path, capsys) -> None:
    assert main(["map", "info", str(known_map)]) == 0
    rows, landmark_map = _rows(capsys.readouterr().out), read_map(known_map)
    assert rows["name"] == "wall"
    assert rows["hash"] == map_hash(known_map)
    assert rows["frame"] == f"{landmark_map.scene().frame_id}, metric"
    assert rows["points"] == f"{len(landmark_map.points)} in {len(landmark_map.landmarks)} landmarks"
    assert rows["keyframes per point"] == f"{len(landmark_map.keyframes.point_indices) / len(landmark_map.points):.1f}"
    assert rows["covariance"] == "calibrated on 80 left-out images"
    assert rows["scale"].startswith("1.25 x")
    assert rows["floor"] == "1 2 3 cm, 0.5 0.5 0.5 deg"
    assert rows["mean reprojection error px"] == "0.812"
    assert rows["pairs"] == "15"
    assert rows["alignments 1"] == "scale 1.0, to gravity"
    extent = np.ptp(landmark_map.points, axis=0)
    assert rows["extent"] == f"{extent[0]:.2f} x {extent[1]:.2f} x {extent[2]:.2f} m"


def test_machines_read_json(known_map: Path, capsys) -> None:
    assert main(["map", "info", str(known_map), "--json"]) == 0
    found, landmark_map = json.loads(capsys.readouterr().out), read_map(known_map)
    assert found["hash"] == map_hash(known_map)
    assert found["bytes"] == map_bytes(known_map) == sum(p.stat().st_size for p in known_map.iterdir())
    assert found["keyframes"] == list(landmark_map.keyframes.names)
    assert found["scenes"][0]["calibration"]["scale"] == 1.25
    assert found["extractor"]["name"] == "rootsift"
    assert found["provenance"]["images"] == 6
    assert found["scenes"][0]["points_extent"] == pytest.approx(np.ptp(landmark_map.points, axis=0))
    assert (found["metric"], found["points"]) == (True, len(landmark_map.points))


def test_a_frame_that_images_alone_chose_is_said(known_map: Path, tmp_path: Path, capsys) -> None:
    given = read_map(known_map)
    write_map(replace(given, scenes=(replace(given.scene(), frame_is_arbitrary=True),)), tmp_path / "own")
    assert main(["map", "info", str(tmp_path / "own")]) == 0
    assert _rows(capsys.readouterr().out)["frame"] == "map, metric, arbitrary: images alone chose it"


def test_unknown_scale_and_no_calibration_are_said(known_map: Path, tmp_path: Path, capsys) -> None:
    bare = _calibrated(read_map(known_map), CovarianceCalibration())
    bare = replace(bare, metric=False, provenance={}, retrieval={})
    write_map(bare, tmp_path / "bare")
    assert main(["map", "info", str(tmp_path / "bare")]) == 0
    rows = _rows(capsys.readouterr().out)
    assert rows["frame"].endswith("scale unknown")
    assert rows["extent"].endswith("(not metres: the scale is unknown)")
    assert rows["covariance"] == "not calibrated on this map"
    assert rows["retrieval indices"] == "none"
    assert "places" not in rows
    assert "floor" not in rows


@pytest.mark.parametrize(("metric", "unit"), [(True, "cm"), (False, "(map units)")])
def test_how_well_the_frame_is_known_is_in_the_maps_unit(known_map: Path, tmp_path: Path, capsys, *, metric, unit):
    factor = 100 if metric else 1
    given = read_map(known_map)
    variances = np.array([0.25, 1.0, 4.0, *[np.radians(2.0) ** 2] * 3])
    known = FrameUncertainty(np.diag([*variances, 0.0]), bending=variances)
    scenes = (replace(given.scene(), frame_uncertainty=known),)
    write_map(replace(given, metric=metric, scenes=scenes), tmp_path / "bent")
    assert main(["map", "info", str(tmp_path / "bent")]) == 0
    rows = _rows(capsys.readouterr().out)
    expected = f"{' '.join(f'{factor * v:.2g}' for v in (0.5, 1.0, 2.0))} {unit}, 2 2 2 deg"
    assert (rows["frame known to"], rows["bent by"]) == (expected, expected)
    assert unit in rows["floor"]


def test_what_was_done_since_the_calibration_is_said(known_map: Path, tmp_path: Path, capsys) -> None:
    small, house = tmp_path / "small", tmp_path / "house"
    assert main(["map", "compress", str(known_map), "--points", "300", "--out", str(small)]) == 0
    frames = ["--frames", "wall", "small"]
    assert main(["map", "merge", str(known_map), str(small), *frames, "--out", str(house)]) == 0
    capsys.readouterr()
    said = {}
    for folder in (known_map, small, house):
        assert main(["map", "info", str(folder)]) == 0
        said[folder.name] = re.findall(r"^covariance +(.*)$", capsys.readouterr().out, re.MULTILINE)
    as_built = "calibrated on 80 left-out images"
    after = f"{as_built}, before the map was compressed"
    assert said == {"known": [as_built], "small": [after], "house": [as_built, after]}


def test_the_provenance_of_the_build_is_kept_apart_in_a_changed_map(known_map: Path, tmp_path: Path, capsys) -> None:
    small, house = tmp_path / "small", tmp_path / "house"
    assert main(["map", "compress", str(known_map), "--points", "300", "--out", str(small)]) == 0
    assert main(["map", "merge", str(known_map), str(small), "--frames", "a", "b", "--out", str(house)]) == 0
    capsys.readouterr()
    found = {}
    for folder in (known_map, small, house):
        assert main(["map", "info", str(folder), "--json"]) == 0
        found[folder.name] = json.loads(capsys.readouterr().out)["provenance"]
    assert found["known"]["images"] == 6
    assert "images" not in found["small"]
    assert found["small"]["when_built"]["images"] == 6
    assert found["small"]["alignments"] == found["known"]["alignments"]
    assert found["house"] == {"merged_from": {"wall (a)": found["known"], "wall (b)": found["small"]}}
    assert main(["map", "info", str(small)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[lines.index("when built") + 1].split() == ["images", "6"]


@pytest.mark.parametrize(("name", "expected"), [("known", "small"), ("kitchen", "kitchen")])
def test_a_map_that_has_its_folders_name_takes_that_of_the_new_folder(
    name: str, expected: str, known_map: Path, tmp_path: Path
) -> None:
    write_map(replace(read_map(known_map), name=name), known_map)
    for words in (["compress", str(known_map), "--points", "300"], ["align", str(known_map), "--gravity"]):
        assert main(["map", *words, "--out", str(tmp_path / "small")]) == 0
        assert read_map(tmp_path / "small").name == expected


def test_an_update_of_another_scene_is_none_of_this_one(known_map: Path, scene_folder, tmp_path: Path, capsys) -> None:
    house, grown = tmp_path / "house", tmp_path / "grown"
    words = ["map", "merge", known_map, known_map, "--frames", "hall", "copy", "--out", house]
    assert main([str(word) for word in words]) == 0
    given = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    assert main([str(word) for word in ["map", "update", house, *given, "--scene", "copy", "--out", grown]]) == 0
    capsys.readouterr()
    assert main(["map", "info", str(grown), "--json"]) == 0
    scenes = json.loads(capsys.readouterr().out)["scenes"]
    assert [scene["calibration"]["before"] for scene in scenes] == [[], ["updated"]]


def test_a_damaged_map_is_one_line(known_map: Path, tmp_path: Path, capsys) -> None:
    largest = max(known_map.iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    for folder in (known_map, tmp_path / "gone"):
        assert main(["map", "info", str(folder)]) == 1
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1)
        assert str(folder) in captured.err
