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

"""`vloc place pose` refuses what does not fit together, in one line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vloc_ros.cli.main import main
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import PosedScan
from vloc_ros.mapping.maps.lidar_places import make_lidar_map
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import write_map

# the optical axis along x, the camera upright
AHEAD = "-0.5 0.5 -0.5 0.5"


@pytest.fixture
def drive(tmp_path: Path) -> list[str]:
    """The command for two images, and odometry that has another row."""
    for name in ("0.200000.png", "0.100000.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((48, 64), np.uint8))
    rows = [f"{stamp} {x} 0 0 {AHEAD}" for x, stamp in enumerate(("0.1", "0.15", "0.2"))]
    (tmp_path / "odometry.txt").write_text("\n".join(rows))
    given = ("--images", str(tmp_path), "--odometry", str(tmp_path / "odometry.txt"), "--camera", "C", "--map", "M")
    return ["place", "pose", *given]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--every", "0"), "--every 0"),
        (("--every", "3"), "none of 2 images"),
        (("--reach", "0"), "0 m"),
        (("--reach", "inf"), "--reach inf"),
        (("--scale-std", "nan"), "--scale-std nan"),
        (("--yaw-std", "-1"), "--yaw-std -1"),
        (("--focal-std", "1"), "--focal-std 1"),
        (("--extrinsics-std", "nan"), "--extrinsics-std nan"),
        (("--reach-up", "nan"), "--reach-up nan"),
    ],
)
def test_bad_input_is_named(
    drive: list[str], capsys: pytest.CaptureFixture[str], options: tuple[str, ...], expected: str
) -> None:
    assert main([*drive, *options]) == 1
    assert expected in capsys.readouterr().err


def test_rows_without_an_image_are_named(drive: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(drive) == 1
    error = capsys.readouterr().err
    assert "vloc: note: 1 rows of" in error
    assert "left out: 0.150000\n" in error
    assert "vloc: C: cannot be read" in error


def test_odometry_in_an_optical_frame_is_refused(
    tmp_path: Path, drive: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odometry.txt").write_text("0.1 0 0 0 0 0 0 1\n0.2 0 0 3 0 0 0 1\n")
    assert main(drive) == 1
    assert "odometry.txt: the camera looks up and moves along its view" in capsys.readouterr().err


def test_truth_of_other_images_is_refused(tmp_path: Path, drive: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    truth = tmp_path / "truth.txt"
    truth.write_text("0.1 0 0 0 0 0 0 1\n")
    assert main([*drive, "--truth", str(truth), "--every", "2"]) == 1
    assert "truth.txt: has a pose of no image that is localized" in capsys.readouterr().err


def test_a_drive_that_sees_nothing_is_refused_as_a_whole_and_image_by_image(
    tmp_path: Path, drive: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
    pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")
    points = np.random.default_rng(0).uniform(-4.0, 4.0, (2000, 3)).astype(np.float32)
    points[:1000, 2] = -1.0
    scan = PosedScan("0", lambda: PointCloud(points), Pose.identity())
    write_map(make_lidar_map([scan], name="map"), tmp_path / "map")
    write_camera(tmp_path / "camera.yaml", Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0)), name="camera")
    drive[drive.index("C")], drive[drive.index("M")] = str(tmp_path / "camera.yaml"), str(tmp_path / "map")
    results, found = tmp_path / "results", tmp_path / "found.json"
    assert main([*drive, "--truth", str(tmp_path / "odometry.txt"), "--out", str(results), "--json", str(found)]) == 0
    whole = json.loads(found.read_text())
    assert whole["drive"]["status"] == "no_features"
    assert [(row["image"], row["status"], row["clouds"]) for row in whole["images"]] == [
        ("0.200000.png", "no_features", 0)
    ]
    assert whole["images"][0]["map_from_camera"] is None
    assert len((results / "results.jsonl").read_text().splitlines()) == 1
    assert "0 of 1 images localized" in capsys.readouterr().out
