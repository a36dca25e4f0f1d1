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

"""The images of a bag as a data set of place recognition: spaced, with their places, and recorded JPEG as it was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from recorded_order import OrderedWriter

from vloc_ros.bags.writing import BagWriter
from vloc_ros.cli.main import main
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.place_recognition.sources import OUT_OF_ORDER, TOO_NEAR, WITHOUT_POSE, images_of_bag
from vloc_ros.datasets.place_recognition.writing import encode_jpeg

CAMERA = Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0))
STEP_M = 0.5


@pytest.fixture(params=["raw", "compressed"])
def bag(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    with BagWriter(tmp_path / "bag", camera=CAMERA, base_from_camera=Pose.identity()) as writer:
        for k in range(9):
            stamp_ns, image = (k + 1) * 10**9, np.full((48, 64, 3), 20 * k, np.uint8)
            writer.write_odometry(stamp_ns, Pose(np.eye(3), np.array([STEP_M * k, 1.0, 0.0])))
            if request.param == "raw":
                writer.write_image(stamp_ns, image)
            else:
                writer.write_compressed_image(stamp_ns, encode_jpeg(image))
    return tmp_path / "bag"


def test_images_are_so_far_apart_and_have_their_places(bag: Path) -> None:
    found = list(images_of_bag(bag, split="test", role="queries", spacing_m=1.0))
    assert [float(image.fields["x"]) for image in found] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert {image.fields["y"] for image in found} == {"1.0"}
    assert [image.fields["timestamp"] for image in found] == [str(k * 10**9) for k in (1, 3, 5, 7, 9)]
    pixels = cv2.imdecode(np.frombuffer(found[2].read(), np.uint8), cv2.IMREAD_COLOR)
    assert abs(float(pixels.mean()) - 80.0) < 2.0


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    with OrderedWriter(tmp_path / "bag", camera=CAMERA, base_from_camera=Pose.identity()) as writer:
        # a stamp far in the future, a repeated one, and two seconds without odometry
        for k, stamp_s in enumerate((1, 2, 99, 3, 3, 4, 5, 6)):
            writer.write_compressed_image(stamp_s * 10**9, encode_jpeg(np.full((48, 64, 3), 20 * k, np.uint8)))
        for stamp_s in (1, 2, 3, 6, 99):
            writer.write_odometry(stamp_s * 10**9, Pose(np.eye(3), np.array([STEP_M * stamp_s, 1.0, 0.0])))
    left_out = Counter[str]()
    given = {"split": "test", "role": "queries", "spacing_m": 0.6}
    found = list(images_of_bag(tmp_path / "bag", **given, left_out=left_out))  # type: ignore[arg-type]
    assert [float(image.fields["x"]) for image in found] == [0.5, 1.5, 3.0]
    assert left_out == {WITHOUT_POSE: 2, OUT_OF_ORDER: 2, TOO_NEAR: 1}
    found = list(images_of_bag(tmp_path / "bag", **given, largest_gap_ns=4 * 10**9))  # type: ignore[arg-type]
    assert [float(image.fields["x"]) for image in found] == [0.5, 1.5, 2.5]


def test_bags_need_one_frame_and_no_role_is_empty(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["place", "export", "--bag", str(bag), "--query-bag", str(bag), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "--pose-topic" in capsys.readouterr().err
    assert main([*words, "--same-origin"]) == 0
    assert "4 are nearer than --spacing" in capsys.readouterr().err
    with BagWriter(tmp_path / "late", camera=CAMERA, base_from_camera=Pose.identity()) as writer:
        writer.write_image(10**9, np.zeros((48, 64, 3), np.uint8))
        for stamp_s in (5, 6):
            writer.write_odometry(stamp_s * 10**9, Pose.identity())
    words[5], words[7] = str(tmp_path / "late"), str(tmp_path / "other")
    assert main([*words, "--same-origin"]) == 1
    assert "gives no image of the queries" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_recorded_jpeg_is_copied(bag: Path) -> None:
    found = next(images_of_bag(bag, split="test", role="database", spacing_m=1.0))
    assert found.read() == encode_jpeg(np.zeros((48, 64, 3), np.uint8))
