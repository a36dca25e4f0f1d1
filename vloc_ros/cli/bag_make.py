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

"""Make a ROS 2 bag (MCAP) from an image folder or from the simulated world.

The bag holds what a robot with one camera records: images with camera_info, base_link -> camera_optical_frame on
/tf_static, and, where poses are known, odometry (/odom, and odom -> base_link on /tf) and the true pose of base_link in
the map (/truth). Odometry starts at the identity and drifts as wheels do. With --gnss and --imu it also holds positions
by satellites (/fix, around a datum near Zurich) and accelerations (/imu).

The camera looks along the x axis of base_link, sits at its origin and is level, unless --mount says otherwise.

  vloc bag make --images DIR --camera YAML --poses TUM --out BAG     a recording of one's own
  vloc bag make --world room --frames 200 --out BAG                  a lap of a simulated robot
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.camera_options import add_camera, explain_missing_camera, has_camera, read_given_camera
from vloc_ros.cli.image_folders import report_images_passed_over

if TYPE_CHECKING:
    from vloc_ros.bags.writing import BagWriter
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.datasets.recordings import RecordingFrame, SourceRecording


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of jpg or png images, in name order")
    source.add_argument(
        "--world",
        metavar="KIND",
        help="simulated world: room, corridor, yard, apartment, or, for a car, street or town",
    )
    add_camera(parser, text="; needed with --images")
    parser.add_argument("--poses", type=Path, metavar="TUM", help="map_from_camera of every image, row by row")
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="images per second (default: the times of the poses or names, else 10)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="BAG", help="bag folder to make")
    parser.add_argument("--raw", action="store_true", help="decoded images in place of compressed ones")
    parser.add_argument(
        "--mount",
        type=float,
        nargs=6,
        metavar=("X", "Y", "Z", "ROLL", "PITCH", "YAW"),
        help="extrinsics of the camera in base_link, metres and degrees (default: 0 0 0 0 0 0, looking along x; with "
        "--world those of a small robot, or of a car)",
    )
    parser.add_argument(
        "--drift",
        type=float,
        default=1.0,
        metavar="PERCENT",
        help="odometry's error (default: %(default)s; 0 is exact)",
    )
    parser.add_argument(
        "--odometry-lag",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how much later than the images odometry is stamped (default: %(default)s)",
    )
    parser.add_argument("--gnss", type=float, metavar="METRES", help="write /fix: noise of each coordinate")
    parser.add_argument("--imu", type=float, metavar="DEGREES", help="write /imu: noise of the direction of gravity")
    parser.add_argument("--seed", type=int, default=0, help="seed of the world and the drift (default: %(default)s)")
    parser.add_argument("--lap", type=int, default=0, help="with --world: seed of the path (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=100, help="with --world: images (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Make the bag."""
    from vloc_ros.bags.writing import BagWriter
    from vloc_ros.datasets.recordings import check_stamps

    _check(args)
    recording = _record_folder(args) if args.world is None else _record_world(args)
    check_stamps(recording.frames)
    with BagWriter(args.out, camera=recording.camera, base_from_camera=recording.base_from_camera) as bag:
        _write(bag, recording, args)
    size_mb = sum(p.stat().st_size for p in args.out.iterdir()) / 1e6
    print(f"{args.out}: {len(recording.frames)} images, {size_mb:.1f} MB; play it with `ros2 bag play {args.out}`")
    return 0


def _check(args: argparse.Namespace) -> None:
    from vloc_ros.core.errors import InputError

    if args.images is not None and not has_camera(args):
        raise InputError(explain_missing_camera(args))
    if args.world is not None and (args.poses is not None or args.focal is not None):
        raise InputError("--poses and --focal go with --images; --world has its own")
    for name, value, low in (
        ("--rate", args.rate, 1e-3),
        ("--drift", args.drift, 0.0),
        ("--gnss", args.gnss, 1e-3),
        ("--imu", args.imu, 1e-3),
    ):
        if value is not None and not low <= value < 1e4:
            raise InputError(f"{name} is {value:g}, expected {low:g} to 10000")
    if args.images is not None and args.poses is None and (args.gnss is not None or args.imu is not None):
        raise InputError("--gnss and --imu are made from true poses; give --poses with --images")
    if not abs(args.odometry_lag) <= 1.0:
        raise InputError(f"--odometry-lag is {args.odometry_lag:g}, expected -1 to 1 seconds")
    if min(args.seed, args.lap) < 0:
        raise InputError(f"--seed {args.seed} --lap {args.lap}: expected 0 or more")
    if args.out.exists():
        raise InputError(f"{args.out}: exists already; remove it or name another bag")


def _record_folder(args: argparse.Namespace) -> SourceRecording:
    from vloc_ros.datasets.recordings import record_folder

    report_images_passed_over(args.images)
    camera = read_given_camera(args)
    assert camera is not None
    return record_folder(
        args.images,
        camera,
        base_from_camera=_base_from_camera(*(args.mount or [0.0] * 6)),
        poses_file=args.poses,
        rate_hz=args.rate,
    )


def _record_world(args: argparse.Namespace) -> SourceRecording:
    from vloc_ros.datasets.simulated_recordings import record_simulated_lap
    from vloc_ros.storage.cameras import read_camera

    return record_simulated_lap(
        args.world,
        frames=args.frames,
        seed=args.seed,
        lap_seed=args.lap,
        camera=None if args.camera is None else read_camera(args.camera),
        base_from_camera=None if args.mount is None else _base_from_camera(*args.mount),
        rate_hz=args.rate,
    )


def _base_from_camera(x: float, y: float, z: float, roll: float, pitch: float, yaw: float) -> Pose:
    """The extrinsics, from metres and ROS's roll, pitch and yaw in degrees; at zero the camera looks along x."""
    import numpy as np

    from vloc_ros.core.geometry.pose import Pose

    mount_from_optical = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
    about_x, about_y, about_z = (
        Pose.from_rotation_vector(axis * np.radians(angle), np.zeros(3))
        for axis, angle in zip(np.eye(3), (roll, pitch, yaw), strict=True)
    )
    base_from_mount = Pose((about_z @ about_y @ about_x).rotation, np.array([x, y, z]))
    return base_from_mount @ mount_from_optical


def _write(bag: BagWriter, recording: SourceRecording, args: argparse.Namespace) -> None:
    import numpy as np

    from vloc_ros.datasets.geodetic import GRAVITY_M_S2, SIMULATED_DATUM
    from vloc_ros.datasets.recordings import simulate_odometry
    from vloc_ros.progress import bar as progress

    camera_from_base = recording.base_from_camera.inverse()
    known = [frame.map_from_camera for frame in recording.frames if frame.map_from_camera is not None]
    map_from_base = [map_from_camera @ camera_from_base for map_from_camera in known]
    odometry = simulate_odometry(map_from_base, drift=args.drift / 100.0, seed=args.seed)
    rng = np.random.default_rng([args.seed, 7])
    for index, frame in enumerate(progress(recording.frames, description="writing")):
        if map_from_base:  # all frames have a pose, or none
            bag.write_odometry(frame.stamp_ns + round(1e9 * args.odometry_lag), odometry[index])
            bag.write_truth(frame.stamp_ns, map_from_base[index])
            if args.gnss is not None:
                position = map_from_base[index].translation + rng.normal(0.0, args.gnss, 3)
                bag.write_fix(frame.stamp_ns, SIMULATED_DATUM.geodetic(position), args.gnss)
            if args.imu is not None:
                noise = rng.normal(0.0, GRAVITY_M_S2 * np.radians(args.imu), 3)
                bag.write_imu(frame.stamp_ns, GRAVITY_M_S2 * map_from_base[index].rotation[2] + noise)
        _write_image(bag, frame, raw=args.raw)


def _write_image(bag: BagWriter, frame: RecordingFrame, *, raw: bool) -> None:
    from vloc_ros.core.errors import InputError

    try:
        if raw:
            bag.write_image(frame.stamp_ns, frame.pixels())
        else:
            bag.write_compressed_image(frame.stamp_ns, frame.encoded())
    except InputError as error:
        raise InputError(f"{frame.name}: {error}") from error
