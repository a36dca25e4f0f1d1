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

"""The images of several cameras of a bag: taken together with the keyframes of the first one, and named by topic."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vloc_ros.bags import messages
from vloc_ros.bags.writing import BagWriter
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import PosedImage
from vloc_ros.datasets.bag_images import find_camera_path, read_bag_keyframes, read_named_images
from vloc_ros.datasets.bag_rigs import RigTopics, with_rig_images

_FRONT = Camera("PINHOLE", 32, 24, (30.0, 30.0, 16.0, 12.0))
_REAR = Camera("PINHOLE", 48, 24, (40.0, 40.0, 24.0, 12.0))
_BASE_FROM_FRONT = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.2, 0.0, 0.5]))
_FRONT_FROM_REAR = Pose.from_rotation_vector([0.0, np.pi, 0.0], [0.1, 0.0, -0.4])
_COUNT, _STEP_NS, _LATE_NS, _SILENT = 8, 10**8, 15_000_000, 3
_find_path = partial(find_camera_path, odom_topic=None, pose_topic=None, base_frame=None)


def _odom_from_base(stamp_ns: int) -> Pose:
    return Pose(np.eye(3), np.array([0.2 * stamp_ns / _STEP_NS, 0.0, 0.0]))


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A front camera, and a rear one whose images are 15 ms late and of which one is missing.

    A third one has a topic whose name is the end of theirs, and those of the rear one are recorded compressed too.
    """
    path = tmp_path_factory.mktemp("bags") / "rig"
    with BagWriter(path, camera=_FRONT, base_from_camera=_BASE_FROM_FRONT) as writer:
        base_from_rear = _BASE_FROM_FRONT @ _FRONT_FROM_REAR
        static = messages.tf_message(0, ("base_link", "rear_optical_frame"), base_from_rear)
        writer._write(0, "/tf_static", messages.TF_MESSAGE, static)
        for i in range(1, _COUNT + 1):
            stamp_ns = i * _STEP_NS
            writer.write_odometry(stamp_ns, _odom_from_base(stamp_ns))
            front = np.full((24, 32, 3), i, np.uint8)
            writer.write_image(stamp_ns, front)
            other = messages.image_message(stamp_ns, "another_frame", np.zeros_like(front))
            writer._write(stamp_ns, "/image", messages.IMAGE, other)
            if i != _SILENT:
                _write_rear(writer, stamp_ns + _LATE_NS, 100 + i)
        writer.write_odometry((_COUNT + 1) * _STEP_NS, _odom_from_base((_COUNT + 1) * _STEP_NS))
    return path


def _write_rear(writer: BagWriter, stamp_ns: int, value: int) -> None:
    frame, pixels = "rear_optical_frame", np.full((24, 48, 3), value, np.uint8)
    info: Any = messages.camera_info_message(stamp_ns, frame, _REAR)
    writer._write(stamp_ns, "/rear/camera_info", messages.CAMERA_INFO, info)
    writer._write(stamp_ns, "/rear/image", messages.IMAGE, messages.image_message(stamp_ns, frame, pixels))
    compressed = messages.compressed_image_message(stamp_ns, frame, b"")
    writer._write(stamp_ns, "/rear/image/compressed", messages.COMPRESSED_IMAGE, compressed)


def _read(bag: Path, *others: str, window_ns: int = 20_000_000) -> list[PosedImage]:
    keyframes = read_bag_keyframes(bag, image_topic="/camera/image")
    topics = RigTopics("/camera/image", others)
    return list(with_rig_images(keyframes, bag, topics, _find_path, window_ns=window_ns).images)


def test_images_of_the_other_camera_follow_the_keyframe_that_they_were_taken_with(bag: Path) -> None:
    images = _read(bag, "/rear/image")
    front = [image for image in images if image.rig is None]
    rear = [image for image in images if image.rig is not None]
    assert [len(front), len(rear)] == [_COUNT, _COUNT - 1]
    assert images[0].name == f"camera/image/{_STEP_NS:019}"
    assert images[1].name == f"rear/image/{_STEP_NS + _LATE_NS:019}"
    for image in rear:
        assert image.rig is not None
        assert image.map_from_camera is not None
        assert images[images.index(image) - 1].name == image.rig.lead
        assert max(image.rig.lead_from_camera.distance_to(_FRONT_FROM_REAR)) < 1e-9
        # each has the pose of its own time
        expected = _odom_from_base(image.stamp_ns) @ _BASE_FROM_FRONT @ _FRONT_FROM_REAR
        assert max(image.map_from_camera.distance_to(expected)) < 1e-9
        assert image.camera == _REAR
        assert image.load()[0, 0, 0] == 100 + image.stamp_ns // _STEP_NS


def test_images_are_read_by_the_names_of_a_rig(bag: Path) -> None:
    images = _read(bag, "/rear/image")
    found = dict(read_named_images(bag, [f"hall/{image.name}" for image in images]))
    assert [found[k][0, 0, 0] for k in range(len(images))] == [image.load()[0, 0, 0] for image in images]


def test_cameras_that_are_not_triggered_together_are_refused(bag: Path) -> None:
    with pytest.raises(InputError, match=r"no image on /rear/image was taken within 0.01 s .* --rig-window"):
        _read(bag, "/rear/image", window_ns=10_000_000)


def test_a_topic_that_is_named_twice_is_refused(bag: Path) -> None:
    with pytest.raises(InputError, match="found /camera/image twice"):
        _read(bag, "/rear/image", "/camera/image")
