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

"""What was played to the nodes, and what they published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.text import read_text


class Transforms(Protocol):
    """The transforms of a recording."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose | None:
        """target_from_source at a time."""


class PlayedBag(Protocol):
    """The bag that is played, such as a `vloc_ros.datasets.bag_queries.BagQueries`."""

    @property
    def image_topic(self) -> str:
        """Where the images were recorded."""
        ...

    @property
    def camera_info_topic(self) -> str:
        """Where their calibration was recorded."""
        ...

    @property
    def compressed(self) -> bool:
        """True for CompressedImage."""
        ...

    @property
    def stamps_ns(self) -> list[int]:
        """Of the images to score."""
        ...

    @property
    def left_out(self) -> int:
        """Number of further images, which are played and not scored."""
        ...

    @property
    def base_frame(self) -> str:
        """The frame to localize."""
        ...

    @property
    def odom_frame(self) -> str:
        """The odometry's frame of TF; empty where there is none."""
        ...

    @property
    def base_from_camera(self) -> list[Pose]:
        """The extrinsics at every image's time."""
        ...

    @property
    def transforms(self) -> Transforms:
        """All of the bag."""
        ...

    @property
    def truth(self) -> list[Pose] | None:
        """map_from_base at every image's time; None for negatives."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LiveRecording:
    """What the nodes published.

    Attributes:
        statuses: by image stamp, as the recorder writes them.
        poses: received pose by image stamp: (received_ns, pose).
        map_transforms: by image stamp: TF's transform from map to its child.
        published_ns: when the player sent each image, monotonic.
    """

    statuses: Mapping[int, Mapping[str, Any]]
    poses: Mapping[int, tuple[int, Pose]]
    map_transforms: Mapping[int, Pose]
    published_ns: Mapping[int, int]


def read_recording(recorded: Path, played: Path, *, tolerance_ns: int, image_topic: str) -> LiveRecording:
    """Read the files of recorder and player; map transforms are stamped `tolerance_ns` after their image."""
    rows = [json.loads(line) for line in read_text(recorded).splitlines()]
    sent = [json.loads(line) for line in read_text(played).splitlines()]
    statuses = {row["stamp_ns"]: row for row in rows if row["kind"] == "status"}
    frames = {row["map_frame"] for row in statuses.values() if row["map_frame"]}
    return LiveRecording(
        statuses=statuses,
        poses={row["stamp_ns"]: (row["received_ns"], pose_of_row(row)) for row in rows if row["kind"] == "pose"},
        map_transforms={
            row["stamp_ns"] - tolerance_ns: pose_of_row(row)
            for row in rows
            if row["kind"] == "tf" and row["parent"] in frames
        },
        published_ns={row["stamp_ns"]: row["published_ns"] for row in sent if row["topic"] == image_topic},
    )


def pose_of_row(row: Mapping[str, Any]) -> Pose:
    """The pose of a row with `quaternion` (x y z w) and `translation`."""
    return Pose.from_quaternion(row["quaternion"], row["translation"])
