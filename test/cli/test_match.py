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

"""`vloc match`: two images to matches, an overlay and the motion between them, or why there is none."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from plane_scene import CAMERA, make_plane_scene

from vloc_ros.cli.main import main
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.cameras import write_camera

FIRST = Pose.from_rotation_vector([0.0, 0.0, 0.0], [2.5, 1.5, -1.1])
SECOND = Pose.from_rotation_vector([0.05, -0.25, 0.1], [2.9, 1.5, -1.0])


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """Two images of a wall, and the options of their camera."""
    scene = make_plane_scene()
    for name, pose in (("a", FIRST), ("b", SECOND)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), scene.image(pose))
    write_camera(tmp_path / "camera.yaml", CAMERA, name="camera")
    return [str(tmp_path / name) for name in ("a.png", "b.png", "camera.yaml")]


def match(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["match", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_matches_of_a_wall_lie_where_the_wall_is_and_give_the_motion(pair, tmp_path, capsys) -> None:
    first, second, camera = pair
    overlay = tmp_path / "overlay.png"
    found = match(capsys, first, second, "--camera", camera, "--overlay", str(overlay))
    assert found["status"] == "ok"
    assert found["inliers"] > 50
    motion = SECOND.inverse() @ FIRST
    pose = Pose.from_quaternion(found["rotation_xyzw"], found["translation"])
    # a plane has two motions; the pixels of both agree
    rays = CAMERA.unproject(np.array([one["first"] for one in found["matches"] if one["inlier"]]))
    scaled = rays * (1.1 / rays[:, 2])[:, None]
    there = CAMERA.project(motion.apply(scaled))
    errors = np.linalg.norm(there - [one["second"] for one in found["matches"] if one["inlier"]], axis=1)
    assert np.median(errors) < 1.0
    assert np.linalg.norm(pose.translation) == pytest.approx(1)
    assert cv2.imread(str(overlay)).shape == (240, 640, 3)


def test_identical_images_have_no_motion_and_no_calibration_no_pose(pair, capsys) -> None:
    first, second, camera = pair
    same = match(capsys, first, first, "--camera", camera)
    assert (same["status"], same["translation"]) == ("no_motion", None)
    alone = match(capsys, first, second)
    assert (alone["status"], alone["rotation_xyzw"], alone["inliers"]) == ("not_calibrated", None, 0)
    assert len(alone["matches"]) > 50


def test_an_image_without_keypoints_has_no_matches(pair, tmp_path, capsys) -> None:
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((240, 320), 128, np.uint8))
    found = match(capsys, pair[0], str(tmp_path / "blank.png"), "--camera", pair[2])
    assert (found["status"], found["matches"], found["keypoints"][1]) == ("too_few_matches", [], 0)


def test_the_file_is_replaced_only_by_its_kind(pair, tmp_path, capsys) -> None:
    out = tmp_path / "out.json"
    for _ in range(2):
        assert main(["match", *pair[:2], "--out", str(out)]) == 0
    assert json.loads(out.read_text())["status"] == "not_calibrated"
    out.write_text("mine")
    assert main(["match", *pair[:2], "--out", str(out)]) == 1
    assert main(["match", *pair[:2], "--overlay", str(out.with_suffix(".png"))]) == 0
    out.with_suffix(".png").write_text("mine")
    assert main(["match", *pair[:2], "--overlay", str(out.with_suffix(".png"))]) == 1


@pytest.mark.parametrize(
    "words",
    [
        *(("--ratio", "0"), ("--ratio", "nan"), ("--max-error", "-1"), ("--max-error", "inf")),
        *(("--seed", "-1"), ("--seed", str(2**64)), ("--overlay", "x.jpg"), ("--matcher", "nowhere")),
    ],
)
def test_options_that_cannot_be_used_are_refused(pair, words, capsys) -> None:
    assert main(["match", *pair[:2], *words]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_calibration_of_other_images_is_refused(pair, tmp_path, capsys) -> None:
    write_camera(tmp_path / "other.yaml", CAMERA.scaled(640, 480), name="camera")
    assert main(["match", *pair[:2], "--camera", str(tmp_path / "other.yaml")]) == 1
    assert "640x480" in capsys.readouterr().err
    assert main(["match", *pair[:2], "--second-camera", pair[2]]) == 1
