"""A bag as questions to a localizer: its images, their calibration, its frames and the true poses."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vloc_ros.bags.reading import Bag, BagMessage
    from vloc_ros.bags.transforms import TransformTree
    from vloc_ros.core.camera import Camera
    from vloc_ros.core.pose import Pose
    from vloc_ros.core.query import Query
    from vloc_ros.evaluation.answers import Question

_BASE, _ODOM = "base_link", "odom"


@dataclass(frozen=True, slots=True, eq=False)
class BagSource:
    """The images of a bag and what is known about them.

    Attributes:
        image_topic, camera_info_topic: where they were recorded.
        compressed: True for CompressedImage.
        stamps_ns: of the images, in the order of recording.
        questions: one per image.
        base_frame: whose pose is asked for: base_link, or the camera where TF knows no base_link.
        odom_frame: odom, or empty where TF does not know it.
        base_from_camera: at every image's time.
        transforms: all of the bag.
        truth: map_from_base at every image's time; None when the images are of somewhere else.
    """

    image_topic: str
    camera_info_topic: str
    compressed: bool
    stamps_ns: list[int]
    questions: list[Question]
    base_frame: str
    odom_frame: str
    base_from_camera: list[Pose]
    transforms: TransformTree
    truth: list[Pose] | None


def read_bag_source(args: argparse.Namespace) -> BagSource:
    """What `--bag`, `--image-topic`, `--camera-info-topic`, `--poses`, `--truth-topic` and `--limit` describe.

    Raises:
        InputError: the bag is none, a topic is missing or ambiguous, or there is no true pose for an image.
    """
    from vloc_ros.bags.messages import COMPRESSED_IMAGE, stamp_ns_of
    from vloc_ros.bags.reading import Bag
    from vloc_ros.core.errors import InputError

    with Bag(args.bag) as bag:
        topic, msgtype = _image_topic(bag, args.image_topic)
        info_topic = args.camera_info_topic or _beside(topic)
        camera, camera_frame = bag.camera(info_topic), bag.frame_id(topic)
        messages = list(bag.messages([topic]))[: args.limit]
        if not messages:
            raise InputError(f"{args.bag}: topic {topic} holds no image")
        stamps_ns = [stamp_ns_of(message.decoded()) for message in messages]
        transforms = bag.transforms()
        base_frame = _BASE if _BASE in transforms.frames else camera_frame
        base_from_camera = [_lookup(transforms, base_frame, camera_frame, stamp) for stamp in stamps_ns]
        truth = _truth(args, bag, stamps_ns, base_from_camera)
    questions = [_question(message, camera, stamp) for message, stamp in zip(messages, stamps_ns, strict=True)]
    return BagSource(
        image_topic=topic,
        camera_info_topic=info_topic,
        compressed=msgtype == COMPRESSED_IMAGE,
        stamps_ns=stamps_ns,
        questions=questions,
        base_frame=base_frame,
        odom_frame=_ODOM if _ODOM in transforms.frames else "",
        base_from_camera=base_from_camera,
        transforms=transforms,
        truth=truth,
    )


def _image_topic(bag: Bag, wanted: str | None) -> tuple[str, str]:
    from vloc_ros.bags.messages import COMPRESSED_IMAGE, IMAGE
    from vloc_ros.core.errors import InputError

    images = {t.name: t.msgtype for t in bag.topics if t.msgtype in (IMAGE, COMPRESSED_IMAGE)}
    compressed = f"{wanted}/compressed"
    if wanted in images:
        return wanted, images[wanted]
    if wanted and compressed in images:
        return compressed, images[compressed]
    if wanted or not images:
        there = ", ".join(images) or "none"
        raise InputError(f"{bag.path}: has no images on {wanted or 'any topic'}; topics with images: {there}")
    if len(images) > 1:
        raise InputError(f"{bag.path}: has images on {', '.join(images)}; choose with --image-topic")
    return next(iter(images.items()))


def _beside(image_topic: str) -> str:
    """Where image_transport expects the calibration."""
    return f"{image_topic.removesuffix('/compressed').rpartition('/')[0]}/camera_info"


def _lookup(transforms: TransformTree, target: str, source: str, stamp_ns: int) -> Pose:
    from vloc_ros.core.errors import InputError
    from vloc_ros.core.pose import Pose

    if target == source:
        return Pose.identity()
    found = transforms.lookup(target, source, stamp_ns)
    if found is None:
        raise InputError(f"the bag's TF has no {target} -> {source} at {stamp_ns} ns, the time of an image")
    return found


def _truth(args: argparse.Namespace, bag: Bag, stamps_ns: list[int], base_from_camera: list[Pose]) -> list[Pose] | None:
    """map_from_base of every image: of the topic at its time, or row by row of the file, which has the camera's."""
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.trajectories import read_tum

    if args.absent:
        return None
    if args.truth_topic:
        trajectory = bag.poses(args.truth_topic)
        poses = [trajectory.interpolated(stamp) for stamp in stamps_ns]
        missing = next((stamp for stamp, pose in zip(stamps_ns, poses, strict=True) if pose is None), None)
        if missing is not None:
            raise InputError(f"{args.truth_topic} has no pose at {missing} ns, the time of an image")
        return [pose for pose in poses if pose is not None]
    rows = read_tum(args.poses).poses
    images = bag.count(args.image_topic or _image_topic(bag, None)[0])
    if len(rows) != images:
        raise InputError(f"{args.poses}: has {len(rows)} poses, the bag {images} images; expected one each, in order")
    pairs = zip(rows, base_from_camera, strict=False)
    return [map_from_camera @ base_from.inverse() for map_from_camera, base_from in pairs]


def _question(message: BagMessage, camera: Camera, stamp_ns: int) -> Question:
    from vloc_ros.evaluation.answers import Question

    return Question(str(stamp_ns), _reader(message, camera, stamp_ns))


def _reader(message: BagMessage, camera: Camera, stamp_ns: int) -> Callable[[], Query]:
    def read() -> Query:
        from vloc_ros.bags.messages import image_of
        from vloc_ros.core.query import Query

        return Query.single(image_of(message.decoded()), camera, stamp_ns=stamp_ns)

    return read
