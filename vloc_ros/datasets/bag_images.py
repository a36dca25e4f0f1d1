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

"""A bag as images to build a map from: keyframes chosen by motion, their poses from odometry or TF."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vloc_ros.bags.messages import image_of, stamp_ns_of
from vloc_ros.bags.reading import TF, Bag, BagMessage
from vloc_ros.bags.transforms import TransformTree
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.keyframe_motion import MIN_ROTATION_RAD, MIN_TRANSLATION_M, has_moved
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedImage, Progress, silent
from vloc_ros.datasets.bag_frames import check_extrinsics, frame_of_poses, stamp_images
from vloc_ros.datasets.bag_topics import (
    choose_image_topic,
    choose_odometry_topic,
    read_calibration,
    topic_of_name,
    topics_by_folder,
)
from vloc_ros.datasets.keyframe_images import check_none_missing
from vloc_ros.datasets.stamp_order import find_stamps_in_order
from vloc_ros.storage.images import name_of_stamp
from vloc_ros.storage.trajectories import LARGEST_GAP_NS

_ODOM = "odom"
_MIN_KEYFRAMES = 3

CameraPath = Callable[[int], Pose | None]


@dataclass(frozen=True, slots=True, eq=False)
class BagKeyframes:
    """The images of a bag to build a map from.

    Attributes:
        images: in the order of time.
        camera_path: where the camera was at any time by the odometry or poses of the bag.
        camera_frame: the camera's optical frame.
        without_pose: number of images at whose time there is none.
        out_of_order: number of further images whose stamps are out of order, which may not be their times.
    """

    images: Sequence[PosedImage]
    camera_path: CameraPath
    camera_frame: str
    without_pose: int = 0
    out_of_order: int = 0


def read_bag_keyframes(
    path: Path,
    *,
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    rectified: bool = False,
    camera: Camera | None = None,
    tf_topic: str = TF,
    odom_topic: str | None = None,
    pose_topic: str | None = None,
    base_frame: str | None = None,
    min_translation_m: float = MIN_TRANSLATION_M,
    min_rotation_rad: float = MIN_ROTATION_RAD,
    largest_gap_ns: int = LARGEST_GAP_NS,
    progress: Progress = silent,
) -> BagKeyframes:
    """The images between which the camera moved or turned enough, as they were recorded: decoded on demand.

    Their messages are held in memory, the other images of the bag are not.

    Args:
        path: a bag folder or an MCAP file.
        image_topic: None takes the only one.
        camera_info_topic: None takes the one beside the images.
        rectified: whether P of the camera_info is the images' calibration.
        camera: takes the place of the camera_info.
        tf_topic: of the transforms; static ones are on `<tf_topic>_static`.
        odom_topic: nav_msgs/Odometry; None takes TF's odom frame, or else the bag's only odometry.
        pose_topic: poses in the map, used in place of odometry.
        base_frame: whose poses the topic's are, where the messages have no name for it; None is `base_link`.
        min_translation_m: motion of the camera from one keyframe to the next.
        min_rotation_rad: the same for its rotation; either is enough.
        largest_gap_ns: between the poses before and after an image, between which its own is interpolated.
        progress: shows how far the bag is read.

    Raises:
        InputError: a topic or the camera's extrinsics are unknown, or fewer than three keyframes have a pose.
    """
    with Bag(path, tf_topic=tf_topic) as bag:
        topic = choose_image_topic(bag, image_topic)
        calibration = read_calibration(
            bag, topic, camera_info_topic=camera_info_topic, rectified=rectified, camera=camera
        )
        camera_path = find_camera_path(
            bag, bag.frame_id(topic), odom_topic, pose_topic, base_frame, largest_gap_ns=largest_gap_ns
        )
        messages = progress(bag.messages([topic]), description="reading the bag", total=bag.count(topic))
        found = _select_keyframes(stamp_images(bag, messages), camera_path, min_translation_m, min_rotation_rad)
        _check_count(bag, topic, found, min_translation_m)
        camera_frame = bag.frame_id(topic)
    images = [_posed_image(path, keyframe, calibration) for keyframe in found.keyframes]
    return BagKeyframes(images, camera_path, camera_frame, found.without_pose, found.out_of_order)


def _posed_image(path: Path, keyframe: _Keyframe, camera: Camera) -> PosedImage:
    """A keyframe whose pixels are decoded on demand."""
    stamp_ns, load = keyframe.stamp_ns, decode_later(path, keyframe.message)
    return PosedImage(name_of_stamp(stamp_ns), load, camera, keyframe.pose, stamp_ns)


def read_named_images(
    path: Path, names: Sequence[str], *, image_topic: str | None = None
) -> Iterator[tuple[int, Array]]:
    """The images that `read_bag_keyframes` gave these names, as the bag is read: the name's number, and the image.

    Names may be below folders, after an update or a merge. All must be of one bag: a name does not say of which.

    Raises:
        InputError: two names are of one stamp; or, when the bag is at its end, some are missing, or the topic.
    """
    with Bag(path) as bag:
        folders = topics_by_folder(bag)
        topic_of = [topic_of_name(name, folders) for name in names]
        if None in topic_of:
            alone = choose_image_topic(bag, image_topic)
            topic_of = [topic or alone for topic in topic_of]
        wanted = _number_of_image(path, names, topic_of)
        for message in bag.messages(sorted({topic for topic in topic_of if topic})):
            if not wanted:
                break
            stamp_ns = stamp_ns_of(message.decoded())
            if (key := (message.topic, name_of_stamp(stamp_ns))) in wanted:
                yield wanted.pop(key), _decode(path, message)
    check_none_missing(path, len(names), [names[k] for k in sorted(wanted.values())])


def _number_of_image(
    path: Path, names: Sequence[str], topic_of: Sequence[str | None]
) -> dict[tuple[str | None, str], int]:
    numbers: dict[tuple[str | None, str], int] = {}
    for k, (name, topic) in enumerate(zip(names, topic_of, strict=True)):
        if (first := numbers.setdefault((topic, name.rpartition("/")[2]), k)) != k:
            raise InputError(
                f"{path}: one image of it would be that of the keyframes {names[first]} and {name}, expected one "
                "keyframe of a stamp: the map is of several bags; take their images out and give them with --images"
            )
    return numbers


@dataclass(frozen=True, slots=True, eq=False)
class _Keyframe:
    """A chosen image: its number in the recording, its stamp, the camera's pose, and the message."""

    number: int
    stamp_ns: int
    pose: Pose
    message: BagMessage


@dataclass(frozen=True, slots=True, eq=False)
class _Selection:
    """The keyframes in the order of time, and how many images were left out, as of BagKeyframes."""

    keyframes: Sequence[_Keyframe]
    without_pose: int
    out_of_order: int


def _select_keyframes(
    stamped: Iterable[tuple[int, BagMessage]],
    camera_path: CameraPath,
    min_translation_m: float,
    min_rotation_rad: float,
) -> _Selection:
    """The images that are far enough from the keyframe before them in time, but those whose stamps are out of order."""
    chosen, posed_stamps_ns, without_pose = list[_Keyframe](), list[int](), 0
    for stamp_ns, message in stamped:
        pose = camera_path(stamp_ns)
        if pose is None:
            without_pose += 1
            continue
        posed_stamps_ns.append(stamp_ns)
        # among those chosen so far: an image with a stamp in the future leaves the ones that are recorded next alone
        place = bisect_left(chosen, stamp_ns, key=lambda keyframe: keyframe.stamp_ns)
        if place < len(chosen) and chosen[place].stamp_ns == stamp_ns:
            continue
        if place == 0 or has_moved(chosen[place - 1].pose, pose, min_translation_m, min_rotation_rad):
            chosen.insert(place, _Keyframe(len(posed_stamps_ns) - 1, stamp_ns, pose, message))
    in_order = set(find_stamps_in_order(posed_stamps_ns))
    kept = [keyframe for keyframe in chosen if keyframe.number in in_order]
    return _Selection(kept, without_pose, len(posed_stamps_ns) - len(in_order))


def decode_later(path: Path, message: BagMessage) -> Callable[[], Array]:
    """Decodes the image of a message when it is needed."""
    return partial(_decode, path, message)


def _decode(path: Path, message: BagMessage) -> Array:
    decoded = message.decoded()
    try:
        return image_of(decoded)
    except InputError as error:
        stamp_ns = stamp_ns_of(decoded)
        raise InputError(f"{path}, {message.topic} at {stamp_ns} ns: {error}") from error


def find_camera_path(
    bag: Bag,
    camera_frame: str,
    odom_topic: str | None,
    pose_topic: str | None,
    base_frame: str | None,
    *,
    largest_gap_ns: int = LARGEST_GAP_NS,
) -> CameraPath:
    """Where the camera was at a time: in the map where a pose topic is given, else in the odometry's frame.

    In larger gaps of the poses that is not known.

    Raises:
        InputError: both topics are given, the bag has no odometry, or not the extrinsics of the camera.
    """
    if odom_topic and pose_topic:
        raise InputError(f"found an odometry topic {odom_topic} and a pose topic {pose_topic}, expected one of them")
    transforms = bag.transforms()
    topic = pose_topic or odom_topic
    if topic is None and _ODOM in transforms.frames:
        if base_frame is not None:
            raise InputError(
                "--base-frame is for --pose-topic and --odom-topic, found neither; give one, or leave it out"
            )
        return _path_of_transforms(bag, transforms, camera_frame, largest_gap_ns)
    topic = topic or _only_odometry_topic(bag)
    trajectory = bag.poses(topic) if pose_topic else bag.odometry(topic)
    posed_frame = frame_of_poses(bag, topic, base_frame)
    check_extrinsics(bag, transforms, posed_frame, camera_frame)

    def path(stamp_ns: int) -> Pose | None:
        target_from_base = trajectory.interpolate(stamp_ns, largest_gap_ns=largest_gap_ns)
        if posed_frame == camera_frame or target_from_base is None:
            return target_from_base
        base_from_camera = transforms.lookup(posed_frame, camera_frame, stamp_ns, largest_gap_ns=largest_gap_ns)
        return None if base_from_camera is None else target_from_base @ base_from_camera

    return path


def odometry_topic_of_path(bag: Bag, odom_topic: str | None) -> str | None:
    """The nav_msgs/Odometry that `find_camera_path` takes poses from; None where it takes those of TF."""
    if odom_topic is not None or _ODOM in bag.transforms().frames:
        return odom_topic
    return choose_odometry_topic(bag)


def has_odometry(bag: Bag) -> bool:
    """Whether a bag has odometry, in TF or on a topic.

    Raises:
        InputError: it has several topics with odometry, and none in TF.
    """
    return _ODOM in bag.transforms().frames or choose_odometry_topic(bag) is not None


def _path_of_transforms(bag: Bag, transforms: TransformTree, camera_frame: str, largest_gap_ns: int) -> CameraPath:
    check_extrinsics(bag, transforms, _ODOM, camera_frame)
    return lambda stamp_ns: transforms.lookup(_ODOM, camera_frame, stamp_ns, largest_gap_ns=largest_gap_ns)


def _only_odometry_topic(bag: Bag) -> str:
    topic = choose_odometry_topic(bag)
    if topic is None:
        raise InputError(
            f"{bag.path}: has neither odometry nor an {_ODOM!r} frame in TF, expected one of them; record it too, or "
            "take the images out and build from images alone"
        )
    return topic


def _check_count(bag: Bag, topic: str, found: _Selection, min_translation_m: float) -> None:
    if len(found.keyframes) < _MIN_KEYFRAMES:
        raise InputError(
            f"{bag.path}: gives {len(found.keyframes)} keyframes of {bag.count(topic)} images on {topic}, expected at "
            f"least {_MIN_KEYFRAMES}: the robot must move, a keyframe every {min_translation_m:g} m, and the odometry "
            f"must cover the times of the images, of which {found.without_pose} are in gaps or beyond it "
            "(--max-time-difference)"
        )
