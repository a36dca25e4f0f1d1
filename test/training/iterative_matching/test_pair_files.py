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

"""Pairs in the format of SuperGlue's evaluation, and the scores of matchers on them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from training.iterative_matching import evaluate
from training.iterative_matching.pair_files import load_image, read_pairs
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.simulation.scenario import make_lap
from vloc_ros.simulation.world import make_world

CAMERA = Camera("PINHOLE", 320, 240, (260.0, 260.0, 160.0, 120.0))


def write_pairs(folder: Path, *, turned: bool) -> Path:
    """Two views of a room as YFCC100M has them; the first lies on its side where it is to be turned."""
    lap = make_lap(make_world("room", 3), 30, 3, camera=CAMERA)
    first, second = lap.map_from_camera[0], lap.map_from_camera[2]
    # a camera that is turned clockwise sees the room turned counter-clockwise: one quarter turn too many
    held = Pose.from_rotation_vector(np.array([0.0, 0.0, -np.pi / 2]), np.zeros(3)) if turned else Pose.identity()
    pixels = np.ascontiguousarray(np.rot90(lap.image(0), 1)) if turned else lap.image(0)
    cv2.imwrite(str(folder / "a.png"), pixels)
    cv2.imwrite(str(folder / "b.png"), lap.image(2))
    upright = np.array([[260, 0, 159.5], [0, 260, 119.5], [0, 0, 1]])
    sideways = np.array([[260, 0, 119.5], [0, 260, 159.5], [0, 0, 1]])
    motion = second.inverse() @ first @ held.inverse()
    matrix = np.vstack([np.column_stack([motion.rotation, motion.translation]), [0, 0, 0, 1]])
    numbers = np.concatenate([(sideways if turned else upright).ravel(), upright.ravel(), matrix.ravel()])
    path = folder / "pairs.txt"
    path.write_text(f"a.png b.png {3 if turned else 0} 0 {' '.join(map(str, numbers))}\n\n")
    return path


@pytest.mark.parametrize("turned", [False, True])
def test_pairs_are_scored_as_they_are_held(tmp_path: Path, turned: bool) -> None:
    pairs = write_pairs(tmp_path, turned=turned)
    out = tmp_path / "scores.json"
    words = ["--pairs", pairs, "--images", tmp_path, "--json", out, "--keypoints", "500"]
    assert evaluate.main([str(word) for word in words]) == 0
    scores = json.loads(out.read_text())["nearest, ratio 0.9"]
    assert scores["pairs"] == 1
    assert scores["auc5"] > 80
    assert scores["precision"] > 0.2


def test_an_image_is_turned_with_its_camera(tmp_path: Path) -> None:
    image = np.zeros((40, 60), np.uint8)
    image[10, 45] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    matrix = np.array([[50.0, 0, 29.5], [0, 55, 19.5], [0, 0, 1]])
    ray = np.array([[(45.5 - 30) / 50, (10.5 - 20) / 55, 1.0]])
    for turns in range(4):
        found = load_image(tmp_path, "a.png", turns, matrix, 0)
        row, column = np.argwhere(found.pixels == 255)[0][:2]
        pixel = found.camera.project(found.turned_from_camera.apply(ray))
        assert pixel == pytest.approx(np.array([[column + 0.5, row + 0.5]]), abs=1e-6)
    assert load_image(tmp_path, "a.png", 1, matrix, 30).camera.height == 30


def test_a_line_of_another_form_is_refused(tmp_path: Path) -> None:
    path = write_pairs(tmp_path, turned=False)
    assert read_pairs(path)[0].second == "b.png"
    line = path.read_text().split()
    for changed, message in (
        (line[:-1], "has 37 fields, expected 38"),
        ([*line[:4], "x", *line[5:]], "expected numbers"),
        ([*line[:4], "-3", *line[5:]], "focal length is not positive"),
        ([*line[:22], "7", *line[23:]], "is not a rotation"),
    ):
        path.write_text(" ".join(changed))
        with pytest.raises(InputError, match=message):
            read_pairs(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="holds no pairs"):
        read_pairs(path)
