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

"""`vloc evaluate` and its errors, as a person meets them."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from plane_scene import CAMERA, write_images
from plane_scene import poses as wall_poses

from vloc_ros.cli.main import main
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import map_hash
from vloc_ros.storage.trajectories import Trajectory, write_tum


def evaluate(folder, *words, images=None, poses=None, camera=None, truth=True) -> int:
    words = ["evaluate", "--map", folder.map, "--images", images or folder.images, *words]
    if truth:
        words += ["--poses", poses or folder.poses, "--camera", camera or folder.camera]
    return main([str(word) for word in words])


def one_line(capsys) -> str:
    """The error that a person sees: one line, no traceback."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vloc: ")]
    assert len(lines) == 1
    return lines[0]


def test_scores_and_report_are_written_and_shown(scene_folder, tmp_path, capsys):
    scores_file, report = tmp_path / "scores.json", tmp_path / "report.html"
    assert evaluate(scene_folder, "--json", scores_file, "--report", report) == 0
    scores = json.loads(scores_file.read_text())
    assert scores["queries"] == scores["accepted"] == 6
    assert scores["median_translation_m"] < 0.005
    assert scores["recall"]["2cm_2deg"] == 1.0
    assert scores["false_accepts"] == 0
    assert {"features", "after_features", "total"} < set(scores["latency_ms"])
    assert set(scores["latency_ms"]["total"]) == {"p50", "p95", "p99"}
    assert scores["map_bytes"] == sum(p.stat().st_size for p in scene_folder.map.iterdir() if p.name[0] != ".")
    assert [row["image"] for row in scores["images"]] == [f"frame-{i:03}.png" for i in range(6)]
    assert scores["run"]["map"]["hash"] == map_hash(scene_folder.map)
    assert (scores["run"]["mode"], scores["run"]["settings"]["pose.seed"]) == ("single", 0)
    assert scores["run"]["models"] == {"recognizer": None, "encoder": None, "matcher": None}
    assert "<h2>Queries</h2>" in report.read_text()
    out = capsys.readouterr().out
    assert "median error" in out
    assert str(report) in out


def test_negatives_are_refused_without_a_calibration(scene_folder, tmp_path, capsys):
    scores_file = tmp_path / "scores.json"
    words = ("--absent", "--json", scores_file)
    assert evaluate(scene_folder, *words, images=scene_folder.negatives, truth=False) == 0
    scores = json.loads(scores_file.read_text())
    assert (scores["queries"], scores["false_accepts"]) == (6, 0)
    assert sum(scores["refusals"].values()) == 6
    assert "focal length of 0.9 x the image width" in capsys.readouterr().out


def test_known_images_called_absent_are_false_accepts(scene_folder, tmp_path):
    words = ("--absent", "--camera", scene_folder.camera, "--json", tmp_path / "s.json")
    assert evaluate(scene_folder, *words, truth=False) == 0
    assert json.loads((tmp_path / "s.json").read_text())["false_accepts"] == 6


def test_limit_and_parameters_reach_the_localizer(scene_folder, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("verification: {min_matches: 10000}\n")
    words = ("--limit", "2", "--params", params, "--json", tmp_path / "s.json")
    assert evaluate(scene_folder, *words) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert (scores["queries"], scores["accepted"], scores["median_translation_m"]) == (2, 0, None)
    assert evaluate(scene_folder, *words, "--set", "verification.min_matches=12") == 0
    assert json.loads((tmp_path / "s.json").read_text())["accepted"] == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--set", "pose.max_error_px=-1"], "max_error_px"),
        (["--set", "pose.no_such=1"], "unknown parameter pose.no_such"),
        (["--set", "nonsense"], "expected NAME=VALUE"),
        (["--set", "pose=3", "--set", "pose.seed=1"], "pose is a value"),
        (["--set", "pose.seed=[1"], "is not a number"),
        (["--limit", "0"], "--limit is 0, expected 1 or more"),
        (["--live"], "need --bag"),
    ],
)
def test_wrong_options_end_with_one_line(scene_folder, capsys, words, expected):
    assert evaluate(scene_folder, *words) == 1
    assert expected in one_line(capsys)


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\x00"])
def test_a_parameter_file_that_is_none(scene_folder, tmp_path, capsys, content):
    params = tmp_path / "params.yaml"
    params.write_text(content)
    assert evaluate(scene_folder, "--params", params) == 1
    assert str(params) in one_line(capsys)


def test_missing_things_are_named(scene_folder, tmp_path, capsys):
    gone = tmp_path / "gone"
    for given in ({"images": gone}, {"poses": gone}, {"camera": gone}):
        assert evaluate(scene_folder, **given) == 1
        assert str(gone) in one_line(capsys)
    words = ["evaluate", "--map", gone, "--images", scene_folder.images, "--absent"]
    assert main([str(word) for word in words]) == 1
    assert str(gone) in one_line(capsys)
    assert evaluate(scene_folder, "--params", gone) == 1
    assert str(gone) in one_line(capsys)


def test_poses_without_a_calibration(scene_folder, capsys):
    assert evaluate(scene_folder, "--poses", scene_folder.poses, truth=False) == 1
    assert "--camera" in one_line(capsys)


def test_pose_count_that_does_not_fit(scene_folder, tmp_path, capsys):
    poses = tmp_path / "poses.txt"
    poses.write_text("\n".join(scene_folder.poses.read_text().splitlines()[:-1]) + "\n")
    assert evaluate(scene_folder, poses=poses) == 1
    assert "5 poses" in one_line(capsys)


def test_true_poses_in_another_order_are_no_false_accepts(scene_folder, tmp_path, capsys):
    """The same number of rows in another order: paired row by row they would score right results as false."""
    truth = Trajectory(np.arange(6) * 10**9 + 10**8, tuple(scene_folder.truth[::-1]))
    write_tum(tmp_path / "reversed.txt", truth)
    assert evaluate(scene_folder, "--json", tmp_path / "s.json", poses=tmp_path / "reversed.txt") == 1
    assert "6 of 6 accepted poses are those of another image by the true poses" in one_line(capsys)
    assert not (tmp_path / "s.json").exists()


def test_an_image_at_whose_time_there_is_no_pose_is_left_out(scene_folder, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for index, image in enumerate(sorted(scene_folder.images.iterdir())):
        shutil.copy(image, images / f"{index}.{'0' * 6}.png")
    assert evaluate(scene_folder, images=images) == 0
    (images / "5.000000.png").rename(images / "5.500000.png")
    assert evaluate(scene_folder, "--json", tmp_path / "s.json", images=images) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert (scores["queries"], scores["left_out"]) == (5, 1)
    for image in sorted(images.iterdir()):
        image.rename(images / f"1{image.name}")
    capsys.readouterr()
    assert evaluate(scene_folder, images=images) == 1
    line = one_line(capsys)
    assert "10.000000.png" in line
    assert "5.000000 s" in line


def test_a_camera_of_another_size_names_an_image(scene_folder, tmp_path, capsys):
    camera = tmp_path / "camera.yaml"
    camera.write_text(scene_folder.camera.read_text().replace("image_width: 320", "image_width: 640"))
    scores_file = tmp_path / "scores.json"
    assert evaluate(scene_folder, "--json", scores_file, camera=camera) == 1
    line = one_line(capsys)
    assert "frame-000.png" in line
    assert "640x240" in line
    assert not scores_file.exists()


def test_a_damaged_image_is_named_and_left_out(scene_folder, tmp_path, capsys):
    """It is neither a refusal of a known place nor of an unknown one."""
    images, scores_file = tmp_path / "images", tmp_path / "scores.json"
    shutil.copytree(scene_folder.images, images)
    (images / "frame-000.png").write_bytes(b"no image")
    given = ("--json", scores_file, "--report", tmp_path / "report.html")
    assert evaluate(scene_folder, *given, images=images) == 1
    printed = capsys.readouterr()
    assert "warning: frame-000.png cannot be used: " in printed.err
    assert re.search(r"left out: cannot be used +1\n", printed.out)
    scores = json.loads(scores_file.read_text())
    assert (scores["queries"], scores["unusable"], scores["recall"]["5cm_5deg"]) == (5, 1, 1.0)
    assert [row["image"] for row in scores["images"] if row["status"] == "unusable"] == ["frame-000.png"]
    assert evaluate(scene_folder, *given, "--absent", "--camera", scene_folder.camera, images=images, truth=False) == 1
    assert json.loads(scores_file.read_text())["queries"] == 5


def test_an_output_that_cannot_be_written(scene_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert evaluate(scene_folder, "--limit", "1", "--json", tmp_path / "file" / "scores.json") == 1
    assert "scores.json" in one_line(capsys)


@pytest.mark.parametrize(
    ("option", "file", "extra"), [("--report", "report.html", "evaluation"), ("--rerun", "run.rrd", "rerun")]
)
def test_an_output_without_its_library_is_refused_before_the_work(
    scene_folder, tmp_path, capsys, monkeypatch, option, file, extra
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert evaluate(scene_folder, option, tmp_path / file) == 1
    assert f"vloc_ros[{extra}]" in one_line(capsys)
    assert not (tmp_path / file).exists()


def test_a_report_shows_the_images_of_the_map(scene_folder, tmp_path, capsys):
    images = tmp_path / "map_images"
    write_images(scene_folder.scene, wall_poses(8, seed=99), images)
    report = tmp_path / "report.html"
    words = ("--limit", "2", "--report", report, "--map-images", images)
    assert evaluate(scene_folder, *words) == 1
    assert "missing are 0.png" in one_line(capsys)
    for k in range(8):
        (images / f"frame-{k:03}.png").rename(images / f"{k}.png")
    assert evaluate(scene_folder, *words) == 0
    data = json.loads(re.search(r'id="data">(.*?)</script>', report.read_text())[1])
    assert {query["keyframe"] for query in data["queries"].values()} == {int(k) for k in data["keyframes"]}
    assert evaluate(scene_folder, "--map-images", images) == 1
    assert "--report" in one_line(capsys)


@pytest.fixture(scope="module")
def bag(scene_folder, tmp_path_factory):
    """The images with their true poses as a bag, as a robot with its camera 20 cm ahead of its base recorded it."""
    folder = tmp_path_factory.mktemp("bags") / "bag"
    given = ["--images", scene_folder.images, "--camera", scene_folder.camera, "--poses", scene_folder.poses]
    words = ["bag", "make", *given, "--mount", "0.2", "0", "0", "0", "0", "0", "--out", folder]
    assert main([str(word) for word in words]) == 0
    return folder


@pytest.mark.parametrize("by_topic", [True, False])
def test_images_of_a_bag_are_scored_offline(scene_folder, bag, tmp_path, by_topic, capsys):
    write_tum(tmp_path / "later.txt", Trajectory(np.arange(100, 106) * 10**9, tuple(scene_folder.truth)))
    truth = ["--truth-topic", "/truth"] if by_topic else ["--poses", tmp_path / "later.txt"]
    words = ["evaluate", "--map", scene_folder.map, "--bag", bag, *truth, "--json", tmp_path / "s.json"]
    assert main([str(word) for word in [*words, "--limit", "4"]]) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert (scores["queries"], scores["accepted"]) == (4, 4)
    assert scores["median_translation_m"] < 0.005
    assert ("images one by one" in capsys.readouterr().err) == (not by_topic), "no row has the time of an image"


def test_errors_of_a_bag_are_one_line(scene_folder, bag, tmp_path, capsys):
    cases = {
        "no topic /another": ["--truth-topic", "/another"],
        "takes the place of the bag's camera_info, found --rectified": ["--camera", scene_folder.camera, "--rectified"],
        "--camera takes the place of camera_info, which --live plays": ["--camera", scene_folder.camera, "--live"],
        "has no images on /no": ["--truth-topic", "/truth", "--image-topic", "/no"],
    }
    for expected, words in cases.items():
        truth = [] if "--truth-topic" in words else ["--truth-topic", "/truth"]
        assert main([str(w) for w in ["evaluate", "--map", scene_folder.map, "--bag", bag, *truth, *words]]) == 1
        assert expected in one_line(capsys)
    assert main(["evaluate", "--map", str(scene_folder.map), "--bag", str(tmp_path / "gone"), "--absent"]) == 1
    assert "gone" in one_line(capsys)


def test_a_calibration_takes_the_place_of_the_bags(scene_folder, bag, tmp_path):
    """At half the focal length the images are not localized where they were taken."""
    wrong = replace(CAMERA, parameters=(140.0, 140.0, *CAMERA.parameters[2:]))
    write_camera(tmp_path / "camera.yaml", wrong, name="camera")
    words = [
        "evaluate",
        "--map",
        scene_folder.map,
        "--bag",
        bag,
        "--truth-topic",
        "/truth",
        "--json",
        tmp_path / "s.json",
    ]
    for camera, right in ((scene_folder.camera, 1.0), (tmp_path / "camera.yaml", 0.0)):
        assert main([str(word) for word in [*words, "--camera", camera, "--json", tmp_path / "s.json"]]) == 0
        assert json.loads((tmp_path / "s.json").read_text())["recall"]["2cm_2deg"] == right


@pytest.mark.parametrize(
    "option", ["--image-topic", "--camera-info-topic", "--tf-topic", "--base-frame", "--odom-frame"]
)
def test_options_of_bags_are_not_passed_over_with_images(scene_folder, capsys, option):
    assert evaluate(scene_folder, option, "x") == 1
    assert f"{option} goes with --bag, found --images" in one_line(capsys)


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for option in ("--absent", "--bag", "--live", "--truth-topic", "--image-topic", "--camera-info-topic", "--set"):
        assert option in out
