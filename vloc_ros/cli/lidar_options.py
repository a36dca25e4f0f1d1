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

"""Options of commands that read scans: a bag, KITTI's folders, or depth images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.source_options import CALIBRATION

if TYPE_CHECKING:
    from vloc_ros.datasets.lidar_recordings import LidarRecording


def add_lidar_source(parser: argparse.ArgumentParser) -> None:
    """`--bag`, `--kitti` or `--depth`, and what goes with them."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bag", type=Path, metavar="BAG", help="rosbag2 folder or MCAP file with PointCloud2")
    source.add_argument("--kitti", type=Path, metavar="DIR", help="sequence or drive of KITTI")
    source.add_argument("--depth", type=Path, metavar="DIR", help="folder of 16-bit depth images")
    parser.add_argument("--cloud-topic", metavar="TOPIC", help="needed where the bag has point clouds on several")
    parser.add_argument("--pose-topic", metavar="TOPIC", help="poses of the base in the map, on a topic of the bag")
    parser.add_argument(
        "--poses",
        type=Path,
        metavar="FILE",
        help="poses in the map: TUM rows of the base, or of the depth camera's optical frame; KITTI's rows of the left "
        "camera",
    )
    parser.add_argument("--base-frame", metavar="FRAME", help="whose poses they are (default: the frame that the topic "
                        "names, or else base_link, or the LiDAR's own without TF)")  # fmt: skip
    parser.add_argument(
        "--compensated", action="store_true", help="the points' times do not count: the driver undid the motion"
    )
    parser.add_argument("--camera", type=Path, metavar="FILE", help=f"{CALIBRATION}; of the depth camera")


def add_scans(parser: argparse._ActionsContainer) -> None:
    """`--scans`, in place of images."""
    parser.add_argument(
        "--scans", type=Path, metavar="PATH", help="scans of a LiDAR in place of images: a bag, or a folder of KITTI"
    )


def add_scan_options(parser: argparse.ArgumentParser) -> None:
    """What goes with `--scans`."""
    parser.add_argument("--cloud-topic", metavar="TOPIC", help="of --scans; needed where its bag has several")
    parser.add_argument(
        "--compensated",
        action="store_true",
        help="of --scans: the points' times do not count, the driver undid the motion",
    )


def read_scans(args: argparse.Namespace, *, truth: str | Path | None = None) -> LidarRecording:
    """The recording of `--scans`.

    Args:
        args: with the options of `add_scans`.
        truth: topic or file of the true poses; None where they are not needed, or are the recording's own.

    Raises:
        InputError: it cannot be read.
    """
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.lidar_kitti import is_kitti, read_kitti_recording
    from vloc_ros.datasets.lidar_recordings import PoseTopic, read_lidar_bag

    if is_kitti(args.scans):
        if isinstance(truth, str):
            raise InputError(f"--truth-topic is of a bag, found a folder of KITTI in {args.scans}; give --poses")
        return read_kitti_recording(args.scans, poses=truth)
    return read_lidar_bag(
        args.scans,
        topic=args.cloud_topic,
        poses=PoseTopic(truth) if isinstance(truth, str) else truth,
        base_frame=getattr(args, "base_frame", None),
        compensated=args.compensated,
    )


def read_recording(args: argparse.Namespace, *, posed: bool) -> LidarRecording:
    """The recording that the options name.

    Raises:
        InputError: options that do not go together, or a recording that cannot be read.
    """
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.depth_scans import read_depth_recording
    from vloc_ros.datasets.lidar_kitti import read_kitti_recording
    from vloc_ros.datasets.lidar_recordings import PoseTopic, read_lidar_bag
    from vloc_ros.storage.cameras import read_camera

    _check_together(args)
    if args.bag:
        poses = PoseTopic(args.pose_topic) if args.pose_topic else args.poses
        if posed and poses is None:
            raise InputError("a bag's scans need poses in the map: --pose-topic or --poses")
        return read_lidar_bag(
            args.bag,
            topic=args.cloud_topic,
            poses=poses,
            base_frame=args.base_frame,
            compensated=args.compensated,
        )
    if args.kitti:
        return read_kitti_recording(args.kitti, poses=args.poses)
    if args.camera is None or (posed and args.poses is None):
        raise InputError("depth images need --camera, their calibration, and for a map --poses")
    return read_depth_recording(args.depth, read_camera(args.camera), poses=args.poses)


def _check_together(args: argparse.Namespace) -> None:
    from vloc_ros.core.errors import InputError

    of_bag = {"--cloud-topic": args.cloud_topic, "--pose-topic": args.pose_topic, "--base-frame": args.base_frame,
              "--compensated": args.compensated}  # fmt: skip
    if not args.bag and (given := [name for name, value in of_bag.items() if value]):
        raise InputError(f"{given[0]} goes with --bag, found another source")
    if args.camera and not args.depth:
        raise InputError("--camera goes with --depth, found another source")
    if args.pose_topic and args.poses:
        raise InputError("--pose-topic and --poses both name poses, expected one of them")
