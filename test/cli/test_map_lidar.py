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

"""`vloc map lidar`, and scans in `vloc localize` and `vloc evaluate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vloc_ros.cli.main import main
from vloc_ros.storage.results import read_results

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def kitti_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of a drive of KITTI."""
    drive = Path(__file__).resolve().parents[3] / "shared/data/kitti/drive_04"
    if not drive.exists():
        pytest.skip("../shared/data/kitti is missing")
    folder = tmp_path_factory.mktemp("maps") / "drive"
    assert run("map", "lidar", folder, "--kitti", drive, "--spacing", "8") == 0
    return folder


def test_scans_of_the_mapped_drive_are_localized(
    kitti_map: Path, shared_data: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = shared_data("kitti") / "drive_04"
    words = ["evaluate", "--map", kitti_map, "--scans", drive, "--poses", drive / "poses_tum.txt", "--limit", 4]
    assert run(*words, "--json", tmp_path / "s.json", "--out", tmp_path / "results") == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert (scores["queries"], scores["accepted"], scores["false_accepts"]) == (4, 4, 0)
    assert len(read_results(tmp_path / "results")) == 4
    assert run("map", "info", kitti_map) == 0
    assert "lidar" in capsys.readouterr().out


@pytest.mark.slow  # of localizers: test/mapping/test_lidar_places.py
def test_scans_of_another_drive_are_refused(
    kitti_map: Path, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    words = ["evaluate", "--map", kitti_map, "--scans", shared_data("kitti") / "drive_0009", "--absent", "--limit", 3]
    assert run(*words, "--json", tmp_path / "s.json") == 0
    assert json.loads((tmp_path / "s.json").read_text())["accepted"] == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["map", "lidar", "M", "--kitti", "D", "--spacing", "0"], "--spacing is 0"),
        (["map", "lidar", "M", "--kitti", "D", "--add-to", "M"], "the map of --add-to itself"),
        (["map", "lidar", "M", "--kitti", "D", "--pose-topic", "/p"], "--pose-topic goes with --bag"),
        (["map", "lidar", "M", "--bag", "B"], "need poses in the map"),
        (["map", "lidar", "M", "--depth", "D"], "depth images need --camera"),
        (["localize", "--map", "M", "--scans", "S", "--camera", "C", "--out", "R"], "go with --images"),
        (["localize", "--map", "M", "--images", "S", "--out", "R"], "--images without --camera"),
        (["evaluate", "--map", "M", "--scans", "S", "--absent", "--report", "R"], "--report is of images"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 1
    assert reason in capsys.readouterr().err
