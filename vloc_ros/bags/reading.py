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

"""Read rosbag2 folders and MCAP or SQLite files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection, QosDurability
from rosbags.rosbag2 import Reader

from vloc_ros.bags import messages
from vloc_ros.bags.opening import check_bag, explain_failure
from vloc_ros.bags.transforms import TransformTree, trajectory_of
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.trajectories import Trajectory

_IMAGES = (messages.COMPRESSED_IMAGE, messages.IMAGE)
TF = "/tf"


@dataclass(frozen=True, slots=True)
class BagTopic:
    """One topic of a bag.

    Attributes:
        name: such as `/camera/image`.
        msgtype: such as `sensor_msgs/msg/Image`.
        count: number of messages.
        latched: True when it was offered with durability transient_local.
    """

    name: str
    msgtype: str
    count: int
    latched: bool


@dataclass(frozen=True, slots=True, eq=False)
class BagMessage:
    """One message as it was recorded.

    Attributes:
        topic: where it was recorded.
        msgtype: such as `sensor_msgs/msg/Image`.
        cdr: its serialised bytes, ready to publish.
        recorded_ns: when it was recorded; its own time is in its header.
    """

    topic: str
    msgtype: str
    cdr: bytes
    recorded_ns: int

    def decoded(self) -> Any:
        """The message.

        Raises:
            InputError: its type is not a common one, or its bytes do not fit it.
        """
        if self.msgtype not in messages.TYPESTORE.types:
            raise InputError(f"topic {self.topic} has messages of the unknown type {self.msgtype}")
        try:
            return messages.TYPESTORE.deserialize_cdr(self.cdr, self.msgtype)
        except Exception as error:  # rosbags lets struct, index, assertion and unicode errors through
            raise InputError(f"a message of {self.topic} is damaged: it is no {self.msgtype} ({error!r})") from error


class Bag:
    """A bag to read in a `with` block.

    Raises:
        InputError: the path is missing or no bag, or the bag is damaged; topics that are not there are named with
            those that are.

    Attributes:
        path: of the bag.
        tf_topic: of its transforms; the static ones are on `<tf_topic>_static`.
    """

    def __init__(self, path: Path, *, tf_topic: str = TF) -> None:
        self.path, self.tf_topic = Path(path), tf_topic
        self._reader: Reader | None = None

    def __enter__(self) -> Bag:
        check_bag(self.path)
        try:
            self._reader = Reader(self.path)
            self._reader.open()
        except Exception as error:  # a damaged file makes rosbags fail in many ways
            raise explain_failure(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def topics(self) -> tuple[BagTopic, ...]:
        """Every topic, by name."""
        names = sorted({connection.topic for connection in self._opened.connections})
        return tuple(_topic(self._connections(name)) for name in names)

    @property
    def start_ns(self) -> int:
        """When the first message was recorded."""
        return int(self._opened.start_time)

    @property
    def end_ns(self) -> int:
        """When the last message was recorded."""
        return int(self._opened.end_time)

    def messages(
        self, topics: Collection[str] | None = None, *, recorded_ns: int | None = None
    ) -> Iterator[BagMessage]:
        """Messages of some topics, or of all, in the order of recording; only those recorded at `recorded_ns`."""
        everything = self._opened.connections
        wanted = everything if topics is None else [c for topic in topics for c in self._connections(topic)]
        stop_ns = None if recorded_ns is None else recorded_ns + 1
        iterator = self._opened.messages(wanted, recorded_ns, stop_ns) if wanted else iter(())
        while True:
            try:
                connection, at_ns, cdr = next(iterator)
            except StopIteration:
                return
            except Exception as error:  # as for opening
                raise InputError(f"{self.path}: is damaged ({_one_line(error)}); try ros2 bag reindex") from error
            yield BagMessage(connection.topic, connection.msgtype, bytes(cdr), at_ns)

    def count(self, topic: str) -> int:
        """Number of messages of a topic."""
        return _topic(self._connections(topic)).count

    def images(self, topic: str) -> Iterator[tuple[int, Array]]:
        """Stamp and uint8 grey or BGR pixels of every image, raw or compressed."""
        for stamp_ns, message in self.stamped(topic, *_IMAGES):
            try:
                image = messages.image_of(message)
            except InputError as error:
                raise InputError(f"{self.path}, {topic} at {stamp_ns} ns: {error}") from error
            yield stamp_ns, image

    def camera(self, topic: str, *, rectified: bool = False) -> Camera:
        """The calibration in the first camera_info that has one, of raw or of rectified images.

        Drivers begin with some of zeros, before they have read it.
        """
        without = 0
        for _, message in self.stamped(topic, messages.CAMERA_INFO):
            if not any(message.p if rectified else message.k):
                without += 1
                continue
            try:
                return messages.camera_of(message, rectified=rectified)
            except InputError as error:
                raise InputError(f"{self.path}, {topic}: {error}") from error
        if without:
            raise InputError(
                f"{self.path}: all {without} messages of {topic} have a {'P' if rectified else 'K'} of zeros, expected "
                "a calibrated camera; calibrate it, and give the calibration with --camera"
            )
        raise self._empty(topic)

    def frame_id(self, topic: str) -> str:
        """The frame in the header of a topic's first message."""
        for message in self.messages([topic]):
            return str(message.decoded().header.frame_id).lstrip("/")
        raise self._empty(topic)

    def odometry(self, topic: str) -> Trajectory:
        """odom_from_base of every Odometry."""
        stamped = [(stamp_ns, messages.pose_of(m.pose.pose)) for stamp_ns, m in self.stamped(topic, messages.ODOMETRY)]
        if not stamped:
            raise self._empty(topic)
        return trajectory_of(stamped)

    def poses(self, topic: str) -> Trajectory:
        """The poses of every PoseStamped, PoseWithCovarianceStamped or Odometry."""
        kinds = (messages.POSE_STAMPED, messages.POSE_WITH_COVARIANCE_STAMPED, messages.ODOMETRY)
        stamped = []
        for stamp_ns, message in self.stamped(topic, *kinds):
            pose = message.pose.pose if hasattr(message.pose, "pose") else message.pose
            stamped.append((stamp_ns, messages.pose_of(pose)))
        if not stamped:
            raise self._empty(topic)
        return trajectory_of(stamped)

    def transforms(self) -> TransformTree:
        """The tree of /tf and /tf_static, or of others; either may be missing."""
        there = {topic.name for topic in self.topics if topic.msgtype == messages.TF_MESSAGE}
        names = self.tf_topic, f"{self.tf_topic}_static"
        if self.tf_topic != TF and not there & set(names):
            raise InputError(f"{self.path}: has no transforms on {self.tf_topic}; on others: {_listed(there)}")
        moving, static = ([m.decoded() for m in self.messages([name])] if name in there else [] for name in names)
        return TransformTree(moving, static)

    def stamped(self, topic: str, *kinds: str) -> Iterator[tuple[int, Any]]:
        """The time and content of every message of a topic that has to be of one of these kinds.

        Raises:
            InputError: there is no such topic, or it is of another kind.
        """
        found = _topic(self._connections(topic)).msgtype
        if found not in kinds:
            raise InputError(f"{self.path}: topic {topic} holds {found}, expected {' or '.join(kinds)}")
        for message in self.messages([topic]):
            decoded = message.decoded()
            yield messages.stamp_ns_of(decoded), decoded

    def _connections(self, topic: str) -> list[Connection]:
        """All connections of a topic: one for every publisher that was recorded."""
        found = [connection for connection in self._opened.connections if connection.topic == topic]
        if found:
            return found
        there = ", ".join(f"{t.name} ({t.msgtype})" for t in self.topics) or "none"
        raise InputError(f"{self.path}: has no topic {topic}; topics there: {there}")

    def _empty(self, topic: str) -> InputError:
        return InputError(f"{self.path}: topic {topic} holds no message; record it again")

    @property
    def _opened(self) -> Reader:
        assert self._reader is not None, "a Bag is used in a with block"
        return self._reader


def _topic(connections: list[Connection]) -> BagTopic:
    profiles = [profile for c in connections for profile in getattr(c.ext, "offered_qos_profiles", ())]
    latched = any(profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles)
    return BagTopic(connections[0].topic, connections[0].msgtype, sum(c.msgcount for c in connections), latched)


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
