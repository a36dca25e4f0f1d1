"""Images to come: those that a map is built from, and those to localize. Each is read when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

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
class PosedImage:
    """One image to build a map from.

    Attributes:
        name: unique in the map.
        load: reads and decodes it, (H, W) or (H, W, 3) uint8.
        camera: its calibration.
        map_from_camera: its pose, or None when it is not known; while a map is built or updated it is relative to the
            origin of the scene.
        stamp_ns: when it was taken.
    """

    name: str
    load: Callable[[], Array]
    camera: Camera
    map_from_camera: Pose | None = None
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
