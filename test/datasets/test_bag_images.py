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

"""The keyframes of a bag: chosen by motion, with the camera's pose from odometry or TF, decoded on demand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from recorded_order import OrderedWriter

from vloc_ros.bags import messages
from vloc_ros.bags.names import FrameNames, Topics
from vloc_ros.bags.writing import BagWriter
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import PosedImage
from vloc_ros.datasets import bag_images
from vloc_ros.datasets.bag_images import read_bag_keyframes, read_named_images

_CAMERA = Camera("PINHOLE", 32, 24, (30.0, 30.0, 16.0, 12.0))
_BASE_FROM_CAMERA = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.2, 0.0, 0.5]))
_MAP_FROM_ODOM = Pose.from_rotation_vector([0, 0, 1], [5.0, 6.0, 0.0])
_FIRST_NS, _STEP_NS, _HALF_NS = 10**9, 10**8, 5 * 10**7
_COUNT = 20
_STEP_M = 0.05


def _odom_from_base(index: float) -> Pose:
    return Pose(np.eye(3), np.array([_STEP_M * index, 0.0, 0.0]))


def _stamp_ns(index: int) -> int:
    """Of an image: halfway between two odometry messages."""
    return _FIRST_NS + index * _STEP_NS + _HALF_NS


def _pixels(index: int) -> np.ndarray:
    return np.full((24, 32, 3), 10 * index, np.uint8)


def _write(path: Path, *, raw: bool = False, odometry: bool = True, topics: Topics | None = None) -> Path:
    """A drive along x with 20 images; odometry every 5 cm, ending before the last image."""
    with BagWriter(path, camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA, topics=topics) as bag:
        for i in range(_COUNT):
            stamp_ns = _FIRST_NS + i * _STEP_NS
            if odometry:
                bag.write_odometry(stamp_ns, _odom_from_base(i))
            bag.write_truth(stamp_ns, _MAP_FROM_ODOM @ _odom_from_base(i))
            if raw:
                bag.write_image(_stamp_ns(i), _pixels(i))
            else:
                bag.write_compressed_image(_stamp_ns(i), cv2.imencode(".png", _pixels(i))[1].tobytes())
    return path


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("bags") / "drive")


def _assert_poses(images: Sequence[PosedImage], target_from_odom: Pose) -> None:
    for image in images:
        index = (image.stamp_ns - _FIRST_NS) / _STEP_NS
        expected = target_from_odom @ _odom_from_base(index) @ _BASE_FROM_CAMERA
        assert image.map_from_camera is not None
        assert max(image.map_from_camera.distance_to(expected)) < 1e-9


@pytest.mark.parametrize("odom_topic", [None, "/odom"])
def test_keyframes_are_chosen_by_motion(bag: Path, odom_topic: str | None) -> None:
    """From TF and from the topic alike; the last image has no odometry after it."""
    images = read_bag_keyframes(bag, odom_topic=odom_topic, min_translation_m=0.15 - 1e-9).images
    assert [image.stamp_ns for image in images] == [_stamp_ns(i) for i in range(0, _COUNT - 1, 3)]
    assert [image.name for image in images] == sorted(f"{image.stamp_ns:019}" for image in images)
    assert {image.camera for image in images} == {_CAMERA}
    _assert_poses(images, Pose.identity())


@pytest.mark.parametrize("raw", [False, True])
def test_pixels_are_those_of_the_message(tmp_path: Path, raw: bool) -> None:
    images = read_bag_keyframes(
        _write(tmp_path / "bag", raw=raw), image_topic="/camera/image", min_translation_m=0.3
    ).images
    assert len(images) >= 3
    for image in reversed(images):
        np.testing.assert_array_equal(image.load(), _pixels((image.stamp_ns - _FIRST_NS) // _STEP_NS))


def test_images_are_decoded_on_demand(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def counted(message: Any) -> Any:
        decoded.append(messages.stamp_ns_of(message))
        return messages.image_of(message)

    monkeypatch.setattr(bag_images, "image_of", counted)
    images = read_bag_keyframes(bag).images
    assert decoded == []
    images[2].load()
    assert decoded == [images[2].stamp_ns]


def test_a_turn_on_the_spot_gives_keyframes(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=Pose.identity()) as writer:
        for i in range(10):
            writer.write_odometry(_FIRST_NS + i, Pose.from_rotation_vector([0, 0, 0.1 * i], [0, 0, 0]))
            writer.write_image(_FIRST_NS + i, _pixels(i))
    images = read_bag_keyframes(tmp_path / "bag", min_rotation_rad=0.2 - 1e-9).images
    assert [image.stamp_ns - _FIRST_NS for image in images] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(("wrong", "ahead_s"), [(4, 0.5), (4, 1000), (0, 1000), (4, -0.3)])
def test_one_wrong_stamp_does_not_end_the_keyframes(tmp_path: Path, wrong: int, ahead_s: float) -> None:
    """An image that is stamped with another time, at which there is a pose, is left out, and the others are not."""
    stamps_ns = [_stamp_ns(i) for i in range(_COUNT)]
    stamps_ns[wrong] += int(ahead_s * 1e9) + 1
    with OrderedWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as writer:
        for i, stamp_ns in enumerate(stamps_ns):
            writer.write_odometry(_FIRST_NS + i * _STEP_NS, _odom_from_base(i))
            writer.write_image(stamp_ns, _pixels(i))
        for edge_ns in (0, _STEP_NS):
            writer.write_odometry(stamps_ns[wrong] // _STEP_NS * _STEP_NS + edge_ns + 1, _odom_from_base(99))
    found = read_bag_keyframes(tmp_path / "bag", min_translation_m=0.01)
    expected = [_stamp_ns(i) for i in range(_COUNT - 1) if i != wrong]
    assert [image.stamp_ns for image in found.images if image.stamp_ns <= expected[-1]] == expected
    assert found.out_of_order == 1


@pytest.mark.parametrize("source", [{}, {"odom_topic": "/odom"}, {"pose_topic": "/truth"}])
def test_poses_are_not_interpolated_over_gaps(tmp_path: Path, source: dict[str, str]) -> None:
    """Odometry, TF and poses that stop for a while and go on elsewhere say nothing of the time between."""
    gap = range(8, 13)
    with BagWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as writer:
        for i in range(_COUNT):
            if i not in gap:
                writer.write_odometry(_FIRST_NS + i * _STEP_NS, _odom_from_base(i))
                writer.write_truth(_FIRST_NS + i * _STEP_NS, _odom_from_base(i))
            writer.write_image(_stamp_ns(i), _pixels(i))
    found = read_bag_keyframes(tmp_path / "bag", min_translation_m=0.01, **source)
    assert [image.stamp_ns for image in found.images] == [_stamp_ns(i) for i in range(_COUNT - 1) if not 7 <= i <= 12]
    assert found.without_pose == 7
    assert read_bag_keyframes(tmp_path / "bag", largest_gap_ns=10**9, **source).without_pose == 1


def test_poses_of_a_topic_take_the_place_of_odometry(bag: Path) -> None:
    images = read_bag_keyframes(bag, pose_topic="/truth").images
    assert len(images) > 3
    _assert_poses(images, _MAP_FROM_ODOM)
    with pytest.raises(InputError, match="odometry topic /odom and a pose topic /truth, expected one"):
        read_bag_keyframes(bag, pose_topic="/truth", odom_topic="/odom")


def test_poses_of_a_base_of_another_name(tmp_path: Path) -> None:
    frames = FrameNames(base="base_footprint")
    with BagWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA, frames=frames) as bag:
        for i in range(_COUNT):
            bag.write_truth(_FIRST_NS + i * _STEP_NS, _odom_from_base(i))
            bag.write_image(_stamp_ns(i), _pixels(i))
    with pytest.raises(InputError, match="name the base with --base-frame"):
        read_bag_keyframes(tmp_path / "bag", pose_topic="/truth")
    _assert_poses(
        read_bag_keyframes(tmp_path / "bag", pose_topic="/truth", base_frame="base_footprint").images, Pose.identity()
    )


def test_a_base_that_is_named_and_not_used_is_refused(bag: Path) -> None:
    with pytest.raises(InputError, match="/odom holds poses of 'base_link', --base-frame is 'base_footprint'"):
        read_bag_keyframes(bag, odom_topic="/odom", base_frame="base_footprint")
    with pytest.raises(InputError, match="--base-frame is for --pose-topic and --odom-topic, found neither"):
        read_bag_keyframes(bag, base_frame="base_footprint")


def test_progress_counts_all_images(bag: Path) -> None:
    totals = []

    def progress(items: Any, *, description: str, total: int | None = None) -> Any:
        totals.append((description, total, 0))
        for count, item in enumerate(items, start=1):
            totals[-1] = (description, total, count)
            yield item

    read_bag_keyframes(bag, progress=progress)
    assert totals == [("reading the bag", _COUNT, _COUNT)]


def test_a_robot_that_stands_still_gives_no_map(bag: Path) -> None:
    with pytest.raises(InputError, match=r"gives 1 keyframes of 20 images on /camera/image/compressed, expected at"):
        read_bag_keyframes(bag, min_translation_m=100.0)


def test_topics_that_are_not_there(bag: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no images on /front; topics with images: /camera/image/compressed"):
        read_bag_keyframes(bag, image_topic="/front")
    with pytest.raises(InputError, match="has no topic /info"):
        read_bag_keyframes(bag, camera_info_topic="/info")
    with pytest.raises(InputError, match="topic /truth holds geometry_msgs/msg/PoseStamped, expected nav_msgs"):
        read_bag_keyframes(bag, odom_topic="/truth")
    blind = _write(tmp_path / "blind", odometry=False)
    with pytest.raises(InputError, match="has neither odometry nor an 'odom' frame in TF"):
        read_bag_keyframes(blind)
    assert len(read_bag_keyframes(blind, pose_topic="/truth").images) > 3


def test_unknown_extrinsics_are_not_guessed(tmp_path: Path) -> None:
    hidden = _write(tmp_path / "hidden", topics=Topics(tf_static="/another"))
    for topic in (None, "/odom"):
        with pytest.raises(InputError, match=r"has no extrinsics of the camera 'camera_optical_frame' on .*/tf_st"):
            read_bag_keyframes(hidden, odom_topic=topic)


def test_odometry_of_the_camera_itself_needs_no_extrinsics(tmp_path: Path) -> None:
    """Visual odometry names the camera's frame as its child."""
    frames, topics = FrameNames(base="camera_optical_frame"), Topics(tf="/tf_else", tf_static="/static_else")
    with BagWriter(
        tmp_path / "bag", camera=_CAMERA, base_from_camera=Pose.identity(), frames=frames, topics=topics
    ) as writer:
        for i in range(10):
            writer.write_odometry(_FIRST_NS + i, _odom_from_base(4 * i))
            writer.write_image(_FIRST_NS + i, _pixels(i))
    images = read_bag_keyframes(tmp_path / "bag").images
    assert len(images) == 10
    assert images[3].map_from_camera is not None
    np.testing.assert_allclose(images[3].map_from_camera.translation, [0.6, 0, 0])


def test_a_missing_bag_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: does not exist"):
        read_bag_keyframes(tmp_path / "gone")


def test_images_are_read_by_the_names_of_keyframes(bag: Path) -> None:
    names = ["hall/" + image.name for image in read_bag_keyframes(bag).images][::-1]
    found = dict(read_named_images(bag, names))
    assert [found[k][0, 0, 0] for k in range(len(names))] == [
        i.load()[0, 0, 0] for i in read_bag_keyframes(bag).images
    ][::-1]
    with pytest.raises(
        InputError, match=rf"holds 1 of the map's 3 images, missing are kitchen, {_stamp_ns(0) + 1:019}; "
    ):
        list(read_named_images(bag, ["kitchen", names[0], f"{_stamp_ns(0) + 1:019}"]))


def test_an_image_is_decoded_when_its_turn_comes(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def counted(message: Any) -> Any:
        decoded.append(messages.stamp_ns_of(message))
        return messages.image_of(message)

    names = [image.name for image in read_bag_keyframes(bag).images]
    monkeypatch.setattr(bag_images, "image_of", counted)
    for count, (k, _) in enumerate(read_named_images(bag, names), start=1):
        assert decoded == [int(name) for name in names[:count]]
        assert k == count - 1


def test_one_image_is_not_that_of_two_keyframes(bag: Path) -> None:
    """Of a map of two bags whose clocks began alike, such as simulated ones."""
    names = [folder + image.name for folder in ("", "visit2/") for image in read_bag_keyframes(bag).images]
    twice = rf"the keyframes {names[0]} and visit2/{names[0]}, expected one .* give them with --images"
    with pytest.raises(InputError, match=twice):
        list(read_named_images(bag, names))
