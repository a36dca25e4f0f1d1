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

"""Posed images of other tools: names and times pair them, extrinsics carry poses to the camera, gaps are counted."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.posed_files import (
    PosedFiles,
    read_colmap_files,
    read_euroc_files,
    read_kitti_files,
    read_transforms_files,
    select_keyframes,
)
from vloc_ros.storage.colmap_models import ColmapImage, ColmapPoints, write_colmap_model

_CAMERA = Camera("OPENCV", 80, 60, (70.0, 71.0, 40.5, 30.5, 0.01, 0.0, 0.0, 0.0))
_POSES = tuple(Pose.from_rotation_vector([0.1, 0.2 * i, 0], [0.1 * i, 0.5, 0.2]) for i in range(4))
_BODY_FROM_CAMERA = Pose.from_rotation_vector([1.0, -1.0, 0.5], [0.1, 0.2, -0.3])
_START_NS = 1_403_636_579_763_555_584


def _write_images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.zeros((60, 80), np.uint8))
    return folder


def _distances(found: PosedFiles, poses: tuple[Pose, ...]) -> float:
    return max(max(f.map_from_camera.distance_to(p)) for f, p in zip(found.files, poses, strict=True))


def _colmap(folder: Path, *names: str) -> Path:
    images = [ColmapImage(name, _CAMERA, pose) for name, pose in zip(names, _POSES, strict=False)]
    nothing = [np.zeros(0, int)] * len(names), [np.zeros((0, 2))] * len(names)
    write_colmap_model(folder, images, ColmapPoints(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), *nothing))
    return folder


def test_colmap_images_are_found_below_the_folder(tmp_path: Path) -> None:
    model = _colmap(tmp_path / "sparse", "left/a.png", "left/b.png", "right/a.png")
    images = _write_images(tmp_path / "images", "left/a.png", "left/b.png", "left/unregistered.png", "right/a.png")
    found = read_colmap_files(model, images)
    assert [file.name for file in found.files] == ["left/a.png", "left/b.png", "right/a.png"]
    assert _distances(found, _POSES[:3]) < 1e-9
    assert {file.camera for file in found.files} == {_CAMERA}
    assert (found.without_pose, found.without_image) == (1, 0)
    only_left = read_colmap_files(model, _write_images(tmp_path / "left", "b.png"))
    assert [(file.name, file.path.name) for file in only_left.files] == [("b.png", "b.png")]
    assert only_left.without_image == 2


def test_two_names_are_not_one_image(tmp_path: Path) -> None:
    model = _colmap(tmp_path / "sparse", "a.png", "left/a.png")
    with pytest.raises(InputError, match=r"is the image of a\.png and of left/a\.png"):
        read_colmap_files(model, _write_images(tmp_path / "left", "a.png"))
    with pytest.raises(InputError, match=r"holds none of the 2 images .* such as a\.png"):
        read_colmap_files(model, _write_images(tmp_path / "others", "c.png"))


def test_images_of_another_folder_are_not_those_of_the_model(tmp_path: Path) -> None:
    """Sequences have images of the same names."""
    model = _colmap(tmp_path / "sparse", "seq-01/rgb/1.png", "seq-01/rgb/2.png")
    wrong = _write_images(tmp_path / "seq-02/rgb", "1.png")
    with pytest.raises(InputError, match=r"is .*seq-02/rgb/1\.png the image seq-01/rgb/1\.png\?.* ends in seq-01/rgb"):
        read_colmap_files(model, wrong)
    right = _write_images(tmp_path / "seq-01/rgb", "1.png")
    assert read_colmap_files(model, right).without_image == 1
    (tmp_path / "link").symlink_to(right)
    assert len(read_colmap_files(model, tmp_path / "link").files) == 1
    assert len(read_colmap_files(model, tmp_path / "seq-01").files) == 1


def test_a_name_that_no_file_can_have_has_no_image(tmp_path: Path) -> None:
    images = _write_images(tmp_path / "images", "a.png")
    found = read_colmap_files(_colmap(tmp_path / "sparse", "a.png", f"{'b' * 300}.png"), images)
    assert found.without_image == 1
    with pytest.raises(InputError, match="holds none of the 1 images"):
        read_colmap_files(_colmap(tmp_path / "others", f"x/{'b' * 300}.png"), images)


def test_a_folder_of_a_name_may_be_images(tmp_path: Path) -> None:
    model = _colmap(tmp_path / "sparse", "images/left/a.png")
    for folder in ("shots", "images_4"):
        assert len(read_colmap_files(model, _write_images(tmp_path / folder, "left/a.png")).files) == 1
    assert len(read_colmap_files(model, tmp_path / "shots/left").files) == 1
    with pytest.raises(InputError, match="holds none of the 1 images"):
        read_colmap_files(model, _write_images(tmp_path / "right", "a.png"))


def test_images_that_are_named_by_time_have_it(tmp_path: Path) -> None:
    names = [f"{_START_NS + 1000 * i}.png" for i in range(3)]
    found = read_colmap_files(_colmap(tmp_path / "sparse", *names), _write_images(tmp_path / "images", *names))
    assert [file.stamp_ns for file in found.files] == [_START_NS, _START_NS + 1000, _START_NS + 2000]
    assert found.files[1].to_query().read().stamp_ns == _START_NS + 1000


def test_transforms_without_a_calibration_need_one(tmp_path: Path) -> None:
    frame = {"file_path": "images/a", "transform_matrix": np.eye(4).tolist()}
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": [{**frame, "file_path": "images/a.png"}]}))
    images = _write_images(tmp_path / "images", "a.png")
    with pytest.raises(InputError, match="give the calibration with --camera"):
        read_transforms_files(tmp_path / "transforms.json", images)
    found = read_transforms_files(tmp_path / "transforms.json", images, camera=_CAMERA)
    np.testing.assert_allclose(found.files[0].map_from_camera.apply([0, 0, 1]), [0, 0, -1])


def test_only_calibrations_that_are_used_are_read(tmp_path: Path) -> None:
    frame = {"transform_matrix": np.eye(4).tolist(), "fl_x": 70.0}
    frames = [{**frame, "file_path": "a.png", "w": 80, "h": 60}, {**frame, "file_path": "b.png"}]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    images = _write_images(tmp_path / "images", "a.png")
    assert read_transforms_files(tmp_path / "transforms.json", images).without_image == 1
    _write_images(images, "b.png")
    with pytest.raises(InputError, match=r"b\.png: w and h are missing"):
        read_transforms_files(tmp_path / "transforms.json", images)
    assert len(read_transforms_files(tmp_path / "transforms.json", images, camera=_CAMERA).files) == 2
    model = _colmap(tmp_path / "sparse", "a.png")
    (model / "cameras.bin").write_bytes(b"damaged")
    assert read_colmap_files(model, images, camera=_CAMERA).files[0].camera == _CAMERA


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    """A sequence of four rows, of which images 1 and 3 are there."""
    _write_images(tmp_path / "sequences/04/image_2", "000001.png", "000003.png")
    (tmp_path / "poses").mkdir()
    rows = [" ".join(f"{value:.9e}" for value in pose.matrix[:3].ravel()) for pose in _POSES]
    (tmp_path / "poses/04.txt").write_text("\n".join(rows))
    (tmp_path / "sequences/04/times.txt").write_text("0\n0.1\n0.2\n0.3\n")
    (tmp_path / "sequences/04/calib.txt").write_text(
        "P0: 70 0 40 0 0 70 30 0 0 0 1 0\nP2: 70 0 40 7 0 70 30 0 0 0 1 0\n"
    )
    return tmp_path


def test_kitti_images_are_numbers_of_rows(kitti: Path) -> None:
    found = read_kitti_files(kitti / "poses/04.txt", kitti / "sequences/04/image_2")
    # P2 says that the colour camera is 7 / 70 m to the left of the grey one
    to_the_left = Pose(np.eye(3), np.array([-0.1, 0.0, 0.0]))
    assert _distances(found, (_POSES[1] @ to_the_left, _POSES[3] @ to_the_left)) < 1e-8
    assert [file.stamp_ns for file in found.files] == [100_000_000, 300_000_000]
    assert found.files[0].camera == Camera("PINHOLE", 80, 60, (70.0, 70.0, 40.5, 30.5))
    assert found.without_image == 2
    own = read_kitti_files(kitti / "poses/04.txt", kitti / "sequences/04/image_2", camera=_CAMERA)
    assert own.files[0].camera == _CAMERA
    assert _distances(own, (_POSES[1] @ to_the_left, _POSES[3] @ to_the_left)) < 1e-8, "a camera is no other place"
    (kitti / "sequences/04/image_2").rename(kitti / "sequences/04/left")
    unnamed = read_kitti_files(kitti / "poses/04.txt", kitti / "sequences/04/left", camera=_CAMERA)
    assert _distances(unnamed, (_POSES[1], _POSES[3])) < 1e-8


def test_kitti_images_are_in_the_order_of_their_numbers(kitti: Path) -> None:
    sequence, identity = kitti / "sequences/04", "1 0 0 0 0 1 0 0 0 0 1 0\n"
    (kitti / "poses/04.txt").write_text(identity * 11)
    (sequence / "times.txt").write_text("".join(f"{i}\n" for i in range(11)))
    images = _write_images(sequence / "short/image_2", "2.png", "10.png")
    for name in ("times.txt", "calib.txt"):
        (sequence / name).rename(sequence / "short" / name)
    assert [file.name for file in read_kitti_files(kitti / "poses/04.txt", images).files] == ["2.png", "10.png"]


def test_kitti_images_may_be_a_link(kitti: Path) -> None:
    """The name of the link says which camera it is of, and calib.txt is beside the link."""
    folder = kitti / "sequences/04/image_2"
    folder.rename(kitti / "elsewhere")
    folder.symlink_to(kitti / "elsewhere")
    assert len(read_kitti_files(kitti / "poses/04.txt", folder).files) == 2


def test_a_calib_txt_that_cannot_be_used_is_named(kitti: Path) -> None:
    calib = kitti / "sequences/04/calib.txt"
    for number, found in (("nan", "P2: has a value that is not finite"), ("-70", "focal length")):
        calib.write_text(f"P2: {number} 0 40 7 0 70 30 0 0 0 1 0\n")
        with pytest.raises(InputError, match=rf"calib\.txt: .*{found}"):
            read_kitti_files(kitti / "poses/04.txt", kitti / "sequences/04/image_2")


def test_kitti_images_of_no_row_or_camera_are_named(kitti: Path) -> None:
    _write_images(kitti / "sequences/04/image_2", "000004.png")
    with pytest.raises(InputError, match=r"000004\.png: expected the number of a row"):
        read_kitti_files(kitti / "poses/04.txt", kitti / "sequences/04/image_2")
    (kitti / "sequences/04/image_2").rename(kitti / "sequences/04/left")
    with pytest.raises(InputError, match="its name says not which camera"):
        read_kitti_files(kitti / "poses/04.txt", kitti / "sequences/04/left")
    (kitti / "sequences/04/times.txt").unlink()
    with pytest.raises(InputError, match=r"there is no times\.txt"):
        read_kitti_files(kitti / "poses/04.txt", kitti / "sequences/04/left", camera=_CAMERA)


@pytest.fixture
def euroc(tmp_path: Path) -> Path:
    """Ground truth of the body every 10 ms, two images between its rows and one before them."""
    mav0 = tmp_path / "mav0"
    (mav0 / "state_groundtruth_estimate0").mkdir(parents=True)
    rows = ["#timestamp, p, q"]
    for i, pose in enumerate(_POSES):
        map_from_body = pose @ _BODY_FROM_CAMERA.inverse()
        x, y, z, w = map_from_body.quaternion
        values = [*map_from_body.translation, w, x, y, z]
        rows.append(f"{_START_NS + 10_000_000 * i}," + ",".join(f"{value:.12f}" for value in values))
    (mav0 / "state_groundtruth_estimate0/data.csv").write_text("\n".join(rows))
    times = (_START_NS - 5_000_000, _START_NS, _START_NS + 20_000_000)
    _write_images(mav0 / "cam0/data", *(f"{stamp_ns}.png" for stamp_ns in times))
    calibration = "camera_model: pinhole\nintrinsics: [70, 70, 40, 30]\nresolution: [80, 60]\n"
    calibration += "distortion_model: radial-tangential\ndistortion_coefficients: [0.1, 0, 0, 0]\n"
    (mav0 / "cam0/sensor.yaml").write_text(f"{calibration}T_BS:\n  data: {_BODY_FROM_CAMERA.matrix.ravel().tolist()}\n")
    return mav0


def test_euroc_poses_are_carried_to_the_camera(euroc: Path) -> None:
    found = read_euroc_files(euroc, euroc / "cam0/data")
    assert _distances(found, (_POSES[0], _POSES[2])) < 1e-8
    assert [file.stamp_ns for file in found.files] == [_START_NS, _START_NS + 20_000_000]
    assert found.without_pose == 1
    assert found.files[0].camera == Camera("OPENCV", 80, 60, (70.0, 70.0, 40.5, 30.5, 0.1, 0, 0, 0))


def test_euroc_truth_is_not_interpolated_over_gaps(euroc: Path) -> None:
    truth = euroc / "state_groundtruth_estimate0/data.csv"
    *rows, last = truth.read_text().splitlines()
    first_ns = int(rows[-1].split(",")[0])
    for gap_ns, without in ((200_000_000, 1), (200_000_001, 2)):
        moved = f"{first_ns + gap_ns}," + last.split(",", 1)[1]
        truth.write_text("\n".join([*rows, moved]))
        _write_images(euroc / "cam0/data", f"{first_ns + 50_000_000}.png")
        assert read_euroc_files(euroc, euroc / "cam0/data").without_pose == without


def test_euroc_truth_of_another_body_frame(euroc: Path) -> None:
    """T_BS of the ground truth is where its poses are on the body."""
    body_from_truth = Pose(np.eye(3), np.array([0.0, 0.0, 1.0]))
    sensor = euroc / "state_groundtruth_estimate0/sensor.yaml"
    sensor.write_text(f"T_BS:\n  data: {body_from_truth.matrix.ravel().tolist()}\n")
    found = read_euroc_files(euroc, euroc / "cam0/data")
    expected = _POSES[0] @ _BODY_FROM_CAMERA.inverse() @ body_from_truth.inverse() @ _BODY_FROM_CAMERA
    assert max(found.files[0].map_from_camera.distance_to(expected)) < 1e-8


def test_euroc_without_common_times_is_refused(euroc: Path) -> None:
    for path in (euroc / "cam0/data").iterdir():
        path.rename(path.with_name(f"{int(path.stem) + 10**12}.png"))
    with pytest.raises(InputError, match="no pose at the time of any of 3 images"):
        read_euroc_files(euroc, euroc / "cam0/data")


def test_keyframes_are_images_between_which_the_camera_moved(euroc: Path) -> None:
    found = read_euroc_files(euroc, euroc / "cam0/data")
    assert len(select_keyframes(found.files)) == 2
    assert len(select_keyframes([found.files[0]] * 3)) == 1
