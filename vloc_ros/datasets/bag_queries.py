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

"""A bag as queries for a localizer: its images, their calibration, its frames and the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from vloc_ros.bags.messages import COMPRESSED_IMAGE, image_of, stamp_ns_of
from vloc_ros.bags.reading import TF, Bag
from vloc_ros.bags.transforms import TransformTree
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.query import Query
from vloc_ros.core.sources import QuerySource
from vloc_ros.datasets.bag_frames import choose_base_frame, choose_odom_frame, frame_of_poses, stamp_images
from vloc_ros.datasets.bag_topics import choose_camera_info_topic, choose_image_topic, read_calibration
from vloc_ros.datasets.stamp_order import find_stamps_in_order
from vloc_ros.storage.pose_files import poses_at
from vloc_ros.storage.trajectories import LARGEST_GAP_NS, format_stamp


@dataclass(frozen=True, slots=True)
class TruthTopic:
    """Ground truth on a topic of the bag: poses of the base in the map."""

    name: str


@dataclass(frozen=True, slots=True)
class TruthFile:
    """Ground truth in a file: map_from_camera at the times of the images, or one per image in the order of recording.

    Attributes:
        path: of the file, see `poses_at`.
        within_ns: largest difference of the times of an image and of its pose.
    """

    path: Path
    within_ns: int = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class BagQueries:
    """The images of a bag and what is known about them.

    Attributes:
        image_topic: where the images were recorded.
        camera_info_topic: where their calibration was recorded; empty where it was given.
        compressed: True for CompressedImage.
        stamps_ns: of the images, in the order of recording.
        queries: one per image; each reads its image from the bag when it is needed.
        left_out: number of further images, at whose time TF or the ground truth has nothing, or whose stamps are out of
            order; played, not scored.
        base_frame: the frame to localize.
        odom_frame: empty where the bag has no odometry in TF.
        base_from_camera: at every image's time.
        transforms: all of the bag.
        truth: map_from_base at every image's time; None for negatives.
        paired_by_row: whether the ground truth is a file whose poses are those of the images one by one, not by time.
    """

    image_topic: str
    camera_info_topic: str
    compressed: bool
    stamps_ns: list[int]
    queries: list[QuerySource]
    left_out: int
    base_frame: str
    odom_frame: str
    base_from_camera: list[Pose]
    transforms: TransformTree
    truth: list[Pose] | None
    paired_by_row: bool = False

    def odom_from_camera(self) -> list[Pose | None]:
        """Odometry carried to the camera at every image's time, None where TF has none."""
        if not self.odom_frame:
            return [None] * len(self.stamps_ns)
        odometry = (self.transforms.lookup(self.odom_frame, self.base_frame, stamp) for stamp in self.stamps_ns)
        return [
            odom_from_base and odom_from_base @ base_from_camera
            for odom_from_base, base_from_camera in zip(odometry, self.base_from_camera, strict=True)
        ]

    def map_from_camera(self) -> list[Pose] | None:
        """The ground truth of the camera at every image's time; None for negatives."""
        if self.truth is None:
            return None
        pairs = zip(self.truth, self.base_from_camera, strict=True)
        return [map_from_base @ base_from_camera for map_from_base, base_from_camera in pairs]


def read_bag_queries(
    path: Path,
    *,
    ground_truth: TruthTopic | TruthFile | None,
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    rectified: bool = False,
    camera: Camera | None = None,
    tf_topic: str = TF,
    base_frame: str | None = None,
    odom_frame: str | None = None,
    requires_odometry: bool = False,
    limit: int | None = None,
    largest_gap_ns: int = LARGEST_GAP_NS,
) -> BagQueries:
    """Read what is known about the images of a bag; the images themselves stay there.

    Args:
        path: a bag folder or an MCAP file.
        ground_truth: None for negatives, images of a place that is not in the map.
        image_topic: None takes the only one.
        camera_info_topic: None takes the one beside the images.
        rectified: whether P of the camera_info is the images' calibration.
        camera: takes the place of the camera_info.
        tf_topic: of the transforms; static ones are on `<tf_topic>_static`.
        base_frame: the frame of TF to localize, whose poses a topic of ground truth holds. None is `base_link`, or the
            camera's own where the bag has no TF and the ground truth, if any, is that of the camera.
        odom_frame: the odometry's frame of TF; empty where there is none; None is `odom` where TF has it.
        requires_odometry: whether a bag with transforms over time must have one.
        limit: takes only so many images; None takes all.
        largest_gap_ns: between the true poses, or the transforms to the camera, before and after an image, of which
            those of the image are interpolated.

    Raises:
        InputError: the bag is none, a topic is missing or ambiguous, a frame is unknown, or no image has ground truth.
    """
    with Bag(path, tf_topic=tf_topic) as bag:
        # rows of a file may be of all images, also where only the first are taken
        read = None if isinstance(ground_truth, TruthFile) else limit
        images = _read_images(bag, image_topic, camera_info_topic, read, rectified=rectified, camera=camera)
        transforms = bag.transforms()
        if isinstance(ground_truth, TruthTopic):
            base_frame = frame_of_poses(bag, ground_truth.name, base_frame)
        base_frame = choose_base_frame(bag, transforms, base_frame, images.frame)
        odom_frame = choose_odom_frame(bag, transforms, odom_frame, required=requires_odometry)
        known = _read_poses(bag, images, ground_truth, transforms, base_frame, largest_gap_ns)
    count = len(images.times[:limit])
    kept = _known_images(path, ground_truth, known, count=count)
    return _select_queries(path, images, known, kept, count - len(kept), (base_frame, odom_frame), transforms)


def read_bag_images(
    path: Path,
    *,
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    rectified: bool = False,
    camera: Camera | None = None,
) -> tuple[list[QuerySource], int]:
    """The images of a bag to localize, and how many have stamps out of order, which are left out.

    Their camera is the frame to localize: TF is not needed. The arguments are those of `read_bag_queries`.

    Raises:
        InputError: the bag is none, or a topic is missing or ambiguous.
    """
    with Bag(path) as bag:
        images = _read_images(bag, image_topic, camera_info_topic, None, rectified=rectified, camera=camera)
    in_order = find_stamps_in_order(images.stamps_ns)
    queries = [_query_source(path, images.topic, images.camera, *images.times[i]) for i in in_order]
    return queries, len(images.times) - len(queries)


@dataclass(frozen=True, slots=True, eq=False)
class _BagImages:
    """The images on a topic: where they are, their calibration and frame, and the stamp and time of recording of each.

    Attributes:
        topic, camera_info_topic, compressed: as of BagQueries.
        camera: their calibration.
        frame: the camera's optical frame.
        times: stamp and time of recording of each, in nanoseconds and the order of recording.
    """

    topic: str
    camera_info_topic: str
    compressed: bool
    camera: Camera
    frame: str
    times: list[tuple[int, int]]

    @property
    def stamps_ns(self) -> list[int]:
        """The stamp of each."""
        return [stamp_ns for stamp_ns, _ in self.times]


@dataclass(frozen=True, slots=True, eq=False)
class _BagPoses:
    """What is known of each image: base_from_camera, and map_from_base, which is None for negatives.

    Attributes:
        base_from_camera: None where TF has nothing for that time.
        truth: None where the ground truth has nothing for that time.
        paired_by_row: as of BagQueries.
        in_order: indices of the images whose stamps are in the order of recording.
    """

    base_from_camera: Sequence[Pose | None]
    truth: Sequence[Pose | None] | None
    paired_by_row: bool
    in_order: Sequence[int]


def _read_images(
    bag: Bag,
    image_topic: str | None,
    camera_info_topic: str | None,
    limit: int | None,
    *,
    rectified: bool,
    camera: Camera | None,
) -> _BagImages:
    """The images on the topic, which are not decoded; only so many where there is a limit."""
    topic = choose_image_topic(bag, image_topic)
    info_topic = "" if camera else choose_camera_info_topic(bag, topic, camera_info_topic)
    compressed = any(t.name == topic and t.msgtype == COMPRESSED_IMAGE for t in bag.topics)
    calibration = read_calibration(bag, topic, camera_info_topic=info_topic, rectified=rectified, camera=camera)
    messages = islice(bag.messages([topic]), limit)
    times = [(stamp_ns, message.recorded_ns) for stamp_ns, message in stamp_images(bag, messages)]
    if not times:
        raise InputError(f"{bag.path}: topic {topic} holds no image")
    return _BagImages(topic, info_topic, compressed, calibration, bag.frame_id(topic), times)


def _read_poses(
    bag: Bag,
    images: _BagImages,
    ground_truth: TruthTopic | TruthFile | None,
    transforms: TransformTree,
    base_frame: str,
    largest_gap_ns: int,
) -> _BagPoses:
    """The extrinsics and the ground truth of every image."""
    stamps_ns = images.stamps_ns
    extrinsics = [
        Pose.identity()
        if base_frame == images.frame
        else transforms.lookup(base_frame, images.frame, stamp_ns, largest_gap_ns=largest_gap_ns)
        for stamp_ns in stamps_ns
    ]
    in_order = find_stamps_in_order(stamps_ns)
    if ground_truth is None:
        return _BagPoses(extrinsics, None, False, in_order)
    if isinstance(ground_truth, TruthTopic):
        trajectory = bag.poses(ground_truth.name)
        truth = [trajectory.interpolate(stamp_ns, largest_gap_ns=largest_gap_ns) for stamp_ns in stamps_ns]
        return _BagPoses(extrinsics, truth, False, in_order)
    rows, by_row = poses_at(stamps_ns, ground_truth.path, within_ns=ground_truth.within_ns)
    truth = [
        map_from_camera and base_from_camera and map_from_camera @ base_from_camera.inverse()
        for map_from_camera, base_from_camera in zip(rows, extrinsics, strict=True)
    ]
    return _BagPoses(extrinsics, truth, by_row, in_order)


def _known_images(
    path: Path, ground_truth: TruthTopic | TruthFile | None, known: _BagPoses, *, count: int
) -> list[int]:
    """Indices of those of the first images with extrinsics, a stamp in order and, where there is any, ground truth."""
    with_extrinsics = [i for i in known.in_order if i < count and known.base_from_camera[i] is not None]
    if not with_extrinsics:
        raise InputError(f"{path}: TF has no transform from camera to base at the time of any image")
    kept = [i for i in with_extrinsics if known.truth is None or known.truth[i] is not None]
    if not kept:
        where = ground_truth.name if isinstance(ground_truth, TruthTopic) else ground_truth and ground_truth.path
        raise InputError(
            f"{path}: {where} has no pose at the time of any of {count} images; do the clocks agree, and are poses "
            "recorded often enough? --max-time-difference takes those further away"
        )
    return kept


def _select_queries(
    path: Path,
    images: _BagImages,
    known: _BagPoses,
    kept: Sequence[int],
    left_out: int,
    frames: tuple[str, str],
    transforms: TransformTree,
) -> BagQueries:
    """The queries of those images that are kept; frames are base and odometry."""
    return BagQueries(
        image_topic=images.topic,
        camera_info_topic=images.camera_info_topic,
        compressed=images.compressed,
        stamps_ns=[images.times[i][0] for i in kept],
        queries=[_query_source(path, images.topic, images.camera, *images.times[i]) for i in kept],
        left_out=left_out,
        base_frame=frames[0],
        odom_frame=frames[1],
        transforms=transforms,
        base_from_camera=[pose for i in kept if (pose := known.base_from_camera[i]) is not None],
        truth=None if known.truth is None else [pose for i in kept if (pose := known.truth[i]) is not None],
        paired_by_row=known.paired_by_row,
    )


def _query_source(path: Path, topic: str, camera: Camera, stamp_ns: int, recorded_ns: int) -> QuerySource:
    return QuerySource(
        format_stamp(stamp_ns), partial(_read_query, path, topic, camera, stamp_ns, recorded_ns), stamp_ns
    )


def _read_query(path: Path, topic: str, camera: Camera, stamp_ns: int, recorded_ns: int) -> Query:
    with Bag(path) as bag:
        for message in bag.messages([topic], recorded_ns=recorded_ns):
            decoded = message.decoded()
            if stamp_ns_of(decoded) == stamp_ns:
                return Query.single(image_of(decoded), camera, stamp_ns=stamp_ns)
    raise InputError(f"{path}: the image of {stamp_ns} ns is gone; was the bag changed meanwhile?")
