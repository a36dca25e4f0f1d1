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

"""The images that the other cameras of a rig took together with the keyframes of a bag."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vloc_ros.bags.reading import TF, Bag, BagMessage
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import PosedImage, Progress, RigView, silent
from vloc_ros.datasets.bag_frames import stamp_images
from vloc_ros.datasets.bag_images import BagKeyframes, CameraPath, decode_later
from vloc_ros.datasets.bag_measurements import find_fixed_pose
from vloc_ros.datasets.bag_topics import choose_image_topic, folder_of_topic, read_calibration
from vloc_ros.storage.images import name_of_stamp

RIG_WINDOW_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class RigTopics:
    """Where the cameras of a rig were recorded.

    Attributes:
        lead: the topic of the images that are the keyframes.
        others: those of the other cameras.
        camera_info: of each of the others; empty takes those beside the images.
    """

    lead: str
    others: Sequence[str]
    camera_info: Sequence[str] = ()


def with_rig_images(
    keyframes: BagKeyframes,
    path: Path,
    topics: RigTopics,
    find_path: Callable[[Bag, str], CameraPath],
    *,
    window_ns: int = RIG_WINDOW_NS,
    rectified: bool = False,
    tf_topic: str = TF,
    progress: Progress = silent,
) -> BagKeyframes:
    """The keyframes, each followed by the images that the other cameras took together with it.

    All are named by their topic and time. An image has the pose of its own time; the extrinsics tie it to the keyframe.

    Args:
        keyframes: of the topic that leads.
        path: of the bag.
        topics: of the rig.
        find_path: where the camera of a frame was, as the keyframes have it, see `find_camera_path`.
        window_ns: of images that were taken together, the largest difference of their stamps.
        rectified: whether P of the camera_info is the images' calibration.
        tf_topic: of the transforms; static ones are on `<tf_topic>_static`.
        progress: shows how far the bag is read.

    Raises:
        InputError: a topic is named twice, a topic or a camera's extrinsics are unknown, or a camera took no image
            together with a keyframe.
    """
    with Bag(path, tf_topic=tf_topic) as bag:
        lead_topic = choose_image_topic(bag, topics.lead)
        others = [choose_image_topic(bag, one) for one in topics.others]
        _check_different([lead_topic, *others])
        images = [replace(one, name=f"{folder_of_topic(lead_topic)}/{one.name}") for one in keyframes.images]
        taken_with: list[list[PosedImage]] = [[one] for one in images]
        info_topics: Sequence[str | None] = topics.camera_info or [None] * len(others)
        for topic, camera_info_topic in zip(others, info_topics, strict=True):
            calibration = read_calibration(
                bag, topic, camera_info_topic=camera_info_topic, rectified=rectified, camera=None
            )
            frame = bag.frame_id(topic)
            lead_from_camera = find_fixed_pose(bag, keyframes.camera_frame, frame, images)
            messages = progress(bag.messages([topic]), description=f"reading {topic}", total=bag.count(topic))
            found = _nearest(stamp_images(bag, messages), [one.stamp_ns for one in images], window_ns)
            _check_some(path, topic, lead_topic, found, window_ns)
            for number, pose, stamp_ns, message in _posed(found, find_path(bag, frame)):
                name = f"{folder_of_topic(topic)}/{name_of_stamp(stamp_ns)}"
                rig = RigView(images[number].name, lead_from_camera)
                image = PosedImage(name, decode_later(path, message), calibration, pose, stamp_ns, rig=rig)
                taken_with[number].append(image)
    return replace(keyframes, images=[image for together in taken_with for image in together])


def _posed(
    found: Mapping[int, tuple[int, BagMessage]], camera_path: CameraPath
) -> Iterator[tuple[int, Pose, int, BagMessage]]:
    """Number, pose, stamp and message of the images at whose times there is a pose."""
    for number, (stamp_ns, message) in sorted(found.items()):
        if (pose := camera_path(stamp_ns)) is not None:
            yield number, pose, stamp_ns, message


def _check_different(topics: Sequence[str]) -> None:
    if twice := [topic for k, topic in enumerate(topics) if topic in topics[:k]]:
        raise InputError(f"found {twice[0]} twice among the image topics of the rig, expected each once; leave one out")


def _nearest(
    stamped: Iterable[tuple[int, BagMessage]], stamps_ns: Sequence[int], window_ns: int
) -> dict[int, tuple[int, BagMessage]]:
    """By number of the ascending stamps, the image nearest to it and to no other; none outside the window."""
    found: dict[int, tuple[int, BagMessage]] = {}
    for stamp_ns, message in stamped:
        place = bisect_left(stamps_ns, stamp_ns)
        near = [k for k in (place - 1, place) if 0 <= k < len(stamps_ns)]
        number = min(near, key=lambda k: abs(stamps_ns[k] - stamp_ns))
        apart_ns = abs(stamps_ns[number] - stamp_ns)
        if apart_ns <= window_ns and (number not in found or apart_ns < abs(stamps_ns[number] - found[number][0])):
            found[number] = stamp_ns, message
    return found


def _check_some(path: Path, topic: str, lead: str, found: dict[int, tuple[int, BagMessage]], window_ns: int) -> None:
    if not found:
        raise InputError(
            f"{path}: no image on {topic} was taken within {1e-9 * window_ns:g} s of a keyframe on {lead}, expected "
            "cameras that are triggered together; give --rig-window SECONDS where they are not, or leave the topic out"
        )
