"""The images that a map is built from, and their features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

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
        map_from_camera: its pose, or None when it is not known.
        stamp_ns: when it was taken.
    """

    name: str
    load: Callable[[], Array]
    camera: Camera
    map_from_camera: Pose | None = None
    stamp_ns: int = 0


def extract_all(images: Sequence[PosedImage], extractor: Extractor, progress: Progress) -> list[Features]:
    """The features of every image, in order.

    Raises:
        InputError: an image does not have the size of its camera, or cannot be read.
    """
    features = []
    for image in progress(images, description="features"):
        pixels = image.load()
        if pixels.shape[:2] != (image.camera.height, image.camera.width):
            raise InputError(
                f"{image.name} is {pixels.shape[1]}x{pixels.shape[0]}, its camera calibration is for "
                f"{image.camera.width}x{image.camera.height}; use the calibration of these images"
            )
        features.append(extractor.extract(pixels))
    return features
