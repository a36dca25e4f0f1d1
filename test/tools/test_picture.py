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

"""The picture of README.md, from the folders that `vloc demo` writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture import main

from vloc_ros.cli.main import main as vloc


def test_a_picture_of_a_demo(scene_folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = tmp_path / "demo"
    shutil.copytree(scene_folder.images, demo / "images" / "query" / "images")
    shutil.copy(scene_folder.camera, demo / "images" / "camera.yaml")
    shutil.copytree(scene_folder.map, demo / "map")
    queries = ["--images", demo / "images/query/images", "--camera", scene_folder.camera, "--out", demo / "results"]
    assert vloc([str(word) for word in ["localize", "--map", demo / "map", *queries]]) == 0
    out = tmp_path / "picture.png"
    assert main(["--demo", str(demo), "--out", str(out)]) == 0
    assert f"{out} (" in capsys.readouterr().out
    drawn = cv2.imread(str(out))
    assert drawn.shape[1] > 2 * drawn.shape[0]
    assert out.stat().st_size < 200_000
    blue, green, red = (drawn[:, :, channel].astype(int) for channel in range(3))
    half = drawn.shape[1] // 2
    assert (green - np.maximum(blue, red) > 40)[:, :half].any(), "inliers"
    assert (red - np.maximum(blue, green) > 100)[:, half:].any(), "poses"


def test_without_a_demo_it_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--demo", str(tmp_path), "--out", str(tmp_path / "p.png")]) == 1
    assert capsys.readouterr().err.startswith("picture: ")
    assert not (tmp_path / "p.png").exists()
