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

"""`--focal`: a camera for images without calibration, and what their EXIF data say of it."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from exif_photographs import with_exif
from plane_scene import SceneFolder

from vloc_ros.cli.camera_options import explain_missing_camera, read_given_camera
from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError


def _photographs(folder: Path, *focal_lengths_mm: int, size: tuple[int, int] = (400, 300)) -> Path:
    folder.mkdir()
    grey = np.zeros(size[::-1], np.uint8)
    for number, focal_mm in enumerate(focal_lengths_mm):
        data = bytes(cv2.imencode(".jpg", grey)[1])
        (folder / f"{number}.jpg").write_bytes(with_exif(data, focal_mm) if focal_mm else data)
    return folder


def _given(images: Path, focal_px: float | None = None) -> argparse.Namespace:
    return argparse.Namespace(images=images, camera=None, focal=focal_px)


def test_a_focal_length_is_a_pinhole_of_the_images_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = _photographs(tmp_path / "photos", 26)
    (images / "0.jpg").rename(images / "1.jpg")
    (images / "0.jpg").write_bytes(b"\xff\xd8\xff damaged")  # named when it is used
    camera = read_given_camera(_given(images, 290.0))
    assert camera is not None
    assert (camera.width, camera.height) == (400, 300)
    assert camera.intrinsics == (290.0, 290.0, 200.0, 150.0)
    assert not any(camera.distortion)
    assert "less accurate" in capsys.readouterr().err
    assert read_given_camera(_given(images)) is None


@pytest.mark.parametrize("focal_px", [26.0, 0.0, -300.0, float("nan"), float("inf")])
def test_a_focal_length_is_in_pixels(tmp_path: Path, focal_px: float) -> None:
    with pytest.raises(InputError, match="expected pixels"):
        read_given_camera(_given(_photographs(tmp_path / "photos", 0), focal_px))


@pytest.mark.parametrize(
    ("focal_lengths_mm", "said"),
    [
        ((26, 0), "26 mm (35 mm equivalent): --focal 300"),  # 26 mm x 500 px / 43.27 mm
        ((13, 26), "these state 13, 26 mm (35 mm equivalent)"),
        ((0, 0), "the images state none"),
    ],
)
def test_what_photographs_state_is_named_and_not_taken(
    tmp_path: Path, focal_lengths_mm: tuple[int, ...], said: str
) -> None:
    args = _given(_photographs(tmp_path / "photos", *focal_lengths_mm))
    assert said in explain_missing_camera(args)


def test_images_are_localized_by_their_focal_length(scene_folder: SceneFolder, tmp_path: Path, capsys) -> None:
    given = ["--map", f"{scene_folder.map}", "--images", f"{scene_folder.images}", "--focal", "280"]
    assert main(["localize", *given, "--out", f"{tmp_path}/results"]) == 0
    assert "6 of 6 images" in capsys.readouterr().out
    assert main(["evaluate", *given, "--poses", f"{scene_folder.poses}"]) == 0


def test_images_of_several_sizes_are_refused(scene_folder: SceneFolder, tmp_path: Path, capsys) -> None:
    images = tmp_path / "images"
    shutil.copytree(scene_folder.images, images)
    cv2.imwrite(f"{images}/small.png", np.zeros((120, 160), np.uint8))
    given = ["--map", f"{scene_folder.map}", "--images", f"{images}", "--focal", "280"]
    assert main(["localize", *given, "--out", f"{tmp_path}/results"]) == 1
    assert "small.png cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("localize --map m --scans s --out r --focal 300", "--focal and --times go with --images"),
        ("evaluate --map m --bag b --absent --focal 300", "--focal goes with --images, found --bag"),
        ("map build --bag b --out m --focal 300", "--focal goes with --images, found --bag"),
        ("map health m --focal 300", "--focal without --images"),
        ("bag make --world room --out b --focal 300", "--focal go with --images"),
    ],
)
def test_a_focal_length_is_of_images(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 1
    assert said in capsys.readouterr().err
