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

"""A map that answers photographs: what all kinds of maps have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.earth_pose import EarthPose, bearing_variance
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.server.answers import Answer, Fix, MapOverview, Match, RankedPlace
from vloc_ros.server.plan import Plan

SHOWN_PLACES, SHOWN_MATCHES, SHOWN_POINTS = 10, 300, 4000
# of the softmax of cosines: what is less similar by this has the share 1 / e
_TEMPERATURE = 0.03
# of two dimensions, 95 %
_CHI_SQUARE = 5.991
_OUTLINE = 48


@dataclass(frozen=True, slots=True)
class KnownOfView:
    """What a request says of how its photograph was taken.

    Attributes:
        focal_px: focal length of an image without distortion; None where what the server knows holds.
        altitude_m: above the ground, of an image from above; None where unknown.
        nadir: whether the camera looked straight down.
    """

    focal_px: float | None = None
    altitude_m: float | None = None
    nadir: bool = False


class MapService(Protocol):
    """A map that answers photographs."""

    def describe(self) -> MapOverview:
        """The overview of the map."""
        ...

    def locate(self, image: Array, known: KnownOfView) -> Answer:
        """The answer to an (H, W) or (H, W, 3) uint8 image.

        Raises:
            InputError: the image cannot have been taken with what is known of it.
        """
        ...


def camera_of(image: Array, known: KnownOfView, calibration: Camera | None) -> Camera:
    """The camera of a photograph: by its focal length where that is given, else by what the server knows.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        known: of the photograph.
        calibration: what the server knows of photographs of one size; None for nothing.

    Raises:
        InputError: neither is there, or the calibration is of another size.
    """
    height, width = image.shape[:2]
    if known.focal_px is not None:
        return Camera("SIMPLE_PINHOLE", width, height, (known.focal_px, width / 2, height / 2))
    if calibration is None:
        raise InputError(
            "the camera is not known, expected a focal length in pixels; give it (focal_px of a request), or serve the "
            "map with --focal-px and --size, or with --camera"
        )
    if (calibration.width, calibration.height) != (width, height):
        raise InputError(
            f"the image has {width}x{height} pixels, the server's calibration "
            f"{calibration.width}x{calibration.height}; choose an image of that camera, or give its "
            "focal length in pixels"
        )
    return calibration


def weigh_similarities(similarities: Array) -> Array:
    """(N,) shares of (N,) cosines, which sum to 1."""
    if not len(similarities):
        return np.zeros(0)
    powers = np.exp((similarities - similarities.max()) / _TEMPERATURE)
    return np.asarray(powers / powers.sum())


def rank_places(names: Sequence[str], similarities: Array) -> list[RankedPlace]:
    """The most similar places, best first."""
    weights = weigh_similarities(similarities)
    order = np.argsort(-similarities, kind="stable")[:SHOWN_PLACES]
    return [
        RankedPlace(place=int(k), name=names[k], similarity=float(similarities[k]), weight=float(weights[k]))
        for k in order
    ]


def outline_ellipse(middle: Array, covariance: Array) -> list[tuple[float, float]]:
    """Outline of the region of 95 %, if errors are normal, around (2,) metres, of a (2, 2) covariance."""
    spread, axes = np.linalg.eigh(covariance)
    angles = np.linspace(0, 2 * np.pi, _OUTLINE, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    outline = middle + circle * np.sqrt(_CHI_SQUARE * np.maximum(spread, 0)) @ axes.T
    return [(float(x), float(y)) for x, y in outline]


def make_fix(plan: Plan, map_from_camera: Pose, covariance: Array, *, ahead: Array, earth: EarthPose | None) -> Fix:
    """The fix of a camera.

    Args:
        plan: that the map is drawn in.
        map_from_camera: its pose.
        covariance: (6, 6) of the pose.
        ahead: (3,) the direction that has the yaw, a unit vector in the map frame.
        earth: the pose on Earth; None without a datum.
    """
    x, y, z = (float(v) for v in map_from_camera.translation)
    std_x, std_y, std_z = (float(v) for v in np.sqrt(np.diag(covariance)[:3]))
    qx, qy, qz, qw = (float(v) for v in map_from_camera.quaternion)
    turn = plan.level_from_map()
    right, forward, upward = (float(v) for v in turn @ ahead)
    at = plan.project(map_from_camera.translation)
    fix = Fix(
        x=x,
        y=y,
        z=z,
        orientation=(qx, qy, qz, qw),
        position_std_m=(std_x, std_y, std_z),
        at=(float(at[0]), float(at[1])),
        ahead=(right, forward),
        yaw_deg=float(np.degrees(np.arctan2(forward, right))),
        yaw_std_deg=float(np.degrees(np.sqrt(bearing_variance(turn @ ahead, turn @ covariance[3:, 3:] @ turn.T)))),
        pitch_deg=float(np.degrees(np.arctan2(upward, np.hypot(right, forward)))),
        ellipse=outline_ellipse(at, plan.axes @ covariance[:3, :3] @ plan.axes.T),
    )
    if earth is not None:
        east, north = (float(v) for v in np.sqrt(np.diag(earth.covariance)[:2]))
        fix.latitude, fix.longitude, fix.earth_std_m = earth.latitude, earth.longitude, (east, north)
        fix.heading_deg = float(np.degrees(earth.heading_rad))
        fix.heading_std_deg = float(np.degrees(earth.heading_std_rad))
    return fix


def list_matches(pixels: Array, points: Array) -> list[Match]:
    """Some of (M, 2) pixels and (M, 2) coordinates in the plan, evenly chosen."""
    chosen = thin(len(pixels), SHOWN_MATCHES)
    return [
        Match(u=float(u), v=float(v), x=float(x), y=float(y))
        for (u, v), (x, y) in zip(pixels[chosen], points[chosen], strict=True)
    ]


def thin(count: int, most: int) -> Array:
    """Up to `most` numbers below `count`, evenly."""
    return np.arange(0, count, max(1, -(-count // most)))
