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

"""`vloc place`: check, export, import, test and pairs, on images of a few walls."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from graphs import write_encoder
from plane_scene import SceneFolder, poses, write_images

from vloc_ros.cli.main import main
from vloc_ros.cli.place_testing import _images_per_place
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.datasets.place_recognition.layout import read_split
from vloc_ros.datasets.place_recognition.place_images import parse_image
from vloc_ros.storage.cameras import write_camera

PLACES, SPACING_M = 6, 40.0


def run(*words: object) -> int:
    return main([str(word) for word in words])


def write_views(folder: Path, count: int, seed: int, shift_px: int) -> None:
    """A view of each wall, moved by some pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(count):
        rng = np.random.default_rng(place)
        wall = cv2.resize(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
        view = np.ascontiguousarray(wall[:, shift_px : shift_px + 260])
        cv2.imwrite(str(folder / f"@{place * SPACING_M + seed}@{seed}@@@@@@@90@@@@@{seed}@.png"), view)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    write_views(folder / "images/test/database", PLACES, seed=0, shift_px=0)
    write_views(folder / "images/test/queries", PLACES, seed=3, shift_px=30)
    return folder


def test_a_data_set_in_order_has_no_problem(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("place", "check", dataset) == 0
    assert "no problem" in capsys.readouterr().out


def test_faults_are_listed_and_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_views(tmp_path / "images/test/database", 2, seed=0, shift_px=0)
    assert run("place", "check", tmp_path) == 1
    assert "no queries" in capsys.readouterr().out


def test_the_recall_of_walls_is_known(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, page = tmp_path / "scores.json", tmp_path / "wrong.html"
    given = ("--resize", 240, 260, "--rerank", "qe:3", "--rerank", "kreciprocal:3,2,0.3", "--rerank", "pose:3")
    assert run("place", "test", dataset, *given, "--json", scores, "--report", page) == 0
    content = json.loads(scores.read_text())
    assert content["options"]["radius_m"] == 25.0
    assert content["options"]["resize"] == [240, 260]
    found = content["indices"][0]
    assert found["name"] == "vlad-sift"
    assert found["hash"]
    assert found["scores"]["recall"]["R@1"]["share"] == 1.0
    assert found["scores"]["chance"]["R@1"] == pytest.approx(1 / PLACES)
    refused, reciprocal, by_pose = found["rerankings"]
    assert "at least 5" in refused["refused"]
    assert reciprocal["scores"]["recall"]["R@1"]["share"] == 1.0
    assert by_pose["scores"]["recall"]["R@1"]["share"] == 1.0
    assert [row["right"] for row in found["results"]] == [True] * PLACES
    assert "</html>" in page.read_text()
    assert "R@1 100.0 %" in capsys.readouterr().out


def test_a_model_is_an_index_and_wrong_answers_are_on_the_page(dataset: Path, tmp_path: Path) -> None:
    model, page = write_encoder(tmp_path / "model"), tmp_path / "wrong.html"
    assert run("place", "test", dataset, "--index", model, "--radius", 1.0, "--report", page) == 0
    assert f"{PLACES} of {PLACES} queries" in page.read_text()
    assert run("place", "test", dataset, "--index", model, "--scales", "0.71,1") == 1
    assert run("place", "test", dataset, "--index", model, "--resize", 240, 260) == 1


def test_a_calibration_of_another_aspect_ratio_is_refused(dataset: Path, tmp_path: Path, capsys) -> None:
    camera = tmp_path / "camera.yaml"
    given = ("--resize", 240, 260, "--rerank", "pose:1", "--camera", camera)
    write_camera(camera, Camera("PINHOLE", 640, 480, (500.0, 500.0, 320.0, 240.0)), name="camera")
    assert run("place", "test", dataset, *given) == 1
    assert "aspect ratio" in capsys.readouterr().err


def test_places_of_a_panorama_are_counted_once() -> None:
    images = [parse_image(Path("a"), "a", {"x": str(x), "y": "0"}, where="") for x in (0, 0, 0, 10, 100)]
    assert _images_per_place(images, 25.0) == 2.0


def test_zones_have_no_distance(tmp_path: Path) -> None:
    write_views(tmp_path / "images/test/database", PLACES, seed=0, shift_px=0)
    write_views(tmp_path / "images/test/queries", PLACES, seed=3, shift_px=30)
    queries = sorted((tmp_path / "images/test/queries").iterdir())
    for path, zone in [(queries[0], "18"), *((path, "17") for path in (tmp_path / "images").rglob("*.png"))]:
        if path.exists():
            path.rename(path.with_name(path.name.replace("@@@@@@@", f"@{zone}@@@@@@", 1)))
    scores = tmp_path / "scores.json"
    given = ("--separate-zones", "--resize", 240, 260, "--rerank", "pose:2", "--rerank", "cluster", "--json", scores)
    assert run("place", "test", tmp_path, *given) == 0
    found = json.loads(scores.read_text())["indices"][0]
    assert [row["distance_m"] is None for row in found["results"]].count(True) == 1
    assert [row["nearest_m"] is None for row in found["results"]].count(True) == 1
    assert found["rerankings"][1]["scores"]["aupr"] is None


def test_a_damaged_image_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_views(tmp_path / "images/test/database", PLACES, seed=0, shift_px=0)
    write_views(tmp_path / "images/test/queries", 2, seed=3, shift_px=30)
    damaged = sorted((tmp_path / "images/test/database").iterdir())[-1]
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run("place", "test", tmp_path, "--resize", 240, 260) == 1
    found = capsys.readouterr()
    assert damaged.name in found.err
    assert f"{PLACES - 1} database images" in found.out


@pytest.mark.parametrize(
    "options",
    [
        ("--rerank", "spatial:5"),
        ("--scales", "x"),
        ("--resize", "1", "1"),
        ("--radius", "0"),
        ("--radius", "nan"),
        ("--max-angle", "-1"),
        ("--min-share", "nan"),
        ("--queries", "database"),
        ("--queries", "queries_night"),
        ("--split", "val"),
        ("--positives", "shared-view"),
        ("--index", "none"),
    ],
)
def test_wrong_options_are_one_line(
    dataset: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("place", "test", dataset, *options) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_pairs_are_lines_of_two_names(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.txt"
    given = ("--resize", 240, 260, "--count", 2, "--out")
    assert run("place", "pairs", dataset, *given, out) == 0
    lines = [line.split(" ") for line in out.read_text().splitlines()]
    assert len(lines) == 2 * PLACES
    assert all((dataset / name).is_file() for line in lines for name in line)
    folders = ("--database", "images/test/database", "--queries", "images/test/queries")
    assert run("place", "pairs", dataset, *folders, *given, tmp_path / "same.txt") == 0
    assert (tmp_path / "same.txt").read_text() == out.read_text()
    assert run("place", "pairs", dataset, *given, out) == 1


def test_import_and_export_give_the_same_files(dataset: Path, tmp_path: Path) -> None:
    table, again = dataset.parent / "places-of-walls.csv", tmp_path / "again"
    assert run("place", "import", dataset, "--out", table) == 0
    assert run("place", "export", "--csv", table, "--out", again) == 0
    files = [sorted(p.relative_to(f) for p in f.rglob("*.png")) for f in (dataset, again)]
    assert files[0] == files[1]
    assert len(files[0]) == 2 * PLACES
    assert all((dataset / name).read_bytes() == (again / name).read_bytes() for name in files[0])


def test_a_folder_that_cannot_be_written_is_named(dataset: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    table = dataset.parent / "table.csv"
    table.write_text("path,x,y\n")
    assert run("place", "export", "--csv", table, "--out", tmp_path / "file" / "out") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_map_says_which_images_share_their_view(scene_folder: SceneFolder, tmp_path: Path) -> None:
    write_images(scene_folder.scene, poses(8, seed=99), tmp_path / "images")
    for k in range(8):
        (tmp_path / "images" / f"frame-{k:03}.png").rename(tmp_path / "images" / f"{k}.png")
    out = tmp_path / "out"
    given = ("--images", tmp_path / "images", "--queries", "[67]*", "--out", out)
    assert run("place", "export", "--map", scene_folder.map, *given) == 0
    split = read_split(out)
    assert (len(split.database), len(split.queries)) == (6, 2)
    assert len((out / "shared_views.csv").read_text().splitlines()) > 2
    assert run("place", "test", out, "--positives", "shared-view", "--resize", 240, 320) == 0


def test_simulated_worlds_are_written(tmp_path: Path) -> None:
    given = ("--world", "room", "--test", 1, "--room-images", 2, "--light", "night", "--out", tmp_path / "out")
    assert run("place", "export", *given) == 0
    split = read_split(tmp_path / "out")
    assert (len(split.database), len(split.queries)) == (2, 2)


@pytest.mark.parametrize(
    "options",
    [
        ("--world", "moon"),
        ("--world", "room", "--light", "noon"),
        ("--world", "room", "--images", "DIR"),
        ("--map", "none"),
        ("--bag", "none"),
        ("--csv", "none.csv"),
    ],
)
def test_wrong_sources_are_one_line(tmp_path: Path, options: tuple[str, ...], capsys) -> None:
    assert run("place", "export", *options, "--out", tmp_path / "out") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
