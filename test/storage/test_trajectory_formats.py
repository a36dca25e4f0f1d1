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

"""KITTI and EuRoC files: conventions are exact, and a row that is none is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.trajectory_formats import (
    pose_from_matrix,
    read_body_from_sensor,
    read_euroc_images,
    read_euroc_poses,
    read_kitti_calibration,
    read_kitti_poses,
    read_kitti_trajectory,
)

_POSES = tuple(Pose.from_rotation_vector([0.1, 0.5 * i, -0.2], [i, 0.5, -3.0]) for i in range(3))
# of sequence 04: the second colour camera
_P3 = "P3: 7.070912e+02 0 6.018873e+02 -3.334597e+02 0 7.070912e+02 1.831104e+02 1.930130e+00 0 0 1 3.318498e-03"


def _kitti_rows(poses: tuple[Pose, ...]) -> str:
    return "".join(" ".join(f"{value:.6e}" for value in pose.matrix[:3].ravel()) + "\n" for pose in poses)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_kitti_poses_with_their_times(tmp_path: Path) -> None:
    poses_file = _write(tmp_path / "04.txt", _kitti_rows(_POSES))
    times_file = _write(tmp_path / "times.txt", "0.000000e+00\n1.037359e-01\n2.074717e-01\n")
    trajectory = read_kitti_trajectory(poses_file, times_file)
    assert trajectory.stamps_ns.tolist() == [0, 103_735_900, 207_471_700]
    assert max(max(a.distance_to(b)) for a, b in zip(trajectory.poses, _POSES, strict=True)) < 1e-5
    times_file.write_text("0.0\n0.1\n")
    with pytest.raises(InputError, match=r"04\.txt: holds 3 poses, .*times\.txt 2 times"):
        read_kitti_trajectory(poses_file, times_file)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("1 0 0 0 0 1 0 0 0 0 1", "11 columns"),
        ("1 0 0 0 0 1 0 0 0 0 1 x", "expected numbers"),
        ("2 0 0 0 0 2 0 0 0 0 2 0", "stretches by 2"),
        ("1 0 0 0 0 1 0 0 0 0 -1 0", "expected a rotation"),
        ("1 0 0 nan 0 1 0 0 0 0 1 0", "not finite"),
    ],
)
def test_a_row_that_is_no_kitti_pose_is_named(tmp_path: Path, row: str, found: str) -> None:
    path = _write(tmp_path / "poses.txt", _kitti_rows(_POSES[:1]) + row + "\n")
    with pytest.raises(InputError, match=rf"poses\.txt, line 2: .*{found}"):
        read_kitti_poses(path)


def test_a_kitti_camera_lies_to_the_right_of_the_first(tmp_path: Path) -> None:
    path = _write(tmp_path / "calib.txt", f"{_P3}\nTr: 1 0 0 0 0 1 0 0 0 0 1 0\n")
    kitti = read_kitti_calibration(path, 3)
    camera = kitti.camera(1226, 370)
    point = np.array([[0.7, -0.3, 12.0]])
    projected = np.array(_P3.split()[1:], float).reshape(3, 4) @ [*point[0], 1.0]
    seen = camera.project(kitti.camera0_from_camera.inverse().apply(point))[0]
    np.testing.assert_allclose(seen, projected[:2] / projected[2] + 0.5)
    assert 0.4 < kitti.camera0_from_camera.translation[0] < 0.5
    with pytest.raises(InputError, match=r"calib\.txt: has no row P2:"):
        read_kitti_calibration(path, 2)


def test_euroc_files(tmp_path: Path) -> None:
    rows = "#timestamp, p_RS_R_x [m], ...\n"
    for i, pose in enumerate(_POSES):
        x, y, z, w = pose.quaternion
        values = [*pose.translation, w, x, y, z, *[0.1] * 9]
        rows += f"{1403636580838555648 + i}," + ",".join(f"{value:.9f}" for value in values) + "\n"
    trajectory = read_euroc_poses(_write(tmp_path / "data.csv", rows))
    assert trajectory.stamps_ns[0] == 1403636580838555648
    assert max(max(a.distance_to(b)) for a, b in zip(trajectory.poses, _POSES, strict=True)) < 1e-8
    images = _write(
        tmp_path / "cam0.csv", "#timestamp [ns],filename\r\n1403636579763555584,1403636579763555584.png\r\n"
    )
    assert read_euroc_images(images) == {"1403636579763555584.png": 1403636579763555584}
    sensor = _write(
        tmp_path / "sensor.yaml", f"T_BS:\n  cols: 4\n  rows: 4\n  data: {_POSES[1].matrix.ravel().tolist()}\n"
    )
    assert max(read_body_from_sensor(sensor).distance_to(_POSES[1])) < 1e-9
    with pytest.raises(InputError, match=r"sensor\.yaml: has no T_BS"):
        read_body_from_sensor(_write(sensor, "sensor_type: camera\n"))
    matrix = f"!!opencv-matrix\n  rows: 4\n  cols: 4\n  data: {_POSES[1].matrix.ravel().tolist()}\n"
    read = read_body_from_sensor(_write(sensor, f"%YAML:1.0\n---\nT_BS: {matrix}"))
    assert max(read.distance_to(_POSES[1])) < 1e-9, "OpenCV's YAML"
    with pytest.raises(InputError, match=r"data\.csv, line 1: 3 columns"):
        read_euroc_poses(_write(tmp_path / "data.csv", "1403636580838555648,1,2\n"))


def test_a_rounded_rotation_is_made_one() -> None:
    pose = pose_from_matrix(np.round(_POSES[2].matrix, 3).ravel().tolist())
    assert np.abs(pose.rotation @ pose.rotation.T - np.eye(3)).max() < 1e-12
    assert max(pose.distance_to(_POSES[2])) < 2e-3
