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

"""Which frames a bag speaks of: the base of a robot, its camera, and whose poses a topic holds. None is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vloc_ros.bags.messages import ODOMETRY, TF_MESSAGE, stamp_ns_of
from vloc_ros.bags.reading import TF, Bag, BagMessage
from vloc_ros.bags.transforms import TransformTree
from vloc_ros.core.errors import InputError

BASE, _ODOM = "base_link", "odom"
_MOST_NAMED = 3


def check_extrinsics(
    bag: Bag, transforms: TransformTree, base_frame: str, camera_frame: str, *, sensor: str = "camera"
) -> None:
    """Refuse to guess them: the axes of a sensor, be it the camera or another one, are not those of the base.

    Raises:
        InputError: TF does not connect the two.
    """
    if base_frame == camera_frame:
        return
    try:
        transforms.lookup(base_frame, camera_frame, 0)
    except InputError as error:
        others, instead = "", ""
        if sensor == "camera":
            others, instead = _other_transforms(bag), ", or take the images out and give their --poses"
        raise InputError(
            f"{bag.path}: has no extrinsics of the {sensor} {camera_frame!r} on {base_frame!r} ({error}{others}); "
            f"record {TF} and {TF}_static too, or name the base with --base-frame ({camera_frame} where the poses are "
            f"the {sensor}'s own){instead}"
        ) from error


def child_frame(bag: Bag, topic: str) -> str:
    """The frame whose poses a topic holds; empty where its messages have no name for it."""
    for message in bag.messages([topic]):
        if message.msgtype == ODOMETRY:
            return str(message.decoded().child_frame_id).lstrip("/")
        break
    return ""


def frame_of_poses(bag: Bag, topic: str, wanted: str | None) -> str:
    """The frame whose poses a topic holds, by its messages, or else the wanted one, `base_link` where that is None.

    Raises:
        InputError: the messages name another one than is wanted.
    """
    named = child_frame(bag, topic)
    if named and wanted and named != wanted:
        raise InputError(
            f"{bag.path}: {topic} holds poses of {named!r}, --base-frame is {wanted!r}; leave it out, or name {named}"
        )
    return named or wanted or BASE


def choose_base_frame(
    bag: Bag, transforms: TransformTree, wanted: str | None, camera_frame: str, *, sensor: str = "camera"
) -> str:
    """The wanted frame, which TF connects with the sensor; the sensor's own where none is wanted and there is no TF.

    Raises:
        InputError: TF does not connect the two.
    """
    if wanted is None and not transforms.frames:
        return camera_frame
    base_frame = wanted or BASE
    check_extrinsics(bag, transforms, base_frame, camera_frame, sensor=sensor)
    return base_frame


def choose_odom_frame(bag: Bag, transforms: TransformTree, wanted: str | None, *, required: bool) -> str:
    """The wanted frame, or `odom`; empty where none is wanted and TF has none, as in a bag whose TF never moves.

    Raises:
        InputError: TF has no such frame, and one is wanted or required of a bag whose TF moves.
    """
    odom_frame = _ODOM if wanted is None else wanted
    if not odom_frame or odom_frame in transforms.frames:
        return odom_frame
    moves = any(topic.name == bag.tf_topic and topic.count for topic in bag.topics)
    if wanted is not None or (required and moves):
        raise InputError(
            f"{bag.path}: TF has no frame {odom_frame!r}; name the odometry's with --odom-frame, or give "
            f"--odom-frame '' where there is none; frames there: {', '.join(transforms.frames) or 'none'}"
        )
    return ""


def stamp_images(bag: Bag, images: Iterable[BagMessage]) -> Iterator[tuple[int, BagMessage]]:
    """Images with the time in their headers.

    Raises:
        InputError: a second one has none: it is 0 then, and whatever is of time 0 would be of both.
    """
    without = 0
    for message in images:
        stamp_ns = stamp_ns_of(message.decoded())
        without += stamp_ns == 0
        if without > 1:
            raise InputError(
                f"{bag.path}: images on {message.topic} have the stamp 0, expected the time that each was taken; have "
                "the driver stamp its messages and record again, or take the images out and name them by their time"
            )
        yield stamp_ns, message


def _other_transforms(bag: Bag) -> str:
    """What else the bag has of that kind, such as the transforms of a robot with a namespace."""
    read = bag.tf_topic, f"{bag.tf_topic}_static"
    others = [topic.name for topic in bag.topics if topic.msgtype == TF_MESSAGE and topic.name not in read]
    named = others[0].removesuffix("_static") if others else ""
    return f"; but it has {', '.join(others[:_MOST_NAMED])}: --tf-topic {named}" if others else ""
