"""Which topics of a bag hold the images, their calibration and the odometry."""

from __future__ import annotations

from vloc_ros.bags.messages import COMPRESSED_IMAGE, IMAGE, ODOMETRY
from vloc_ros.bags.reading import Bag
from vloc_ros.core.errors import InputError

_COMPRESSED = "/compressed"


def image_topic_of(bag: Bag, wanted: str | None) -> str:
    """The wanted topic, its compressed form where only that was recorded, or the only one with images.

    Raises:
        InputError: there is none, or several and none is wanted.
    """
    images = [topic.name for topic in bag.topics if topic.msgtype in (IMAGE, COMPRESSED_IMAGE)]
    for name in (wanted, f"{wanted}{_COMPRESSED}"):
        if name in images:
            return name
    if wanted or not images:
        there = ", ".join(images) or "none"
        raise InputError(f"{bag.path}: has no images on {wanted or 'any topic'}; topics with images: {there}")
    if len(images) > 1:
        raise InputError(f"{bag.path}: has images on {', '.join(images)}; choose with --image-topic")
    return images[0]


def camera_info_topic_of(image_topic: str) -> str:
    """Where image_transport puts the calibration: beside the images."""
    return f"{image_topic.removesuffix(_COMPRESSED).rpartition('/')[0]}/camera_info"


def odometry_topics_of(bag: Bag) -> tuple[str, ...]:
    """Every topic with nav_msgs/Odometry."""
    return tuple(topic.name for topic in bag.topics if topic.msgtype == ODOMETRY)
