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

"""What ties images to the frame of a map: measured poses, positions, and the direction of gravity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.geometry.covariance import FrameUncertainty, frame_jacobian
from vloc_ros.core.geometry.pose import Array, Pose, skew
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.sources import MeasuredGravity, MeasuredPosition, PosedImage
from vloc_ros.mapping.sfm.measurements import AbsolutePose

DOWN: Array = np.array([0.0, 0.0, -1.0])
# measured positions are taken for no better
_LEAST_STD_M = 0.01
# a frame that is tilted by less is meant to be level
_LEVEL_RAD = 0.2
# positions further off than so many of their standard deviations at the median contradict the images
_CONTRADICTED_STDS = 4.0
_MIN_POSITIONS = 3
# odometry is level as well as so, and what nothing shows is as uncertain as so: radians, or a factor
_ODOMETRY_LEVEL_STD_RAD, _OPEN_STD = 0.05, 1.0
_SINGULAR = 1e-12
_MEDIAN_SQUARE = 2.366  # of the length of a vector of three unit Gaussians


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """Measurements in the frame of a map.

    Attributes:
        poses: measured poses.
        positions: by image.
        gravity: by image.
        down: (3,) the direction of gravity in the map, of length 1.
    """

    poses: Sequence[AbsolutePose] = ()
    positions: Mapping[int, MeasuredPosition] = field(default_factory=dict)
    gravity: Mapping[int, MeasuredGravity] = field(default_factory=dict)
    down: Array = field(default_factory=lambda: DOWN.copy())

    @property
    def place_the_frame(self) -> bool:
        """Whether they say where the images lie, not only which way is down."""
        return bool(self.poses or self.positions)

    def renumber(self, number: Mapping[int, int]) -> Anchors:
        """The anchors of those images that have a new number, by it."""
        return replace(
            self,
            poses=[replace(one, image=number[one.image]) for one in self.poses if one.image in number],
            positions={number[i]: one for i, one in self.positions.items() if i in number},
            gravity={number[i]: one for i, one in self.gravity.items() if i in number},
        )


def anchors_of(images: Sequence[PosedImage]) -> Anchors:
    """The measured positions and directions of gravity of images, in a map whose z axis points up."""
    positions = {i: image.position for i, image in enumerate(images) if image.position is not None}
    return Anchors(
        positions={i: replace(one, std=np.maximum(one.std, _LEAST_STD_M)) for i, one in positions.items()},
        gravity={i: image.gravity for i, image in enumerate(images) if image.gravity is not None},
    )


def measured_down(poses: Sequence[Pose | None], gravity: Mapping[int, MeasuredGravity]) -> Array:
    """(3,) the mean direction of gravity in the frame of the poses; straight down in a frame that is nearly level."""
    mean = np.sum([pose.rotation @ gravity[i].direction for i, pose in enumerate(poses) if pose and i in gravity], 0)
    mean = np.asarray(mean / np.linalg.norm(mean))
    return DOWN.copy() if mean @ DOWN > np.cos(_LEVEL_RAD) else mean


def align_to_anchors(poses: Sequence[Pose | None], anchors: Anchors, *, with_scale: bool) -> Similarity:
    """map_from_frame of poses, by their positions and by gravity.

    Along a straight line positions leave open how the map is turned about it. Gravity says that; without it a frame
    that keeps its scale has to be level, as odometry's is by convention (REP 105). One that the positions show to be
    tilted is no such frame.

    Args:
        poses: map_from_camera in a frame of their own, None for images that are not placed.
        anchors: positions of at least three placed images; or gravity alone, which turns z upwards.
        with_scale: False keeps the scale at 1.

    Raises:
        InputError: the positions are too few or leave the frame open.
    """
    down = {
        i: pose.rotation @ anchors.gravity[i].direction for i, pose in enumerate(poses) if pose and i in anchors.gravity
    }
    if not anchors.positions and not down:
        raise InputError("no image that was placed has a direction of gravity; measure more of them, or leave them out")
    if not anchors.positions:
        return Similarity(1.0, _turn(np.mean(list(down.values()), axis=0), DOWN), np.zeros(3))
    both = [(i, pose) for i, pose in enumerate(poses) if pose and i in anchors.positions]
    if len(both) < _MIN_POSITIONS:
        raise InputError(
            f"{len(both)} of {len(poses)} images are placed and have a measured position, expected at least "
            f"{_MIN_POSITIONS}; measure more positions, or take the images closer together"
        )
    source = np.array([pose.apply(anchors.positions[i].camera_from_receiver) for i, pose in both])
    target = np.array([anchors.positions[i].position for i, _ in both])
    scale = _size(target) / _size(source) if with_scale else 1.0
    source = scale * source
    if down:
        return _level(source, target, np.mean(list(down.values()), axis=0), scale)
    try:
        fitted = Similarity.fit(source, target, with_scale=with_scale)
    except InputError as error:
        if with_scale:
            raise InputError(
                f"measured positions leave open how the map is turned ({error}); measure gravity"
            ) from error
        return _level(source, target, DOWN, scale)
    if not with_scale and is_level(fitted):
        return _level(source, target, DOWN, scale)
    return Similarity(scale * fitted.scale, fitted.rotation, fitted.translation)


def is_level(alignment: Similarity) -> bool:
    """Whether an alignment leaves the z axis nearly where it is."""
    return bool(alignment.rotation[2, 2] > np.cos(_LEVEL_RAD))


def with_level_odometry(anchors: Anchors, poses: Sequence[Pose]) -> Anchors:
    """The anchors, with down as the poses of level odometry have it, all together as good as one measurement of it."""
    std_rad = float(_ODOMETRY_LEVEL_STD_RAD * np.sqrt(len(poses)))
    gravity = {i: MeasuredGravity(pose.rotation.T @ DOWN, std_rad) for i, pose in enumerate(poses)}
    return replace(anchors, gravity=gravity)


def carried_on(anchors: Anchors, before: Sequence[Pose], after: Sequence[Pose]) -> Anchors:
    """The anchors at other times, between which the camera moved from some poses to others."""
    positions = {
        i: replace(one, position=one.position + after[i].apply(lever) - before[i].apply(lever))
        for i, one in anchors.positions.items()
        for lever in [one.camera_from_receiver]
    }
    gravity = {
        i: replace(one, direction=after[i].rotation.T @ before[i].rotation @ one.direction)
        for i, one in anchors.gravity.items()
    }
    return replace(anchors, positions=positions, gravity=gravity)


def check_positions(poses: Sequence[Pose | None], anchors: Anchors) -> None:
    """Raise where most measured positions are further from the images than their uncertainty says."""
    off = np.array(
        [
            np.linalg.norm(_residual(pose, anchors.positions[i]))
            for i, pose in enumerate(poses)
            if pose and i in anchors.positions
        ]
    )
    if len(off) and np.median(off) > _CONTRADICTED_STDS:
        raise MapError(
            f"the positions contradict the images: half of {len(off)} are off by more than {np.median(off):.1f} times "
            "their standard deviation; check that they belong to these images, are in metres in a frame whose z axis "
            "points up, and are as good as their standard deviation says"
        )


def position_distances(poses: Sequence[Pose | None], anchors: Anchors) -> Array:
    """(P,) distances in metres between measured positions and where placed images say the receiver was."""
    both = [(pose, anchors.positions[i]) for i, pose in enumerate(poses) if pose and i in anchors.positions]
    apart = [pose.apply(measured.camera_from_receiver) - measured.position for pose, measured in both]
    return np.asarray(np.linalg.norm(np.reshape(apart, (-1, 3)), axis=1))


def position_frame_uncertainty(poses: Sequence[Pose | None], anchors: Anchors) -> FrameUncertainty:
    """How uncertain it is where a map lies in the frame of measured positions and gravity.

    A map whose images fit each other much better than the measurements is moved by these as one. Measurements that
    scatter more than they should count less.

    Args:
        poses: placed, None for images that are not.
        anchors: with positions.
    """
    placed = {i: pose for i, pose in enumerate(poses) if pose}
    # a turn or a scale that nothing shows is off by anything
    information, squares = np.diag([0.0, 0.0, 0.0, *[_OPEN_STD**-2] * 4]), []
    centre = np.mean([pose.translation for pose in placed.values()], axis=0)
    for i, pose in placed.items():
        if (measured := anchors.positions.get(i)) is not None:
            lever = pose.apply(measured.camera_from_receiver) - centre
            jacobian = frame_jacobian(lever)[:3] / measured.std[:, None]
            information += jacobian.T @ jacobian / measured.shared_by
            squares.append(float((_residual(pose, measured) ** 2).sum()))
        if (gravity := anchors.gravity.get(i)) is not None:
            jacobian = np.column_stack([np.zeros((3, 3)), -skew(anchors.down), np.zeros(3)]) / gravity.std_rad
            information += jacobian.T @ jacobian
    scatter = max(1.0, float(np.median(squares)) / _MEDIAN_SQUARE)
    return FrameUncertainty(scatter * _invert(information), centre)


def _invert(information: Array) -> Array:
    """The covariance of an information matrix, exactly symmetric; units differ by row."""
    scale = 1.0 / np.sqrt(np.diag(information))
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    inverse = (vectors / np.maximum(values, _SINGULAR)) @ vectors.T
    return np.asarray(np.outer(scale, scale) * (inverse + inverse.T) / 2.0)


def level_alignment(source: Array, target: Array) -> Similarity:
    """target_from_source of (N, 3) points of two level frames: a turn about z and a shift, least squares."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    (x, y), (u, v) = (source - source_mean).T[:2], (target - target_mean).T[:2]
    yaw = np.arctan2((x * v - y * u).sum(), (x * u + y * v).sum())
    rotation = Pose.from_rotation_vector([0.0, 0.0, yaw], np.zeros(3)).rotation
    return Similarity(1.0, rotation, target_mean - rotation @ source_mean)


def _level(source: Array, target: Array, down: Array, scale: float) -> Similarity:
    """map_from_frame where the (3,) direction down of the frame is known; (N, 3) source already has the scale."""
    turn = _turn(down, DOWN)
    fitted = level_alignment(source @ turn.T, target)
    return Similarity(scale, fitted.rotation @ turn, fitted.translation)


def _turn(source: Array, target: Array) -> Array:
    """(3, 3) the smallest rotation that carries one direction to another."""
    source, target = source / np.linalg.norm(source), target / np.linalg.norm(target)
    axis = np.cross(source, target)
    sine, cosine = float(np.linalg.norm(axis)), float(source @ target)
    if sine < np.finfo(float).eps:
        axis, sine = np.cross(source, np.eye(3)[np.argmin(np.abs(source))]), 0.0
    return Pose.from_rotation_vector(np.arctan2(sine, cosine) * axis / np.linalg.norm(axis), np.zeros(3)).rotation


def _residual(pose: Pose, measured: MeasuredPosition) -> Array:
    """(3,) in standard deviations."""
    return np.asarray((pose.apply(measured.camera_from_receiver) - measured.position) / measured.std)


def _size(points: Array) -> float:
    """The median distance of two of them, which single wrong ones do not change."""
    first, second = np.triu_indices(len(points), 1)
    return float(np.median(np.linalg.norm(points[first] - points[second], axis=1)))
