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

"""Images to come: those that a map is built from, and those to localize. Each is read when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.query import Query

T = TypeVar("T")


class Progress(Protocol):
    """Shows how far a loop has come: takes what is looped over and a description, gives it back."""

    def __call__(self, items: Iterable[T], *, description: str, total: int | None = None) -> Iterable[T]:
        """The same items."""
        ...


def silent(items: Iterable[T], *, description: str, total: int | None = None) -> Iterable[T]:
    """Shows nothing."""
    return items


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredPosition:
    """Where a receiver that is fixed to the camera was when an image was taken.

    Attributes:
        position: (3,) of the receiver in a map whose z axis points up, metres.
        std: (3,) standard deviations of its coordinates, metres.
        camera_from_receiver: (3,) place of the receiver in the camera's optical frame, metres.
        shared_by: number of positions that its error is shared by, itself included; its information is divided by it.
    """

    position: Array
    std: Array
    camera_from_receiver: Array = field(default_factory=lambda: np.zeros(3))
    shared_by: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredGravity:
    """Which way is down when an image is taken.

    Attributes:
        direction: (3,) of gravity in the camera's optical frame, of length 1.
        std_rad: standard deviation of its direction.
    """

    direction: Array
    std_rad: float


@dataclass(frozen=True, slots=True, eq=False)
class RigView:
    """How the camera of an image is fixed to that of another one, which was taken together with it.

    Attributes:
        lead: name of the other image, which has no rig view of its own.
        lead_from_camera: the pose of this camera in the optical frame of the other one.
    """

    lead: str
    lead_from_camera: Pose


@dataclass(frozen=True, slots=True, eq=False)
class PosedImage:
    """One image to build a map from.

    Attributes:
        name: unique in the map.
        load: reads and decodes it, (H, W) or (H, W, 3) uint8.
        camera: its calibration.
        map_from_camera: its pose, or None when it is not known; while a map is built or updated it is relative to the
            origin of the scene.
        stamp_ns: when it was taken.
        position: measured, or None.
        gravity: measured, or None.
        motion_std: (6,) standard deviations of its measured pose relative to that of the image before, metres and
            radians, along the axes of that one; NaN, or None for all, where the usual ones of odometry hold.
        rig: of a camera of a rig that is not the one its image sets are named by, else None.
    """

    name: str
    load: Callable[[], Array]
    camera: Camera
    map_from_camera: Pose | None = None
    stamp_ns: int = 0
    position: MeasuredPosition | None = None
    gravity: MeasuredGravity | None = None
    motion_std: Array | None = None
    rig: RigView | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PosedScan:
    """One scan to make a LiDAR place of, or to localize.

    Attributes:
        name: unique in the map.
        load: reads the scan.
        map_from_sensor: pose of the sensor, or None when it is not known.
        stamp_ns: when it was taken.
    """

    name: str
    load: Callable[[], PointCloud]
    map_from_sensor: Pose | None = None
    stamp_ns: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class QuerySource:
    """One image to localize.

    Attributes:
        name: of the image.
        read: reads and decodes the image; raises InputError where it cannot be used.
        stamp_ns: its time, for an image that cannot be used.
    """

    name: str
    read: Callable[[], Query]
    stamp_ns: int = 0
