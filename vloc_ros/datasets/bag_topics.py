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

"""Which topics of a bag hold the images, their calibration and the odometry."""

from __future__ import annotations

from collections.abc import Mapping

from vloc_ros.bags.messages import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, ODOMETRY
from vloc_ros.bags.reading import Bag
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera

_COMPRESSED = "/compressed"
_VIDEOS = (
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket",
    "foxglove_msgs/msg/CompressedVideo",
    "theora_image_transport/msg/Packet",
)


def image_topics(bag: Bag) -> list[str]:
    """The topics with images."""
    return [topic.name for topic in bag.topics if topic.msgtype in (IMAGE, COMPRESSED_IMAGE)]


def folder_of_topic(topic: str) -> str:
    """What the names of a rig's images on a topic begin with."""
    return topic.strip("/").removesuffix(_COMPRESSED)


def topics_by_folder(bag: Bag) -> dict[str, str]:
    """The topics with images by their `folder_of_topic`; the raw one where the compressed one was recorded too."""
    compressed_first = sorted(image_topics(bag), key=lambda topic: not topic.endswith(_COMPRESSED))
    return {folder_of_topic(topic): topic for topic in compressed_first}


def topic_of_name(name: str, folders: Mapping[str, str]) -> str | None:
    """The topic that the name of a rig's image begins with, below the folders of maps; None of one camera.

    Of topics that end alike, such as `/image_raw` and `/front/image_raw`, it is the longest.
    """
    below = f"/{name.rpartition('/')[0]}"
    fitting = [folder for folder in folders if below.endswith(f"/{folder}")]
    return folders[max(fitting, key=len)] if fitting else None


def choose_image_topic(bag: Bag, wanted: str | None) -> str:
    """The wanted topic, its compressed form where only that was recorded, or the only one with images.

    Raises:
        InputError: there is none, or several and none is wanted.
    """
    images = image_topics(bag)
    for name in (wanted, f"{wanted}{_COMPRESSED}"):
        if name in images:
            return name
    if wanted or not images:
        there = ", ".join(images) or "none"
        raise InputError(
            f"{bag.path}: has no images on {wanted or 'any topic'}; topics with images: {there}{_describe_videos(bag)}"
        )
    if len(images) > 1:
        raise InputError(f"{bag.path}: has images on {', '.join(images)}; choose with --image-topic")
    return images[0]


def _describe_videos(bag: Bag) -> str:
    """Topics with video, which is no image message, and what to do about it; empty without any."""
    videos = [f"{topic.name} ({topic.msgtype})" for topic in bag.topics if topic.msgtype in _VIDEOS]
    if not videos:
        return ""
    return (
        f"; video on {', '.join(videos)} is not read: have image_transport republish it as compressed, and record that"
    )


def choose_camera_info_topic(bag: Bag, image_topic: str, wanted: str | None) -> str:
    """The wanted topic, or the one beside the images, where image_transport puts the calibration.

    Raises:
        InputError: it is not in the bag.
    """
    topic = wanted or f"{image_topic.removesuffix(_COMPRESSED).rpartition('/')[0]}/camera_info"
    there = [topic.name for topic in bag.topics if topic.msgtype == CAMERA_INFO]
    if topic in (one.name for one in bag.topics):
        return topic
    raise InputError(
        f"{bag.path}: has no topic {topic} with the calibration; topics with camera_info: "
        f"{', '.join(there) or 'none'}; name one with --camera-info-topic, or give the calibration with --camera"
    )


def read_calibration(
    bag: Bag, image_topic: str, *, camera_info_topic: str | None, rectified: bool, camera: Camera | None
) -> Camera:
    """The calibration of the images on a topic: the one that is given, or else that of the bag.

    Raises:
        InputError: the bag has none, or it cannot be used.
    """
    if camera is not None:
        return camera
    topic = choose_camera_info_topic(bag, image_topic, camera_info_topic)
    return bag.camera(topic, rectified=rectified)


def choose_odometry_topic(bag: Bag) -> str | None:
    """The only topic with nav_msgs/Odometry; None where there is none.

    Raises:
        InputError: there are several.
    """
    topics = [topic.name for topic in bag.topics if topic.msgtype == ODOMETRY]
    if len(topics) > 1:
        raise InputError(f"{bag.path}: has odometry on {', '.join(topics)}; choose with --odom-topic")
    return topics[0] if topics else None
