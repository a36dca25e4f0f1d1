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

"""`vloc evaluate` compares with the truth as evo does: the same figures on the files that it writes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plane_scene import SceneFolder

from vloc_ros.cli.main import main
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.storage.maps import write_map
from vloc_ros.storage.trajectories import Trajectory, read_tum, write_tum

START_NS = 1_700_000_000_123_456_789
OWN_FRAME = Similarity(0.4, Pose.from_rotation_vector([0.2, 0.5, -0.3], np.zeros(3)).rotation, np.array([3.0, -2, 1]))


@pytest.fixture(scope="module")
def stamped(scene_folder: SceneFolder, tmp_path_factory: pytest.TempPathFactory) -> SceneFolder:
    """Images named by their time, with one of another place among them; truth 4 ms later, and none of the last."""
    folder = tmp_path_factory.mktemp("stamped")
    (folder / "images").mkdir()
    stamps_ns = START_NS + np.arange(6) * 33_333_333
    for stamp_ns, image in zip(stamps_ns, sorted(scene_folder.images.iterdir()), strict=True):
        shutil.copy(image, folder / "images" / f"{stamp_ns}.png")
    shutil.copy(scene_folder.negatives / "frame-002.png", folder / "images" / f"{stamps_ns[2]}.png")
    write_tum(folder / "truth.txt", Trajectory(stamps_ns[:5] + 4_000_000, tuple(scene_folder.truth[:5])))
    return dataclasses.replace(scene_folder, images=folder / "images", poses=folder / "truth.txt")


@pytest.fixture(scope="module")
def own_frame(stamped: SceneFolder, tmp_path_factory: pytest.TempPathFactory) -> SceneFolder:
    """With a map as images alone would give it: in a frame and a scale of its own."""
    folder = tmp_path_factory.mktemp("own") / "map"
    moved = transform_map(stamped.scene.landmark_map, OWN_FRAME, metric=False)
    scene = dataclasses.replace(moved.scene(), frame_is_arbitrary=True)
    write_map(dataclasses.replace(moved, scenes=(scene,)), folder)
    return dataclasses.replace(stamped, map=folder)


def evaluate(folder: SceneFolder, out: Path, *words: object) -> dict[str, Any]:
    given = ["--map", folder.map, "--images", folder.images, "--poses", folder.poses, "--camera", folder.camera]
    command = ["evaluate", *given, *words, "--json", out / "s.json", "--out", out / "poses"]
    assert main([str(word) for word in command]) == 0
    scores: dict[str, Any] = json.loads((out / "s.json").read_text())
    return scores


def evo_ape(truth: Path, poses: Path, *, align: bool) -> tuple[float, int]:
    """Rmse in metres, and the number of poses, of `evo_ape tum TRUTH POSES`."""
    pytest.importorskip("evo", reason="evo is not installed; pip install 'vloc_ros[test]'")
    from evo.core.metrics import APE, PoseRelation, StatisticsType
    from evo.core.sync import associate_trajectories
    from evo.tools.file_interface import read_tum_trajectory_file

    pair = [read_tum_trajectory_file(str(path)) for path in (truth, poses)]
    reference, estimate = associate_trajectories(*pair)
    if align:
        estimate.align(reference, correct_scale=True)
    metric = APE(PoseRelation.translation_part)
    metric.process_data((reference, estimate))
    return float(metric.get_statistic(StatisticsType.rmse)), estimate.num_poses


def test_the_absolute_pose_error_is_evos_on_the_files(stamped: SceneFolder, tmp_path: Path) -> None:
    scores = evaluate(stamped, tmp_path)
    assert (scores["queries"], scores["accepted"], scores["left_out"]) == (5, 4, 1)
    assert scores["recall"]["5cm_5deg"] == pytest.approx(0.8), "over all queries"
    assert scores["ape"]["poses"] == 4
    for truth in (stamped.poses, tmp_path / "poses" / "truth.txt"):
        rmse_m, poses = evo_ape(truth, tmp_path / "poses" / "poses.txt", align=False)
        assert (poses, scores["ape"]["translation_m"]["rmse"]) == (4, pytest.approx(rmse_m, abs=1e-6))


def test_an_aligned_error_is_evos_with_align_and_correct_scale(own_frame: SceneFolder, tmp_path: Path) -> None:
    scores = evaluate(own_frame, tmp_path, "--align", "--correct-scale", "--report", tmp_path / "report.html")
    rmse_m, poses = evo_ape(own_frame.poses, tmp_path / "poses" / "poses.txt", align=True)
    assert (poses, scores["ape"]["translation_m"]["rmse"]) == (4, pytest.approx(rmse_m, abs=1e-6))
    assert scores["alignment"]["scale"] == pytest.approx(2.5, rel=1e-2)
    assert "Sim3 (Umeyama) over 4 accepted poses" in (tmp_path / "report.html").read_text()


def test_a_map_in_a_frame_of_its_own_has_no_error(
    own_frame: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = evaluate(own_frame, tmp_path, "--report", tmp_path / "report.html")
    assert scores["ape"] is None
    assert "not comparable: the map's frame and scale" in capsys.readouterr().out
    assert "Not comparable: the map&#39;s frame and scale" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--align", "--correct-scale", "--limit", "2"], "evaluate more images, or leave out --align"),
        (["--align"], "use --align --correct-scale"),
    ],
)
def test_an_alignment_that_fails_is_a_failure(
    own_frame: SceneFolder, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    given = ["--map", own_frame.map, "--images", own_frame.images, "--poses", own_frame.poses]
    assert main([str(word) for word in ["evaluate", *given, "--camera", own_frame.camera, *words]]) == 1
    assert expected in capsys.readouterr().out


def test_poses_have_the_times_of_the_images(stamped: SceneFolder, tmp_path: Path) -> None:
    scores = evaluate(stamped, tmp_path)
    stamps_ns = read_tum(tmp_path / "poses" / "poses.txt").stamps_ns.tolist()
    assert stamps_ns == [START_NS + i * 33_333_333 for i in (0, 1, 3, 4)]
    assert [row["stamp_ns"] for row in scores["images"] if row["accepted"]] == stamps_ns


def test_images_without_times_get_those_of_a_file(scene_folder: SceneFolder, tmp_path: Path) -> None:
    """KITTI's poses have none, and its times are in a file of their own."""
    rows = [" ".join(f"{v:.9f}" for v in pose.matrix[:3].reshape(-1)) for pose in scene_folder.truth]
    (tmp_path / "04.txt").write_text("\n".join(rows))
    (tmp_path / "times.txt").write_text("\n".join(f"{0.1 * i:e}" for i in range(6)))
    given = dataclasses.replace(scene_folder, poses=tmp_path / "04.txt")
    assert {row["stamp_ns"] for row in evaluate(given, tmp_path)["images"]} == {None}
    assert (tmp_path / "poses" / "poses.txt").read_text().splitlines()[1].startswith("frame-000.png ")
    scores = evaluate(given, tmp_path, "--times", tmp_path / "times.txt")
    assert scores["median_translation_m"] < 0.005
    assert read_tum(tmp_path / "poses" / "poses.txt").stamps_ns.tolist() == [i * 10**8 for i in range(6)]


def test_the_relative_error_is_over_a_length_where_one_is_given(stamped: SceneFolder, tmp_path: Path) -> None:
    assert evaluate(stamped, tmp_path)["rpe"]["delta"] == {"value": 1, "unit": "frame"}
    rpe = evaluate(stamped, tmp_path, "--rpe-delta", "1")["rpe"]
    assert (rpe["delta"], rpe["pairs"]) == ({"value": 1.0, "unit": "m"}, 1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--correct-scale"], "--correct-scale goes with --align"),
        (["--rpe-delta", "0"], "--rpe-delta is 0, expected metres above 0"),
        (["--max-time-difference", "-1"], "--max-time-difference is -1, expected 0 to"),
        (["--max-time-difference", "nan"], "--max-time-difference is nan, expected 0 to"),
        (["--max-time-difference", "0.0001"], "has no pose at the time of"),
    ],
)
def test_wrong_options_are_one_line(
    stamped: SceneFolder, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    given = ["--map", stamped.map, "--images", stamped.images, "--poses", stamped.poses, "--camera", stamped.camera]
    assert main([str(word) for word in ["evaluate", *given, *words]]) == 1
    assert expected in capsys.readouterr().err


def test_negatives_have_nothing_to_be_aligned_to(stamped: SceneFolder, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--map", stamped.map, "--images", stamped.images, "--absent"]
    assert main([str(word) for word in ["evaluate", *given, "--align"]]) == 1
    assert "--align needs true poses, found --absent" in capsys.readouterr().err


def test_a_truth_of_somebodys_own_is_refused_before_the_work(
    stamped: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--images", stamped.images, "--camera", stamped.camera, "--out", tmp_path / "out"]
    assert main([str(word) for word in ["localize", "--map", stamped.map, *given]]) == 0
    (tmp_path / "out" / "truth.txt").write_text("mine")
    command = ["evaluate", "--map", tmp_path / "not read yet", *given]
    assert main([str(word) for word in [*command, "--poses", stamped.poses]]) == 1
    assert "truth.txt: exists and was not written by `vloc evaluate`" in capsys.readouterr().err
    assert (tmp_path / "out" / "truth.txt").read_text() == "mine"
