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

"""Measurements as factors of GTSAM (Dellaert and Kaess 2017), whose poses have the rotation first."""

from __future__ import annotations

import gtsam
import numpy as np
from gtsam.symbol_shorthand import X

from vloc_ros.core.geometry.pose import Array, Pose, skew
from vloc_ros.core.sources import MeasuredGravity, MeasuredPosition
from vloc_ros.mapping.sfm.anchors import Anchors
from vloc_ros.mapping.sfm.measurements import AbsolutePose, RelativePose

_FIXED_STD = 1e-6
# of the one image that holds the frame where gravity says how that is tilted
_TILT_STD_RAD = 0.1
# errors of more coordinates are longer: a loss as narrow as a keypoint's would waste good measurements
_POSITION_WIDTH, _POSE_WIDTH = 2.0, 3.0


def to_gtsam(pose: Pose) -> gtsam.Pose3:
    """The same pose."""
    return gtsam.Pose3(gtsam.Rot3(pose.rotation), pose.translation)


def from_gtsam(pose: gtsam.Pose3) -> Pose:
    """The same pose."""
    return Pose(pose.rotation().matrix(), pose.translation())


def robust_noise(std: Array, width: float) -> gtsam.noiseModel.Robust:
    """Noise with (N,) standard deviations under a Cauchy loss that is so many of them wide."""
    loss = gtsam.noiseModel.mEstimator.Cauchy.Create(width)
    return gtsam.noiseModel.Robust.Create(loss, gtsam.noiseModel.Diagonal.Sigmas(std))


def frame_factors(anchors: Anchors, first: Pose, width: float) -> list[gtsam.NonlinearFactor]:
    """What ties the images to the frame of the map; where nothing does, the first image keeps its pose."""
    factors: list[gtsam.NonlinearFactor] = [_pose_factor(measured, width) for measured in anchors.poses]
    factors += [_position_factor(image, measured, width) for image, measured in anchors.positions.items()]
    factors += [_gravity_factor(image, measured, anchors.down, width) for image, measured in anchors.gravity.items()]
    if not anchors.place_the_frame:
        tilt = _TILT_STD_RAD if anchors.gravity else _FIXED_STD
        noise = gtsam.noiseModel.Diagonal.Sigmas(np.repeat([tilt, _FIXED_STD], 3))
        factors.append(gtsam.PriorFactorPose3(X(0), to_gtsam(first), noise))
    return factors


def fixed_pose_factor(image: int, pose: Pose) -> gtsam.PriorFactorPose3:
    """Keeps the pose of an image."""
    return gtsam.PriorFactorPose3(X(image), to_gtsam(pose), gtsam.noiseModel.Isotropic.Sigma(6, _FIXED_STD))


def _pose_factor(measured: AbsolutePose, width: float) -> gtsam.PriorFactorPose3:
    noise = robust_noise(_rotation_first(measured.std), _POSE_WIDTH * width)
    return gtsam.PriorFactorPose3(X(measured.image), to_gtsam(measured.pose), noise)


def _position_factor(image: int, measured: MeasuredPosition, width: float) -> gtsam.GPSFactorArm:
    """A shared error weighs less, and is an outlier where one of its own is: the loss is as many metres wide."""
    root = float(np.sqrt(measured.shared_by))
    noise = robust_noise(root * measured.std, _POSITION_WIDTH * width / root)
    return gtsam.GPSFactorArm(X(image), measured.position, measured.camera_from_receiver, noise)


def _gravity_factor(image: int, measured: MeasuredGravity, down: Array, width: float) -> gtsam.NoiseModelFactor:
    """The part of the measured direction across `down`, as AttitudeFactorPose3 has it.

    That takes no robust loss in GTSAM 4.3a1, the only version with wheels for Python 3.10.
    """
    key, across = X(image), gtsam.Unit3(down).basis().T
    direction = measured.direction / np.linalg.norm(measured.direction)

    def error(_: gtsam.CustomFactor, values: gtsam.Values, jacobians: list[Array] | None) -> Array:
        rotation = values.atPose3(key).rotation().matrix()
        if jacobians is not None:
            jacobians[0] = np.hstack([-across @ rotation @ skew(direction), np.zeros((2, 3))])
        return np.asarray(across @ rotation @ direction)

    return gtsam.CustomFactor(robust_noise(np.full(2, measured.std_rad), width), [key], error)


def relative_factor(measured: RelativePose, width: float) -> gtsam.BetweenFactorPose3:
    """A measured motion; where the robot slips or is carried it is an outlier."""
    (first, second), noise = measured.pair, robust_noise(_rotation_first(measured.std), width)
    return gtsam.BetweenFactorPose3(X(first), X(second), to_gtsam(measured.first_from_second), noise)


def _rotation_first(std: Array) -> Array:
    return np.concatenate([std[3:], std[:3]])
