"""Where the frames of a new bag come from: an image folder or a lap through the simulated world."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.datasets.image_folders import stamps_for, stamps_in_names, true_poses
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import decoded_image, list_images

if TYPE_CHECKING:
    from vloc_ros.simulation.scene import World

_NS_PER_S = 1e9
_DEFAULT_RATE_HZ = 10.0
_JPEG_QUALITY = 95
_SIMULATED_CAMERA = Camera("OPENCV", 640, 480, (525.0, 525.0, 322.0, 238.0, -0.12, 0.03, 0.0005, -0.0003))


@dataclass(frozen=True, slots=True, eq=False)
class RecordingFrame:
    """One moment of a bag to be made; its image is read or rendered when it is asked for.

    Attributes:
        name: for messages.
        stamp_ns: integer nanoseconds.
        map_from_camera: where it was taken, None where unknown.
        pixels: gives uint8 grey or BGR pixels.
        encoded: gives the bytes of a JPEG or PNG file.
    """

    name: str
    stamp_ns: int
    map_from_camera: Pose | None
    pixels: Callable[[], Array]
    encoded: Callable[[], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class SourceRecording:
    """What a bag is made of."""

    camera: Camera
    base_from_camera: Pose
    frames: Sequence[RecordingFrame]


def folder_recording(args: argparse.Namespace, mount: Pose) -> SourceRecording:
    """The images of a folder, with true poses where they are given.

    Raises:
        InputError: the folder, the calibration or the poses cannot be used or do not fit each other.
    """
    camera, paths = read_camera(args.camera), list_images(args.images)
    poses: Sequence[Pose | None] = [None] * len(paths)
    stamps_ns: Sequence[int] | Array = stamps_for(paths)
    if args.poses is not None:
        truth = true_poses(paths, args.poses)
        poses, stamps_ns = truth.poses, truth.stamps_ns
    named = all(stamp is not None for stamp in stamps_in_names(paths))
    if args.rate is not None or (args.poses is None and not named):
        stamps_ns = _stamps(len(paths), args.rate)
    frames = [_from_file(path, int(stamp), pose) for path, stamp, pose in zip(paths, stamps_ns, poses, strict=True)]
    return SourceRecording(camera, mount, frames)


def world_recording(args: argparse.Namespace, mount: Pose | None) -> SourceRecording:
    """A lap of a wheeled robot through a simulated world; its own camera mount unless one is given.

    Raises:
        InputError: the kind of world is unknown, or there are too few frames.
    """
    from vloc_ros.simulation.trajectories import drive
    from vloc_ros.simulation.world import make_world

    world = make_world(args.world, args.seed)
    camera = _SIMULATED_CAMERA if args.camera is None else read_camera(args.camera)
    lap = drive(world, args.frames, args.lap)
    base_from_camera = mount or lap.base_from_camera
    stamps_ns = _stamps(args.frames, args.rate)
    frames = [
        _from_world(world, camera, index, int(stamp), map_from_base @ base_from_camera)
        for index, (stamp, map_from_base) in enumerate(zip(stamps_ns, lap.map_from_base, strict=True))
    ]
    return SourceRecording(camera, base_from_camera, frames)


def odometry_of(map_from_base: Sequence[Pose], *, drift: float, seed: int) -> list[Pose]:
    """odom_from_base of every pose: wheels whose errors are this fraction of the way and of the turns."""
    from vloc_ros.simulation.odometry import Drift, drifting_odometry

    return drifting_odometry(map_from_base, seed, drift=Drift(drift, drift, drift, drift))


def _from_file(path: Path, stamp_ns: int, map_from_camera: Pose | None) -> RecordingFrame:
    def pixels() -> Array:
        return decoded_image(path.read_bytes())

    return RecordingFrame(str(path), stamp_ns, map_from_camera, pixels, path.read_bytes)


def _from_world(world: World, camera: Camera, index: int, stamp_ns: int, map_from_camera: Pose) -> RecordingFrame:
    def pixels() -> Array:
        from vloc_ros.simulation.render import render

        return render(world, camera, map_from_camera, seed=index)

    def encoded() -> bytes:
        done, data = cv2.imencode(".jpg", pixels(), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        assert done
        return bytes(data)

    return RecordingFrame(f"frame {index} of {world.name}", stamp_ns, map_from_camera, pixels, encoded)


def _stamps(count: int, rate_hz: float | None) -> Array:
    """(N,) int64 nanoseconds, evenly spaced from 1 s: ROS takes the time 0 for no time at all."""
    step_ns = _NS_PER_S / (_DEFAULT_RATE_HZ if rate_hz is None else rate_hz)
    return np.asarray(_NS_PER_S + np.round(np.arange(count) * step_ns), dtype=np.int64)


def checked_stamps(frames: Sequence[RecordingFrame]) -> Sequence[RecordingFrame]:
    """The frames, when they come one after the other at times that a ROS message can hold.

    Raises:
        InputError: a stamp is negative, too late, or not later than the one before.
    """
    stamps_ns = np.array([frame.stamp_ns for frame in frames])
    if (stamps_ns < 0).any() or (stamps_ns >= 2**31 * _NS_PER_S).any():
        raise InputError("a stamp does not fit a ROS message (0 to 2^31 s); give --rate to count from 1 s")
    if (np.diff(stamps_ns) <= 0).any():
        raise InputError("the times in the image names do not increase in name order; give --rate or rename the images")
    return frames
