"""Positions by satellites and directions of gravity by an IMU, from a bag, for images that are taken meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.bags.messages import IMU, NAV_SAT_FIX
from vloc_ros.bags.reading import Bag
from vloc_ros.bags.transforms import TransformTree
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import MeasuredGravity, MeasuredPosition, PosedImage
from vloc_ros.datasets.geodetic import GRAVITY_M_S2, Datum

# positions are interpolated between fixes no further apart
_MAX_GAP_NS = 2_000_000_000
_UNKNOWN_COVARIANCE, _NO_FIX = 0, -1
# accelerations are averaged for so long before and after an image
_AVERAGED_NS = 500_000_000
_LEAST_SAMPLES = 5
# of gravity by an orientation filter, and by accelerations of a robot that moves
_FILTERED_STD_RAD, _AVERAGED_STD_RAD = 0.02, 0.05
_TOLERATED_M_S2 = 2.0
_NO_ORIENTATION = -1.0
_UP = np.array([0.0, 0.0, 1.0])


def with_bag_positions(
    images: Sequence[PosedImage],
    path: Path,
    topic: str,
    camera_frame: str,
    *,
    datum: Datum | None = None,
    std_m: float | None = None,
) -> tuple[list[PosedImage], Datum]:
    """The images, with positions by the NavSatFix messages of a bag where there are any, and the origin of these.

    Args:
        images: of one camera.
        path: of the bag.
        topic: of the fixes.
        camera_frame: the camera's optical frame.
        datum: origin; None takes the first fix.
        std_m: standard deviation of each coordinate; None takes the messages' own.

    Raises:
        InputError: there are no such messages with a fix around the images, their covariance is unknown, or the
            receiver's place on the robot is.
    """
    with Bag(path) as bag:
        measured = _Positions(bag, topic, camera_frame, datum=datum, std_m=std_m)
    placed = [replace(image, position=measured.at(image.stamp_ns)) for image in images]
    _check_some(path, topic, [image.position for image in placed])
    return placed, measured.datum


def with_bag_gravity(images: Sequence[PosedImage], path: Path, topic: str, camera_frame: str) -> list[PosedImage]:
    """The images, with the direction of gravity by the Imu messages of a bag where there are any.

    Args:
        images: of one camera.
        path: of the bag.
        topic: of the messages.
        camera_frame: the camera's optical frame.

    Raises:
        InputError: there are no such messages around the images, they know no gravity, or the IMU's place on the robot
            is unknown.
    """
    with Bag(path) as bag:
        measured = _Gravity(bag, topic, camera_frame)
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

    def __init__(
        self, bag: Bag, topic: str, camera_frame: str, *, datum: Datum | None = None, std_m: float | None = None
    ) -> None:
        fixes = [
            (stamp_ns, message)
            for stamp_ns, message in bag.stamped(topic, NAV_SAT_FIX)
            if message.status.status > _NO_FIX and np.isfinite(_geodetic(message)).all()
        ]
        if not fixes:
            raise InputError(f"{bag.path}: {topic} holds no message with a fix; leave out --gnss-topic")
        if std_m is None and any(m.position_covariance_type == _UNKNOWN_COVARIANCE for _, m in fixes):
            raise InputError(
                f"{bag.path}: {topic} does not know how good its positions are (position_covariance_type 0); give the "
                "standard deviation with --gnss-std"
            )
        first = fixes[0][1]
        self.datum = datum or Datum(*_geodetic(first))
        order = np.argsort([stamp_ns for stamp_ns, _ in fixes], kind="stable")
        self._stamps_ns = np.array([fixes[k][0] for k in order])
        self._positions = np.array([self.datum.local(*_geodetic(fixes[k][1])) for k in order])
        self._stds = np.array([_std(fixes[k][1], std_m) for k in order])
        self._lever = _fixed(bag, camera_frame, bag.frame_id(topic)).translation

    def at(self, stamp_ns: int) -> MeasuredPosition | None:
        """Between the fixes before and after a time; None where they are too far apart or missing."""
        after = int(np.searchsorted(self._stamps_ns, stamp_ns))
        if after < len(self._stamps_ns) and self._stamps_ns[after] == stamp_ns:
            return MeasuredPosition(self._positions[after], self._stds[after], self._lever)
        if after in (0, len(self._stamps_ns)):
            return None
        gap_ns = self._stamps_ns[after] - self._stamps_ns[after - 1]
        if gap_ns > _MAX_GAP_NS:
            return None
        share = (stamp_ns - self._stamps_ns[after - 1]) / gap_ns
        position = (1.0 - share) * self._positions[after - 1] + share * self._positions[after]
        return MeasuredPosition(position, np.maximum(self._stds[after - 1], self._stds[after]), self._lever)


class _Gravity:
    """By Imu messages: their orientation, or else their accelerations."""

    def __init__(self, bag: Bag, topic: str, camera_frame: str) -> None:
        found = sorted(((s, m) for s, m in bag.stamped(topic, IMU)), key=lambda stamped: stamped[0])
        if not found:
            raise InputError(f"{bag.path}: {topic} holds no message; leave out --imu-topic")
        self._stamps_ns = np.array([stamp_ns for stamp_ns, _ in found])
        self._oriented = all(
            m.orientation_covariance[0] != _NO_ORIENTATION and _is_turn(m.orientation) for _, m in found
        )
        down = [_down_by_orientation(m) if self._oriented else _down_by_acceleration(m) for _, m in found]
        camera_from_imu = _fixed(bag, camera_frame, bag.frame_id(topic)).rotation
        self._down = np.array(down) @ camera_from_imu.T
        strength = np.median(np.linalg.norm(self._down, axis=1))
        if not self._oriented and abs(strength - GRAVITY_M_S2) > _TOLERATED_M_S2:
            raise InputError(
                f"{bag.path}: {topic} has no orientation, and accelerations of {strength:.2f} m/s² at the median, "
                f"expected gravity's {GRAVITY_M_S2}; record an IMU that does not take gravity out"
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


def _fixed(bag: Bag, target: str, source: str) -> Pose:
    """target_from_source of a sensor that is fixed to the camera.

    Raises:
        InputError: it is unknown.
    """
    if target == source:
        return Pose.identity()
    transforms: TransformTree = bag.transforms()
    try:
        found = transforms.lookup(target, source, bag.start_ns)
    except InputError as error:
        raise InputError(
            f"{bag.path}: has no transform from {source!r} to the camera {target!r} ({error}); record /tf_static too"
        ) from error
    if found is None:
        raise InputError(
            f"{bag.path}: {source!r} and the camera {target!r} move against each other; expected no motion"
        )
    return found


def _geodetic(fix: Any) -> tuple[float, float, float]:
    return fix.latitude, fix.longitude, fix.altitude


def _std(fix: Any, std_m: float | None) -> Array:
    if std_m is not None:
        return np.repeat(std_m, 3)
    return np.sqrt(np.maximum(np.reshape(fix.position_covariance, (3, 3)).diagonal(), 0.0))


def _is_turn(q: Any) -> bool:
    return bool(abs(np.linalg.norm([q.x, q.y, q.z, q.w]) - 1.0) < 0.01)


def _down_by_orientation(message: Any) -> Array:
    q = message.orientation
    world_from_imu = Pose.from_quaternion([q.x, q.y, q.z, q.w], np.zeros(3))
    return np.asarray(-_UP @ world_from_imu.rotation)


def _down_by_acceleration(message: Any) -> Array:
    """An accelerometer at rest feels what holds it up."""
    force = message.linear_acceleration
    return -np.array([force.x, force.y, force.z])
