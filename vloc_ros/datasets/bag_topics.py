"""Which topics of a bag hold the images, their calibration and the odometry."""

from __future__ import annotations

from vloc_ros.bags.messages import COMPRESSED_IMAGE, IMAGE, ODOMETRY
from vloc_ros.bags.reading import Bag
from vloc_ros.core.errors import InputError

_COMPRESSED = "/compressed"


def choose_image_topic(bag: Bag, wanted: str | None) -> str:
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


def derive_camera_info_topic(image_topic: str) -> str:
    """Where image_transport puts the calibration: beside the images."""
    return f"{image_topic.removesuffix(_COMPRESSED).rpartition('/')[0]}/camera_info"


def choose_odometry_topic(bag: Bag) -> str | None:
    """The only topic with nav_msgs/Odometry; None where there is none.

    Raises:
        InputError: there are several.
    """
    topics = [topic.name for topic in bag.topics if topic.msgtype == ODOMETRY]
    if len(topics) > 1:
        raise InputError(f"{bag.path}: has odometry on {', '.join(topics)}; choose with --odom-topic")
    return topics[0] if topics else None
