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

"""`vloc benchmark`: whole benchmarks of a tiny scene, gone on with where they were left, failures among them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import benchmark_folders as folders
import pytest
from benchmark_folders import QUERY_FRAMES, Frames

from vloc_ros.cli.main import main
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.colmap_models import pose_from_wxyz

pytest.importorskip("pycolmap", reason="the extra 'mapping' is not installed")

_QUICK = ("--max-keypoints", "700", "--map-set", "calibration_gap_m=0")


@pytest.fixture(scope="module")
def frames() -> Frames:
    return folders.render_frames()


def _benchmark(name: str, root: Path, out: Path, *options: str) -> int:
    return main(["benchmark", name, "--root", f"{root}", "--out", f"{out}", *_QUICK, *options])


def test_seven_scenes_by_both_kinds_of_poses(
    tmp_path: Path, frames: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "7scenes", tmp_path / "out"
    folders.write_seven_scenes(root, frames)
    folders.write_sfm_poses(tmp_path / "sfm", frames)
    options = ("--scene", "chess", "--sfm-poses", f"{tmp_path}/sfm")
    assert _benchmark("7scenes", root, out, *options) == 0
    shown = capsys.readouterr().out
    assert "1 of 2: chess, published poses: 10 images for the map, 4 queries" in shown
    assert "1 to go, about " in shown
    results = json.loads((out / "results.json").read_text())["7scenes"]
    assert [(result["scene"], result["poses"]) for result in results] == [("chess", "published"), ("chess", "sfm")]
    assert [result["scores"]["recall"]["5cm_5deg"] for result in results] == [1.0, 1.0]
    assert [result["map_images"] for result in results] == [10, 10]
    submission = (out / "chess/submission.txt").read_text().splitlines()
    assert [line.split()[0] for line in submission] == [f"seq-02/frame-00000{i}.color.png" for i in range(4)]
    table = (out / "table.txt").read_text()
    assert "5 cm, 5 deg" in table
    assert table.count("100.0%") == 2, "two kinds of poses have no mean"

    # a result by the same settings is kept, by others it is not, and the map serves both
    written = [(out / folder / "result.json").stat().st_mtime_ns for folder in ("chess", "chess-sfm")]
    assert _benchmark("7scenes", root, out, *options) == 0
    assert "of 2: chess" not in capsys.readouterr().out
    assert [(out / folder / "result.json").stat().st_mtime_ns for folder in ("chess", "chess-sfm")] == written
    # a run without the other kind of poses does not lose its rows
    assert _benchmark("7scenes", root, out, "--scene", "chess") == 0
    assert (out / "table.txt").read_text().count("100.0%") == 2
    map_written = (out / "chess/map/manifest.json").stat().st_mtime_ns
    assert _benchmark("7scenes", root, out, "--scene", "chess", "--set", "pose.max_error_px=6") == 0
    assert (out / "chess/result.json").stat().st_mtime_ns > written[0]
    assert (out / "chess/map/manifest.json").stat().st_mtime_ns == map_written

    # other poses of the map are another map
    pose = root / "chess/seq-01/frame-000000.pose.txt"
    pose.write_text((root / "chess/seq-01/frame-000001.pose.txt").read_text())
    _benchmark("7scenes", root, out, "--scene", "chess", "--set", "pose.max_error_px=6")
    assert (out / "chess/map/manifest.json").stat().st_mtime_ns > map_written


def test_a_scene_that_fails_does_not_lose_the_others(
    tmp_path: Path, frames: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.write_cambridge(tmp_path, frames, "ShopFacade")
    folders.write_cambridge(tmp_path, frames, "OldHospital")
    (tmp_path / "OldHospital/dataset_train.txt").write_text("\n\n\nseq1/frame00000.png 1 2 3\n")
    folders.write_cambridge(tmp_path, Frames([0 * image for image in frames.pixels], frames.poses), "GreatCourt")
    assert _benchmark("cambridge", tmp_path, tmp_path / "out") == 1
    found = capsys.readouterr()
    assert "OldHospital (published): failed: " in found.out
    assert "line 4: 4 columns, expected 8" in found.out
    assert "GreatCourt (published): failed: no two of the 10 images" in found.out
    assert "KingsCollege (published): not run: " in found.out
    assert "mi.eng.cam.ac.uk" in found.err
    done = {r["scene"]: r for r in json.loads((tmp_path / "out/results.json").read_text())["cambridge"]}["ShopFacade"]
    assert done["status"] == "done"
    assert done["scores"]["median_translation_m"] < 0.05
    # a scene by itself: the table has what is there of the others
    assert _benchmark("cambridge", tmp_path, tmp_path / "out", "--scene", "OldHospital") == 1
    table = (tmp_path / "out/table.txt").read_text()
    assert "ShopFacade" in table
    assert "KingsCollege" not in table


def test_aachen_writes_what_the_server_takes(tmp_path: Path, frames: Frames) -> None:
    folders.write_aachen(tmp_path, frames, version="1.1")
    assert _benchmark("aachen", tmp_path, tmp_path / "out") == 0
    rows = [line.split() for line in (tmp_path / "out/aachen/submission.txt").read_text().splitlines()]
    assert [row[0] for row in rows] == [f"{index}.jpg" for index in QUERY_FRAMES]
    for row, index in zip(rows, QUERY_FRAMES, strict=True):
        values = [float(word) for word in row[1:]]
        pose: Pose = pose_from_wxyz(values[:4], values[4:]).inverse()
        assert pose.distance_to(frames.poses[index])[0] < 0.05
    assert "aachen, night: 2 of 2 localized" in (tmp_path / "out/table.txt").read_text()


# pycolmap takes SIGTERM for itself when it is imported, which is after the command has begun
_TERMINATED = """
import os, signal, sys
from vloc_ros.cli.main import main
from vloc_ros.datasets import posed_files
posed_files.read_image = lambda path: os.kill(os.getpid(), signal.SIGTERM)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_terminated_benchmark_ends_with_one_line(tmp_path: Path, frames: Frames) -> None:
    folders.write_aachen(tmp_path, frames, version="1.1")
    words = ["benchmark", "aachen", "--root", f"{tmp_path}", "--out", f"{tmp_path}/out"]
    done = subprocess.run(
        [sys.executable, "-c", _TERMINATED, *words], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 130, done.stderr
    assert "***" not in done.stderr, "the stack trace of pycolmap's logging library"


def test_what_cannot_be_is_refused_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _benchmark("7scenes", tmp_path, tmp_path / "out", "--scene", "kitchen") == 1
    assert "expected one of chess, fire" in capsys.readouterr().err
    assert _benchmark("7scenes", tmp_path, tmp_path / "out", "--map-every", "0") == 1
    assert "--map-every is 0" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("mine")
    assert _benchmark("7scenes", tmp_path, tmp_path, "--scene", "chess") == 1
    assert "notes.txt" in capsys.readouterr().err
    assert _benchmark("7scenes", tmp_path, tmp_path / "out", "--set", "no.such=1") == 1
    assert "no" in capsys.readouterr().err
    assert _benchmark("7scenes", tmp_path, tmp_path / "out", "--extractor", "rootsfit") == 1
    assert not (tmp_path / "out").exists()
