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

"""Walks through a world: smooth laps past the same stations, along another path for every seed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.tour import plan_tour

CLEARANCE_M = 0.4
_STEP_M = 0.05
_GAZE_M = 0.7
_DISPLACEMENT_M = 0.4
_SMOOTHING_STEPS = 120
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """A lap of a robot that stays on the floor.

    Attributes:
        stamps_ns: (N,) int64, evenly spaced.
        map_from_base: N poses of the base, z = 0, x forward.
        base_from_camera: extrinsics of the camera.
    """

    stamps_ns: Array
    map_from_base: tuple[Pose, ...]
    base_from_camera: Pose

    @property
    def map_from_camera(self) -> list[Pose]:
        """N poses of the camera."""
        return [pose @ self.base_from_camera for pose in self.map_from_base]


def make_stamps(frames: int, *, rate_hz: float = 10.0, start_ns: int = _NS_PER_S) -> Array:
    """(N,) int64 nanoseconds, evenly spaced."""
    return start_ns + np.round(np.arange(frames) * (_NS_PER_S / rate_hz)).astype(np.int64)


def walk(world: World, frames: int, seed: int, *, height_m: float = 1.4) -> list[Pose]:
    """Walk one lap with a hand-held camera: map_from_camera with changes of heading, height and roll.

    Every seed passes the same stations in the same order, along its own path and with its own changes of heading.

    Raises:
        InputError: fewer than two frames.
    """
    rng = np.random.default_rng([seed, 4])
    path, heading = _plan_lap(world, frames, rng)
    time = np.linspace(0.0, 1.0, frames) * _length(path)
    yaw = heading + _sway(rng, time, amplitude=0.6, period=4.0)
    pitch = -0.08 + _sway(rng, time, amplitude=0.16, period=4.5)
    roll = _sway(rng, time, amplitude=0.05, period=2.0)
    height = height_m + _sway(rng, time, amplitude=0.12, period=3.0)
    return [
        Pose(_turn(y) @ _look_rotation(p, r), np.array([x[0], x[1], h]))
        for x, y, p, r, h in zip(path, yaw, pitch, roll, height, strict=True)
    ]


def drive(world: World, frames: int, seed: int, *, rate_hz: float = 10.0, camera_height_m: float = 0.6) -> Drive:
    """Drive one lap with a wheeled robot. Its camera looks ahead and slightly up, 10 cm in front of the base's origin.

    Raises:
        InputError: fewer than two frames.
    """
    rng = np.random.default_rng([seed, 5])
    path, heading = _plan_lap(world, frames, rng)
    poses = tuple(Pose(_turn(h), np.array([x[0], x[1], 0.0])) for x, h in zip(path, heading, strict=True))
    base_from_camera = Pose(_look_rotation(0.12, 0.0), np.array([0.1, 0.0, camera_height_m]))
    return Drive(make_stamps(frames, rate_hz=rate_hz), poses, base_from_camera)


def _turn(yaw: float) -> Array:
    return np.asarray(cv2.Rodrigues(np.array([0.0, 0.0, yaw]))[0])


def _look_rotation(pitch: float, roll: float) -> Array:
    """base_from_camera rotation: optical axis along x, then `pitch` up and `roll` about the optical axis."""
    ahead = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    up = cv2.Rodrigues(np.array([0.0, -pitch, 0.0]))[0]
    return np.asarray(up @ ahead @ cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0])


def _sway(rng: np.random.Generator, time: Array, *, amplitude: float, period: float) -> Array:
    """A smooth random signal over the distance walked: two sines of random phase and slightly random period."""
    total = np.zeros(len(time))
    for share, factor in ((0.8, 1.0), (0.2, 0.43)):
        length = period * factor * rng.uniform(0.8, 1.25)
        total += share * np.sin(2 * np.pi * (time / length + rng.random()))
    return amplitude * total


def _length(path: Array) -> float:
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def _plan_lap(world: World, frames: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Plan (N, 2) positions evenly along a lap, and (N,) headings (radians, unwrapped)."""
    if frames < 2:
        raise InputError(f"a walk has {frames} frames, expected at least 2")
    way = np.concatenate([leg[:-1] for leg in plan_tour(world, CLEARANCE_M).legs])
    path = _smooth(world, _displace(world, _resample(np.vstack([way, way[:1]]), _STEP_M)[:-1], rng))
    position = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    start = rng.uniform(0, 0.03) * position[-1]
    at = start + np.linspace(0.0, 0.97, frames) * position[-1]
    return _interpolate(path, position, at), _heading(path, position, at)


def _heading(path: Array, position: Array, at: Array) -> Array:
    """(N,) unwrapped direction of travel at arc lengths `at`, averaged over the path just behind and ahead."""
    half = round(_GAZE_M / _STEP_M)
    fine = np.arange(at[0] - _GAZE_M - _STEP_M, at[-1] + _GAZE_M + 2 * _STEP_M, _STEP_M)
    ahead = _interpolate(path, position, fine + 0.15) - _interpolate(path, position, fine - 0.15)
    turning = np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0]))
    window = np.hanning(2 * half + 3)[1:-1]
    mean = np.convolve(turning, window / window.sum(), mode="valid")
    return np.asarray(np.interp(at, fine[half:-half], mean))


def _interpolate(path: Array, position: Array, at: Array) -> Array:
    """(N, 2) points of a closed path at arc lengths `at`."""
    wrapped = np.mod(at, position[-1])
    return np.column_stack([np.interp(wrapped, position, path[:, i]) for i in range(2)])


def _displace(world: World, path: Array, rng: np.random.Generator) -> Array:
    """Shift an (N, 2) closed path by a smooth random offset, reduced where it would leave the free floor."""
    at = np.arange(len(path)) * _STEP_M
    offset = np.column_stack([_sway(rng, at, amplitude=_DISPLACEMENT_M, period=6.0) for _ in range(2)])
    share, still_free = np.zeros(len(path)), np.ones(len(path), bool)
    for candidate in np.linspace(0.1, 1.0, 10):
        still_free &= world.is_free(path + candidate * offset, margin_m=CLEARANCE_M)
        share[still_free] = candidate
    reach = round(_GAZE_M / _STEP_M)
    around = np.pad(share, 2 * reach, mode="wrap")
    least = np.lib.stride_tricks.sliding_window_view(around, 2 * reach + 1).min(axis=1)
    eased = np.convolve(least, np.ones(2 * reach + 1) / (2 * reach + 1), mode="valid")
    return np.asarray(path + eased[:, None] * offset)


def _smooth(world: World, path: Array) -> Array:
    """Round the corners of a closed path as far as the free space allows; repeat the first point at the end."""
    for _ in range(_SMOOTHING_STEPS):
        average = (np.roll(path, 1, axis=0) + path + np.roll(path, -1, axis=0)) / 3
        free = world.is_free(average, margin_m=CLEARANCE_M)
        path = np.where(free[:, None], average, path)
    return np.vstack([path, path[:1]])


def _resample(path: Array, step_m: float) -> Array:
    position = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0.0, position[-1], max(3, round(position[-1] / step_m)))
    return np.column_stack([np.interp(at, position, path[:, i]) for i in range(2)])
