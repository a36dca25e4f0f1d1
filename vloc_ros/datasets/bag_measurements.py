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

"""Positions by satellites and directions of gravity by an IMU, from a bag, for images that are taken meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.bags.messages import IMU, NAV_SAT_FIX
from vloc_ros.bags.reading import TF, Bag
from vloc_ros.bags.transforms import TransformTree
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import MeasuredGravity, MeasuredPosition, PosedImage
from vloc_ros.datasets.geodetic import GRAVITY_M_S2

# positions are interpolated between fixes no further apart
_MAX_GAP_NS = 2_000_000_000
_UNKNOWN_COVARIANCE, _NO_FIX = 0, -1
# a local frame is level, and straight, around its datum only
_MAX_DISTANCE_M = 20_000.0
# a sensor that is fixed to the camera moves against it by no more
_FIXED_M, _FIXED_RAD = 0.01, 0.01
# an orientation that says otherwise than the accelerations by more is not one of the IMU
_TOLERATED_RAD = 0.3
# accelerations are averaged for so long before and after an image
_AVERAGED_NS = 500_000_000
_LEAST_SAMPLES = 5
# of gravity by an orientation filter, and by accelerations of a robot that moves
_FILTERED_STD_RAD, _AVERAGED_STD_RAD = 0.02, 0.05
_TOLERATED_M_S2 = 2.0
_NO_ORIENTATION, _UNIT_TOLERANCE = -1.0, 0.01
_UP = np.array([0.0, 0.0, 1.0])


def with_bag_positions(
    images: Sequence[PosedImage],
    path: Path,
    topic: str,
    camera_frame: str,
    *,
    datum: Datum | None = None,
    std_m: float | None = None,
    correlation_s: float = 0.0,
    tf_topic: str = TF,
) -> tuple[list[PosedImage], Datum]:
    """The images, with positions by the NavSatFix messages of a bag where there are any, and the origin of these.

    Args:
        images: of one camera.
        path: of the bag.
        topic: of the fixes.
        camera_frame: the camera's optical frame.
        datum: origin; None takes the first fix.
        std_m: standard deviation of each coordinate; None takes the messages' own.
        correlation_s: time after which errors have become 1/e alike; 0 for errors of their own in each position.
        tf_topic: of the transforms; static ones are on `<tf_topic>_static`.

    Raises:
        InputError: there are no such messages with a fix around the images, their covariance is unknown, or the
            receiver's place on the robot is.
    """
    with Bag(path, tf_topic=tf_topic) as bag:
        measured = _Positions(bag, topic, datum=datum, std_m=std_m)
        lever = find_fixed_pose(bag, camera_frame, bag.frame_id(topic), images).translation
    placed = [replace(image, position=measured.at(image.stamp_ns, lever)) for image in images]
    _check_some(path, topic, [image.position for image in placed])
    return with_correlated_errors(placed, correlation_s), measured.datum


def with_correlated_errors(images: Sequence[PosedImage], correlation_s: float) -> list[PosedImage]:
    """The images, with positions that count as little as their errors have in common (first-order Gauss-Markov).

    The information of each is divided by how many positions share its error, so that the mean of all is as uncertain as
    that of correlated ones, by however many images. Each is as far off as before: its standard deviation stays.

    Args:
        images: with stamps.
        correlation_s: see `with_bag_positions`.
    """
    measured = [i for i, image in enumerate(images) if image.position is not None]
    if correlation_s <= 0.0 or not measured:
        return list(images)
    seconds = 1e-9 * np.array([images[i].stamp_ns - images[measured[0]].stamp_ns for i in measured])
    found = list(images)
    for i, one in zip(measured, seconds, strict=True):
        position = images[i].position
        assert position is not None
        shared_by = float(np.exp(-np.abs(seconds - one) / correlation_s).sum())
        found[i] = replace(images[i], position=replace(position, shared_by=shared_by))
    return found


def with_bag_gravity(
    images: Sequence[PosedImage], path: Path, topic: str, camera_frame: str, *, tf_topic: str = TF
) -> list[PosedImage]:
    """The images, with the direction of gravity by the Imu messages of a bag where there are any.

    Args:
        images: of one camera.
        path: of the bag.
        topic: of the messages.
        camera_frame: the camera's optical frame.
        tf_topic: of the transforms; static ones are on `<tf_topic>_static`.

    Raises:
        InputError: there are no such messages around the images, they know no gravity, or the IMU's place on the robot
            is unknown.
    """
    with Bag(path, tf_topic=tf_topic) as bag:
        measured = _Gravity(bag, topic, find_fixed_pose(bag, camera_frame, bag.frame_id(topic), images).rotation)
    level = [replace(image, gravity=measured.at(image.stamp_ns)) for image in images]
    _check_some(path, topic, [image.gravity for image in level])
    return level


def _check_some(path: Path, topic: str, found: Sequence[object | None]) -> None:
    if not any(one is not None for one in found):
        raise InputError(
            f"{path}: {topic} has no message around the times of the images, expected some; check that both are "
            "stamped by one clock"
        )


class _Positions:
    """By NavSatFix, in a local frame of east, north and up (REP 103)."""

    def __init__(self, bag: Bag, topic: str, *, datum: Datum | None, std_m: float | None) -> None:
        fixes = [
            (stamp_ns, message)
            for stamp_ns, message in bag.stamped(topic, NAV_SAT_FIX)
            if message.status.status > _NO_FIX and np.isfinite(_geodetic(message)).all()
        ]
        if not fixes:
            raise InputError(f"{bag.path}: {topic} holds no message with a fix; leave out --gnss-topic")
        if std_m is None and not all(_knows_covariance(message) for _, message in fixes):
            raise InputError(
                f"{bag.path}: {topic} does not say how good its positions are, expected a position_covariance above 0 "
                "of a known type; give the standard deviation with --gnss-std"
            )
        first = fixes[0][1]
        self.datum = datum or Datum(*_geodetic(first))
        order = np.argsort([stamp_ns for stamp_ns, _ in fixes], kind="stable")
        self._stamps_ns = np.array([fixes[k][0] for k in order])
        self._positions = np.array([self.datum.local(*_geodetic(fixes[k][1])) for k in order])
        self._stds = np.array([_std(fixes[k][1], std_m) for k in order])
        distance_m = float(np.abs(self._positions[:, :2]).max())
        if distance_m > _MAX_DISTANCE_M:
            raise InputError(
                f"{bag.path}: {topic} has a position {distance_m / 1000:.0f} km from the datum, expected at most "
                f"{_MAX_DISTANCE_M / 1000:g} km; give another --datum"
            )

    def at(self, stamp_ns: int, lever: Array) -> MeasuredPosition | None:
        """Between the fixes before and after a time; None where they are too far apart or missing.

        Args:
            stamp_ns: the time.
            lever: (3,) place of the receiver in the optical frame.
        """
        after = int(np.searchsorted(self._stamps_ns, stamp_ns))
        if after < len(self._stamps_ns) and self._stamps_ns[after] == stamp_ns:
            return MeasuredPosition(self._positions[after], self._stds[after], lever)
        if after in (0, len(self._stamps_ns)):
            return None
        gap_ns = self._stamps_ns[after] - self._stamps_ns[after - 1]
        if gap_ns > _MAX_GAP_NS:
            return None
        share = (stamp_ns - self._stamps_ns[after - 1]) / gap_ns
        position = (1.0 - share) * self._positions[after - 1] + share * self._positions[after]
        return MeasuredPosition(position, np.maximum(self._stds[after - 1], self._stds[after]), lever)


class _Gravity:
    """By Imu messages: their orientation, or else their accelerations."""

    def __init__(self, bag: Bag, topic: str, camera_from_imu: Array) -> None:
        found = sorted(
            ((s, m) for s, m in bag.stamped(topic, IMU) if np.isfinite(_down_by_acceleration(m)).all()),
            key=lambda stamped: stamped[0],
        )
        if not found:
            raise InputError(f"{bag.path}: {topic} holds no message with accelerations; leave out --imu-topic")
        self._stamps_ns = np.array([stamp_ns for stamp_ns, _ in found])
        felt = np.array([_down_by_acceleration(message) for _, message in found])
        self._oriented = all(_is_oriented(message) for _, message in found)
        down = np.array([_down_by_orientation(message) for _, message in found]) if self._oriented else felt
        self._down = down @ camera_from_imu.T
        mean, strength = np.median(felt, axis=0), float(np.median(np.linalg.norm(felt, axis=1)))
        feels_gravity = abs(strength - GRAVITY_M_S2) < _TOLERATED_M_S2
        if not self._oriented and not feels_gravity:
            raise InputError(
                f"{bag.path}: {topic} has no orientation, and accelerations of {strength:.2f} m/s² at the median, "
                f"expected gravity's {GRAVITY_M_S2}; record an IMU that does not take gravity out"
            )
        if self._oriented and feels_gravity:
            cosine = float(mean @ np.median(down, axis=0)) / float(np.linalg.norm(mean))
            if cosine < np.cos(_TOLERATED_RAD):
                apart = np.degrees(np.arccos(max(cosine, -1.0)))
                raise InputError(
                    f"{bag.path}: the orientation in {topic} has gravity {apart:.0f} degrees "
                    "from where its accelerations have it, expected the same; let its driver mark an orientation that "
                    "it does not know (orientation_covariance[0] = -1)"
                )

    def at(self, stamp_ns: int) -> MeasuredGravity | None:
        """Around a time; None where too few messages are."""
        reach_ns = _MAX_GAP_NS // 20 if self._oriented else _AVERAGED_NS
        begin, end = np.searchsorted(self._stamps_ns, [stamp_ns - reach_ns, stamp_ns + reach_ns])
        if end - begin < (1 if self._oriented else _LEAST_SAMPLES):
            return None
        if self._oriented:
            nearest = begin + int(np.argmin(np.abs(self._stamps_ns[begin:end] - stamp_ns)))
            return MeasuredGravity(self._down[nearest], _FILTERED_STD_RAD)
        mean = self._down[begin:end].mean(axis=0)
        return MeasuredGravity(mean / np.linalg.norm(mean), _AVERAGED_STD_RAD)


def find_fixed_pose(bag: Bag, target: str, source: str, images: Sequence[PosedImage]) -> Pose:
    """target_from_source of a sensor that is fixed to the camera.

    Raises:
        InputError: it is unknown, or not always the same while the images are taken.
    """
    if target == source:
        return Pose.identity()
    transforms: TransformTree = bag.transforms()
    times_ns = [images[k].stamp_ns for k in (0, len(images) // 2, -1)]
    try:
        found = [pose for time_ns in times_ns if (pose := transforms.lookup(target, source, time_ns)) is not None]
    except InputError as error:
        raise InputError(
            f"{bag.path}: has no transform from {source!r} to the camera {target!r} ({error}); record /tf_static too"
        ) from error
    if not found:
        raise InputError(f"{bag.path}: has no transform from {source!r} to {target!r} at the times of the images")
    for pose in found[1:]:
        moved_m, turned_rad = found[0].distance_to(pose)
        if moved_m > _FIXED_M or turned_rad > _FIXED_RAD:
            raise InputError(
                f"{bag.path}: {source!r} moves against the camera {target!r}, expected a sensor that is fixed to it"
            )
    return found[0]


def _geodetic(fix: Any) -> tuple[float, float, float]:
    return fix.latitude, fix.longitude, fix.altitude


def _variances(fix: Any) -> Array:
    return np.asarray(np.reshape(fix.position_covariance, (3, 3)).diagonal())


def _knows_covariance(fix: Any) -> bool:
    known = fix.position_covariance_type != _UNKNOWN_COVARIANCE
    return bool(known and np.isfinite(_variances(fix)).all() and (_variances(fix) > 0).all())


def _std(fix: Any, std_m: float | None) -> Array:
    return np.sqrt(_variances(fix)) if std_m is None else np.repeat(std_m, 3)


def _is_oriented(message: Any) -> bool:
    """Whether it has an orientation; that of a driver that fills none in is the identity."""
    q = np.array([getattr(message.orientation, axis) for axis in "xyzw"])
    known = message.orientation_covariance[0] != _NO_ORIENTATION
    return bool(known and abs(np.linalg.norm(q) - 1.0) < _UNIT_TOLERANCE and abs(q[3]) != 1.0)


def _down_by_orientation(message: Any) -> Array:
    q = message.orientation
    world_from_imu = Pose.from_quaternion([q.x, q.y, q.z, q.w], np.zeros(3))
    return np.asarray(-_UP @ world_from_imu.rotation)


def _down_by_acceleration(message: Any) -> Array:
    """An accelerometer at rest feels what holds it up."""
    force = message.linear_acceleration
    return -np.array([force.x, force.y, force.z])
