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

"""A query: images of one moment with their cameras, a point cloud, or both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

_HALVED_FROM = 4


def check_image_size(camera: Camera, width: int, height: int) -> None:
    """Refuse an image of another size than its calibration is for.

    Raises:
        InputError: it is.
    """
    if (width, height) != (camera.width, camera.height):
        raise InputError(
            f"an image is {width}x{height}, its camera calibration is for {camera.width}x{camera.height}; use the "
            "calibration of this stream (are raw and rectified topics confused?)"
        )


def reduce_image(image: Array, width: int, height: int) -> Array:
    """An image of fewer pixels, each the mean of those that it covers.

    One that is four times as wide or wider is halved first, which OpenCV does in an eighth of the time: together they
    take about half.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        width: of the result, at most that of the image.
        height: the same.
    """
    rows, columns = image.shape[:2]
    if columns >= _HALVED_FROM * width and not (columns % 2 or rows % 2):
        image = cv2.resize(image, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One image of a rig.

    Attributes:
        image: (H, W) uint8 grey or (H, W, 3) uint8 BGR.
        camera: its calibration, of the same size.
        rig_from_camera: where the camera sits on the rig; the identity for a single camera.
    """

    image: Array
    camera: Camera
    rig_from_camera: Pose = field(default_factory=Pose.identity)

    def __post_init__(self) -> None:
        image = self.image
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise InputError(f"an image has shape {image.shape} of {image.dtype}, expected uint8 grey or BGR")
        check_image_size(self.camera, *image.shape[1::-1])

    def reduce(self, scale: float) -> View:
        """The same view in fewer pixels; itself where the scale is not below 1."""
        if scale >= 1.0:
            return self
        width, height = (max(int(scale * size), 1) for size in (self.camera.width, self.camera.height))
        image = reduce_image(self.image, width, height)
        return replace(self, image=image, camera=self.camera.scaled(width, height))


@dataclass(frozen=True, slots=True, eq=False)
class PosePrior:
    """Where the rig is expected.

    Attributes:
        map_from_rig: the expected pose.
        covariance: (6, 6), order x y z rx ry rz (metres, radians), see `Pose.error_to`.
        frame_id: of the scene that the pose is in; empty where the map has only one.
    """

    map_from_rig: Pose
    covariance: Array
    frame_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class FlightState:
    """How a rig hangs above the ground by other sensors, which locating views from above begins with.

    Attributes:
        down: (3,) direction of gravity in the frame of the rig, of length 1; None where unknown.
        down_std_rad: standard deviation of its direction.
        altitude_m: of the rig's origin above the ground; None where unknown.
        altitude_std: its standard deviation, as a share of it.
    """

    down: Array | None = None
    down_std_rad: float = 0.03
    altitude_m: float | None = None
    altitude_std: float = 0.1

    def __post_init__(self) -> None:
        down = self.down
        if down is not None and (down.shape != (3,) or not abs(float(np.linalg.norm(down)) - 1.0) < 1e-3):
            raise InputError(f"gravity is {down}, expected a direction of length 1 in the frame of the rig")


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What the sensors of a rig recorded at one moment.

    Attributes:
        views: one for a single camera, several for a rig of cameras, none for a point cloud alone.
        stamp_ns: time of the images, integer nanoseconds.
        prior: where the rig is expected, or None.
        cloud: a point cloud, or None.
        flight: how the rig hangs above the ground; unknown by default.
    """

    views: tuple[View, ...]
    stamp_ns: int = 0
    prior: PosePrior | None = None
    cloud: PointCloud | None = None
    flight: FlightState = FlightState()

    def __post_init__(self) -> None:
        if not self.views and self.cloud is None:
            raise InputError("a query has no image and no point cloud, expected at least one of them")

    @staticmethod
    def single(image: Array, camera: Camera, *, stamp_ns: int = 0, prior: PosePrior | None = None) -> Query:
        """A query of one image; the rig is the camera itself."""
        return Query((View(image, camera),), stamp_ns, prior)
