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

"""Odometry with drift: true increments with errors of length and heading, of wheels and of a camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose


@dataclass(frozen=True, slots=True)
class Drift:
    """The errors of odometry.

    Attributes:
        scale: standard deviation of the relative error of all distances; one draw per drive.
        translation_per_m: standard deviation of the random position error after one metre; it grows with the square
            root of the distance.
        yaw_per_m: standard deviation of the random yaw error after one metre, radians; it grows with the square root
            of the distance.
        yaw_per_rad: standard deviation of the relative error of all turns; one draw per drive.
    """

    scale: float = 0.01
    translation_per_m: float = 0.01
    yaw_per_m: float = 0.01
    yaw_per_rad: float = 0.01


def simulate_wheel_odometry(map_from_base: Sequence[Pose], seed: int, *, drift: Drift | None = None) -> list[Pose]:
    """Simulate odom_from_base for every true pose, starting at the identity. Equal seeds drift equally.

    The errors are planar, as those of a wheeled base: x, y and yaw.
    """
    drift = drift or Drift()
    rng = np.random.default_rng([seed, 6])
    scale, turn_scale = drift.scale * rng.standard_normal(), drift.yaw_per_rad * rng.standard_normal()
    noise = rng.standard_normal((len(map_from_base), 3))
    poses = [Pose.identity()] if len(map_from_base) else []
    for i in range(1, len(map_from_base)):
        step = map_from_base[i - 1].inverse() @ map_from_base[i]
        root = np.sqrt(float(np.linalg.norm(step.translation)))
        translation = (1 + scale) * step.translation
        translation = translation + np.array([*(drift.translation_per_m * root * noise[i, :2] / np.sqrt(2)), 0.0])
        yaw = turn_scale * step.rotation_vector[2] + drift.yaw_per_m * root * noise[i, 2]
        poses.append(poses[-1] @ Pose(step.rotation @ _turn(float(yaw)), translation))
    return poses


@dataclass(frozen=True, slots=True)
class CameraDrift:
    """The errors of visual-inertial odometry, which gravity keeps level.

    Attributes:
        scale: standard deviation of the relative error of all distances; one draw per drive.
        yaw_per_m: standard deviation of the random yaw error after one metre, radians; it grows with the square root
            of the distance.
        tilt: standard deviation of each of the two angles by which its z axis is off the vertical, radians; one draw
            per drive.
    """

    scale: float = 0.01
    yaw_per_m: float = np.radians(0.1)
    tilt: float = np.radians(0.2)


def simulate_camera_odometry(
    map_from_camera: Sequence[Pose], seed: int, *, drift: CameraDrift | None = None
) -> list[Pose]:
    """Simulate odom_from_camera for every true pose, from the origin at any heading. Equal seeds drift equally."""
    drift = drift or CameraDrift()
    rng = np.random.default_rng([seed, 13])
    scale, tilt = 1.0 + drift.scale * rng.standard_normal(), drift.tilt * rng.standard_normal(2)
    level, yaw = Pose.from_rotation_vector([*tilt, 0.0], np.zeros(3)).rotation, float(rng.uniform(-np.pi, np.pi))
    poses, position = list[Pose](), np.zeros(3)
    for i, pose in enumerate(map_from_camera):
        if i:
            step = pose.translation - map_from_camera[i - 1].translation
            position = position + scale * _turn(yaw) @ level @ step
            yaw += drift.yaw_per_m * np.sqrt(float(np.linalg.norm(step))) * rng.standard_normal()
        poses.append(Pose(_turn(yaw) @ level @ pose.rotation, position))
    return poses


def shift_clock(poses: Sequence[Pose], late: float) -> list[Pose]:
    """The poses of evenly spaced images by a clock that is off; before the first and after the last, theirs.

    Args:
        poses: of each image.
        late: images by which each pose is of a later time, negative where of an earlier one.
    """
    shifted = list[Pose]()
    for i in range(len(poses)):
        at = float(np.clip(i + late, 0, len(poses) - 1))
        before = min(int(at), len(poses) - 2) if len(poses) > 1 else 0
        step, share = poses[before].inverse() @ poses[min(before + 1, len(poses) - 1)], at - before
        shifted.append(
            poses[before] @ Pose.from_rotation_vector(share * step.rotation_vector, share * step.translation)
        )
    return shifted


def _turn(yaw: float) -> Array:
    return np.asarray(cv2.Rodrigues(np.array([0.0, 0.0, yaw]))[0])
