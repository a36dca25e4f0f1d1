"""A bag as questions to a localizer: its images, their calibration, its frames and the true poses."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vloc_ros.bags.reading import Bag
    from vloc_ros.bags.transforms import TransformTree
    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.query import Query
    from vloc_ros.evaluation.batch_localization import QuerySource


@dataclass(frozen=True, slots=True, eq=False)
class BagQueries:
    """The images of a bag and what is known about them.

    Attributes:
        image_topic, camera_info_topic: where they were recorded.
        compressed: True for CompressedImage.
        stamps_ns: of the images, in the order of recording.
        questions: one per image; each reads its image from the bag when it is asked.
        left_out: further images, for which TF or the truth has nothing at their time; they are played, not scored.
        base_frame: whose pose is asked for: the camera's own where the bag has no TF at all.
        odom_frame: empty where the bag has no odometry in TF.
        base_from_camera: at every image's time.
        transforms: all of the bag.
        truth: map_from_base at every image's time; None when the images are of somewhere else.
    """

    image_topic: str
    camera_info_topic: str
    compressed: bool
    stamps_ns: list[int]
    questions: list[QuerySource]
    left_out: int
    base_frame: str
    odom_frame: str
    base_from_camera: list[Pose]
    transforms: TransformTree
    truth: list[Pose] | None

    def odom_from_base(self) -> list[Pose | None]:
        """Odometry at every image's time, None where TF has none."""
        if not self.odom_frame:
            return [None] * len(self.stamps_ns)
        return [self.transforms.lookup(self.odom_frame, self.base_frame, stamp_ns) for stamp_ns in self.stamps_ns]


def read_bag_queries(args: argparse.Namespace) -> BagQueries:
    """What `--bag` and the options that go with it describe.

    Raises:
        InputError: the bag is none, a topic is missing or ambiguous, a frame is unknown, or no image has a true pose.
    """
    from vloc_ros.bags.messages import COMPRESSED_IMAGE
    from vloc_ros.bags.reading import Bag
    from vloc_ros.datasets.bag_topics import camera_info_topic_of, image_topic_of

    with Bag(args.bag) as bag:
        topic = image_topic_of(bag, args.image_topic)
        info_topic = args.camera_info_topic or camera_info_topic_of(topic)
        compressed = any(t.name == topic and t.msgtype == COMPRESSED_IMAGE for t in bag.topics)
        camera, camera_frame = bag.camera(info_topic, rectified=args.rectified), bag.frame_id(topic)
        images = _images(bag, topic, args.limit)
        transforms = bag.transforms()
        base_frame = _base_frame(args, transforms, camera_frame)
        odom_frame = _odom_frame(args, bag, transforms)
        stamps_ns = [stamp_ns for stamp_ns, _ in images]
        mounts = [_mount(transforms, base_frame, camera_frame, stamp_ns) for stamp_ns in stamps_ns]
        truth = _truth(args, bag, topic, stamps_ns, mounts)
    kept = _known(args, mounts, truth)
    return BagQueries(
        image_topic=topic,
        camera_info_topic=info_topic,
        compressed=compressed,
        stamps_ns=[stamps_ns[i] for i in kept],
        questions=[_question(args.bag, topic, camera, *images[i]) for i in kept],
        left_out=len(images) - len(kept),
        base_frame=base_frame,
        odom_frame=odom_frame,
        base_from_camera=[mount for i in kept if (mount := mounts[i]) is not None],
        transforms=transforms,
        truth=None if truth is None else [pose for i in kept if (pose := truth[i]) is not None],
    )


def _images(bag: Bag, topic: str, limit: int | None) -> list[tuple[int, int]]:
    """Stamp and time of recording of each image; the images themselves stay in the bag."""
    from vloc_ros.bags.messages import stamp_ns_of
    from vloc_ros.core.errors import InputError

    messages = islice(bag.messages([topic]), limit)
    images = [(stamp_ns_of(message.decoded()), message.recorded_ns) for message in messages]
    if not images:
        raise InputError(f"{bag.path}: topic {topic} holds no image")
    return images


def _base_frame(args: argparse.Namespace, transforms: TransformTree, camera_frame: str) -> str:
    """Of the option; without TF there is nothing but the camera."""
    from vloc_ros.core.errors import InputError

    if not transforms.frames or args.base_frame in (*transforms.frames, camera_frame):
        return str(args.base_frame) if transforms.frames else camera_frame
    raise InputError(
        f"{args.bag}: TF has no frame {args.base_frame!r}; name the robot's own with --base-frame; frames there: "
        f"{', '.join(transforms.frames)}"
    )


def _odom_frame(args: argparse.Namespace, bag: Bag, transforms: TransformTree) -> str:
    """Of the option; only live evaluation needs it, and a bag whose TF never moves has none."""
    from vloc_ros.core.errors import InputError

    if args.odom_frame in transforms.frames:
        return str(args.odom_frame)
    moves = any(topic.name == "/tf" and topic.count for topic in bag.topics)
    if args.live and moves and args.odom_frame:
        raise InputError(
            f"{args.bag}: TF has no frame {args.odom_frame!r}; name the odometry's with --odom-frame, or give "
            f"--odom-frame '' where there is none; frames there: {', '.join(transforms.frames)}"
        )
    return ""


def _mount(transforms: TransformTree, base_frame: str, camera_frame: str, stamp_ns: int) -> Pose | None:
    """base_from_camera; None where TF has nothing for that time."""
    from vloc_ros.core.geometry.pose import Pose

    if base_frame == camera_frame:
        return Pose.identity()
    return transforms.lookup(base_frame, camera_frame, stamp_ns)


def _truth(
    args: argparse.Namespace, bag: Bag, topic: str, stamps_ns: Sequence[int], mounts: Sequence[Pose | None]
) -> list[Pose | None] | None:
    """map_from_base of every image: of the topic at its time, or row by row of the file, which has the camera's."""
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.trajectories import read_tum

    if args.absent:
        return None
    if args.truth_topic:
        trajectory = bag.poses(args.truth_topic)
        return [trajectory.interpolated(stamp_ns) for stamp_ns in stamps_ns]
    rows, count = read_tum(args.poses).poses, bag.count(topic)
    if len(rows) != count:
        raise InputError(f"{args.poses}: has {len(rows)} poses, the bag {count} images; expected one each, in order")
    pairs = zip(rows, mounts, strict=False)
    return [None if mount is None else map_from_camera @ mount.inverse() for map_from_camera, mount in pairs]


def _known(args: argparse.Namespace, mounts: Sequence[Pose | None], truth: Sequence[Pose | None] | None) -> list[int]:
    """Indices of the images about which everything is known."""
    from vloc_ros.core.errors import InputError

    mounted = [i for i, mount in enumerate(mounts) if mount is not None]
    kept = [i for i in mounted if truth is None or truth[i] is not None]
    if not mounted:
        raise InputError(f"{args.bag}: TF never tells where the camera sits on the base at the time of an image")
    if not kept:
        raise InputError(
            f"{args.bag}: {args.truth_topic} has no pose at the time of any of {len(mounts)} images; do the clocks "
            "agree?"
        )
    return kept


def _question(path: Path, topic: str, camera: Camera, stamp_ns: int, recorded_ns: int) -> QuerySource:
    from vloc_ros.evaluation.batch_localization import QuerySource

    return QuerySource(str(stamp_ns), _reader(path, topic, camera, stamp_ns, recorded_ns), stamp_ns)


def _reader(path: Path, topic: str, camera: Camera, stamp_ns: int, recorded_ns: int) -> Callable[[], Query]:
    def read() -> Query:
        from vloc_ros.bags.messages import image_of, stamp_ns_of
        from vloc_ros.bags.reading import Bag
        from vloc_ros.core.errors import InputError
        from vloc_ros.core.query import Query

        with Bag(path) as bag:
            for message in bag.messages([topic], recorded_ns=recorded_ns):
                decoded = message.decoded()
                if stamp_ns_of(decoded) == stamp_ns:
                    return Query.single(image_of(decoded), camera, stamp_ns=stamp_ns)
        raise InputError(f"{path}: the image of {stamp_ns} ns is gone; was the bag changed meanwhile?")

    return read
