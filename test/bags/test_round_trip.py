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

"""What is written into a bag is read from it, and bags appear whole or not at all."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vloc_ros.bags import messages
from vloc_ros.bags.reading import Bag
from vloc_ros.bags.writing import BagWriter
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.atomic import StorageError

_CAMERA = Camera("OPENCV", 80, 60, (70.0, 71.0, 40.25, 30.5, 0.1, -0.02, 0.001, 0.002))
_BASE_FROM_CAMERA = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.2, 0.0, 0.5]))
_START_NS = 1_700_000_000_123_456_789
_STEP_NS = 100_000_001
_GENERATOR = np.random.default_rng(0)
_IMAGES = [_GENERATOR.integers(0, 255, (60, 80, 3), dtype=np.uint8) for _ in range(4)]
_JPEGS = [cv2.imencode(".jpg", image)[1].tobytes() for image in _IMAGES]
_ODOM_FROM_BASE = [Pose.from_rotation_vector([0, 0, 0.1 * i], [0.1 * i, 0.0, 0.0]) for i in range(4)]
_MAP_FROM_BASE = [Pose.from_rotation_vector([0, 0, 1], [5.0, 6.0, 0.0]) @ pose for pose in _ODOM_FROM_BASE]
_STAMPS_NS = [_START_NS + i * _STEP_NS for i in range(4)]


def _write(path: Path, *, raw: bool = False) -> None:
    with BagWriter(path, camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as bag:
        for i, stamp_ns in enumerate(_STAMPS_NS):
            bag.write_odometry(stamp_ns, _ODOM_FROM_BASE[i])
            bag.write_truth(stamp_ns, _MAP_FROM_BASE[i])
            if raw:
                bag.write_image(stamp_ns, _IMAGES[i])
            else:
                bag.write_compressed_image(stamp_ns, _JPEGS[i])


@pytest.fixture(scope="module")
def bag_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive"
    _write(path)
    return path


@pytest.fixture
def bag(bag_path: Path) -> Iterator[Bag]:
    with Bag(bag_path) as opened:
        yield opened


def _assert_same(found: Pose | None, expected: Pose) -> None:
    assert found is not None
    assert max(found.distance_to(expected)) < 1e-9


def test_topics(bag: Bag) -> None:
    assert {t.name: (t.msgtype, t.count, t.latched) for t in bag.topics} == {
        "/camera/camera_info": ("sensor_msgs/msg/CameraInfo", 4, False),
        "/camera/image/compressed": ("sensor_msgs/msg/CompressedImage", 4, False),
        "/odom": ("nav_msgs/msg/Odometry", 4, False),
        "/tf": ("tf2_msgs/msg/TFMessage", 4, False),
        "/tf_static": ("tf2_msgs/msg/TFMessage", 1, True),
        "/truth": ("geometry_msgs/msg/PoseStamped", 4, False),
    }
    assert (bag.start_ns, bag.end_ns // _STEP_NS) == (_START_NS, _STAMPS_NS[-1] // _STEP_NS)


def test_compressed_images_are_the_files_bytes(bag: Bag) -> None:
    recorded = list(bag.messages(["/camera/image/compressed"]))
    assert [bytes(m.decoded().data) for m in recorded] == _JPEGS
    assert [m.recorded_ns for m in recorded] == _STAMPS_NS
    for (stamp_ns, image), expected_ns, jpeg in zip(
        bag.images("/camera/image/compressed"), _STAMPS_NS, _JPEGS, strict=True
    ):
        assert stamp_ns == expected_ns
        np.testing.assert_array_equal(image, cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))


def test_raw_images_are_the_pixels(tmp_path: Path) -> None:
    _write(tmp_path / "raw", raw=True)
    with Bag(tmp_path / "raw") as bag:
        found = list(bag.images("/camera/image"))
    assert [stamp_ns for stamp_ns, _ in found] == _STAMPS_NS
    for (_, image), expected in zip(found, _IMAGES, strict=True):
        np.testing.assert_array_equal(image, expected)


def test_grey_images(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "grey", camera=_CAMERA, base_from_camera=Pose.identity()) as writer:
        writer.write_image(5, _IMAGES[0][:, :, 0])
    with Bag(tmp_path / "grey") as bag:
        np.testing.assert_array_equal(next(bag.images("/camera/image"))[1], _IMAGES[0][:, :, 0])


def test_camera_odometry_and_truth(bag: Bag) -> None:
    assert bag.camera("/camera/camera_info") == _CAMERA
    assert bag.frame_id("/camera/camera_info") == "camera_optical_frame"
    odometry, truth = bag.odometry("/odom"), bag.poses("/truth")
    assert odometry.stamps_ns.tolist() == truth.stamps_ns.tolist() == _STAMPS_NS
    for i in range(4):
        _assert_same(odometry.poses[i], _ODOM_FROM_BASE[i])
        _assert_same(truth.poses[i], _MAP_FROM_BASE[i])


def test_the_first_calibration_that_is_one_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drivers begin with zeros; of zeros alone there is none."""
    made = messages.camera_info_message
    monkeypatch.setattr(messages, "camera_info_message", lambda *given: _without_matrix(made(*given), given[0] < 3))
    for name, first in (("some", 1), ("none", -9)):
        with BagWriter(tmp_path / name, camera=_CAMERA, base_from_camera=Pose.identity()) as writer:
            for i in range(4):
                writer.write_image(first + i if first > 0 else i % 2 + 1, _IMAGES[i])
    with Bag(tmp_path / "some") as bag:
        assert bag.camera("/camera/camera_info") == _CAMERA
    with (
        pytest.raises(InputError, match=r"all 4 messages of /camera/camera_info have a K of zeros.*give .* --camera"),
        Bag(tmp_path / "none") as bag,
    ):
        bag.camera("/camera/camera_info")


def _without_matrix(message: Any, without: bool) -> Any:
    return replace(message, k=np.zeros(9), p=np.zeros(12)) if without else message


def test_transforms(bag: Bag) -> None:
    tree = bag.transforms()
    assert tree.frames == ("base_link", "camera_optical_frame", "odom")
    _assert_same(tree.lookup("base_link", "camera_optical_frame", 0), _BASE_FROM_CAMERA)
    for stamp_ns, odom_from_base in zip(_STAMPS_NS, _ODOM_FROM_BASE, strict=True):
        _assert_same(tree.lookup("odom", "camera_optical_frame", stamp_ns), odom_from_base @ _BASE_FROM_CAMERA)


def test_velocity_is_that_of_the_base(bag: Bag) -> None:
    first, second, *_ = (m.decoded() for m in bag.messages(["/odom"]))
    assert first.twist.twist.linear.x == 0
    assert second.twist.twist.linear.x == pytest.approx(1.0, rel=1e-6)
    assert second.twist.twist.angular.z == pytest.approx(1.0, rel=1e-6)
    assert second.child_frame_id == "base_link"


def test_all_messages_in_the_order_of_recording(bag: Bag) -> None:
    recorded = list(bag.messages())
    assert len(recorded) == sum(t.count for t in bag.topics)
    stamps_ns = [m.recorded_ns for m in recorded]
    assert stamps_ns == sorted(stamps_ns)
    assert recorded[0].topic == "/tf_static"
    assert list(bag.messages([])) == []


def test_the_mcap_file_alone_is_a_bag(bag_path: Path) -> None:
    with Bag(bag_path / "drive.mcap") as bag:
        assert bag.camera("/camera/camera_info") == _CAMERA


def test_topics_that_are_not_there(bag: Bag) -> None:
    with pytest.raises(InputError, match=r"has no topic /none; topics there: /camera/camera_info \(sensor_msgs"):
        list(bag.messages(["/none"]))
    with pytest.raises(InputError, match="topic /odom holds nav_msgs/msg/Odometry, expected sensor_msgs"):
        bag.camera("/odom")
    with pytest.raises(InputError, match="topic /tf holds tf2_msgs/msg/TFMessage, expected"):
        next(bag.images("/tf"))


def test_an_existing_folder_is_not_touched(bag_path: Path) -> None:
    with pytest.raises(StorageError, match="exists already"):
        _write(bag_path)
    with Bag(bag_path) as bag:
        assert bag.camera("/camera/camera_info") == _CAMERA


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        BagWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=Pose.identity()) as bag,
    ):
        bag.write_compressed_image(1, _JPEGS[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("images", [1, 40])
def test_a_full_disk_leaves_nothing(tmp_path: Path, images: int) -> None:
    """Whether it shows while writing or only at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with (  # noqa: PT012
            pytest.raises(StorageError, match=r"bag: cannot be written \(File too large\); no bag was left"),
            BagWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=Pose.identity()) as bag,
        ):
            for stamp_ns in range(images):
                bag.write_image(stamp_ns, _IMAGES[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_misfitting_images_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    for data in (_JPEGS[0][:-100], b"text", cv2.imencode(".png", _IMAGES[0][:30])[1].tobytes()):
        with (
            pytest.raises(InputError, match=r"damaged|no JPEG|80x30, its camera calibration is for 80x60"),
            BagWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=Pose.identity()) as bag,
        ):
            bag.write_compressed_image(1, data)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match="cannot be written"),
        BagWriter(tmp_path / "file" / "bag", camera=_CAMERA, base_from_camera=Pose.identity()),
    ):
        pass


def test_what_is_no_bag(tmp_path: Path) -> None:
    (tmp_path / "text.mcap").write_text("hello")
    (tmp_path / "empty.mcap").touch()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 9}")
    (tmp_path / "broken" / "a.mcap").touch()
    for name, files in (("killed", ("metadata.yaml", "a.mcap")), ("moved", ("a_0.db3", "a_1.db3"))):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
    (tmp_path / "old.bag").touch()
    (tmp_path / "renamed.mcap").write_bytes(b"#ROSBAG V2.0\n" + bytes(20))
    (tmp_path / "a.mcap.zstd").write_bytes(b"\x28\xb5\x2f\xfd")
    for name, reason in {
        "none": "does not exist",
        "folder": r"holds no .mcap and no .db3 file",
        "text.mcap": r"cannot be read as a bag .* run mcap recover .*text.mcap -o NEW.mcap for",
        "empty.mcap": "cannot be read as a bag",
        "notes.txt": r"is a file .txt, expected a bag folder, .mcap or .db3",
        "broken": r"cannot be read as a bag .* ros2 bag reindex",
        "killed": r"metadata.yaml is empty, .* killed; run ros2 bag reindex -s mcap .*, or name .*killed/a.mcap itself",
        "moved": r"metadata.yaml is missing, .* run ros2 bag reindex -s sqlite3 .*/moved$",
        "old.bag": r"is a bag of ROS 1, .* rosbags-convert --src .*old.bag --dst .*old$",
        "renamed.mcap": "is a bag of ROS 1",
        "a.mcap.zstd": r"is a compressed file, .* zstd -d .*a.mcap.zstd",
    }.items():
        with pytest.raises(InputError, match=reason) as error, Bag(tmp_path / name):
            pass
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_bag_fails_clearly_or_gives_what_is_left(bag_path: Path, tmp_path: Path, part: float) -> None:
    whole = (bag_path / "drive.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: int(len(whole) * part)])
    try:
        with Bag(tmp_path / "cut.mcap") as bag:
            assert len(list(bag.messages())) <= 21
    except InputError as error:
        assert "cut.mcap" in str(error)  # noqa: PT017


def test_a_damaged_message(bag: Bag) -> None:
    message = next(bag.messages(["/odom"]))
    for cdr in (b"", message.cdr[:20], os.urandom(3)):
        with pytest.raises(InputError, match="a message of /odom is damaged"):
            type(message)("/odom", message.msgtype, cdr, 0).decoded()
    with pytest.raises(InputError, match="unknown type my_msgs/msg/Mine"):
        type(message)("/mine", "my_msgs/msg/Mine", b"", 0).decoded()
