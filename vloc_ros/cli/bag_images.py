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

"""Take the images out of a bag, with their calibration and, where it is known, where the camera was.

  vloc bag images BAG --out DIR                            with odometry from TF or the only odometry topic
  vloc bag images BAG --pose-topic TOPIC --out DIR         with poses in the map
  vloc bag images BAG --no-poses --out DIR                 without

DIR holds the folder `images`, whose files are named by their nanoseconds, so that other commands pair them with poses
by time; `camera.yaml`; and, as TUM rows of the camera's optical frame, `poses.txt` of --pose-topic or `odometry.txt`,
which drifts. With poses, images at whose time there is none are left out, and those whose stamps are not in the order
of recording, which may not be their times; of images of one time the first is taken.
Images that were recorded as JPEG or PNG are copied, others become PNG. Damaged ones are named and left out; the exit
code is then 1.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.source_options import (
    CALIBRATION,
    add_max_time_difference,
    check_max_time_difference,
    largest_gap_ns,
    note,
)
from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.bags.reading import Bag
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.datasets.bag_images import CameraPath


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder or MCAP file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, new or empty")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th image")
    parser.add_argument("--image-topic", metavar="TOPIC", help="needed where the bag has images on several")
    parser.add_argument("--camera-info-topic", metavar="TOPIC", help="beside the image topic by default")
    parser.add_argument("--camera", type=Path, metavar="FILE", help=f"{CALIBRATION}; in place of the bag's")
    parser.add_argument("--rectified", action="store_true", help="the images are rectified: P of camera_info is theirs")
    poses = parser.add_mutually_exclusive_group()
    poses.add_argument("--pose-topic", metavar="TOPIC", help="poses of the base in the map")
    poses.add_argument("--odom-topic", metavar="TOPIC", help="nav_msgs/Odometry; TF odom→base by default")
    poses.add_argument("--no-poses", action="store_true", help="all images, and no poses")
    parser.add_argument("--tf-topic", metavar="TOPIC", help="transforms; static ones on TOPIC_static (default: /tf)")
    add_max_time_difference(
        parser,
        text="of the poses before and after an image, between which its own is interpolated; others are left out "
        "(default: 0.2)",
    )
    parser.add_argument(
        "--base-frame", metavar="FRAME", help="whose poses the topic holds, where its messages do not say so"
    )


def run(args: argparse.Namespace) -> int:
    """Write the folder."""
    from vloc_ros.bags.reading import TF, Bag
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.bag_topics import choose_image_topic, read_calibration
    from vloc_ros.storage.cameras import read_camera, write_camera
    from vloc_ros.storage.output_folders import check_free, fill_folder

    if args.every < 1:
        raise InputError(f"--every is {args.every}, expected 1 or more")
    check_max_time_difference(args)
    check_free(args.out, kind="images of a bag")
    with Bag(args.bag, tf_topic=args.tf_topic or TF) as bag, fill_folder(args.out) as folder:
        topic = choose_image_topic(bag, args.image_topic)
        camera = read_calibration(
            bag,
            topic,
            camera_info_topic=args.camera_info_topic,
            rectified=args.rectified,
            camera=read_camera(args.camera) if args.camera else None,
        )
        camera_path = _camera_path(args, bag, bag.frame_id(topic))
        write_camera(folder / "camera.yaml", camera, name=bag.frame_id(topic) or "camera")
        counts, posed = _write_images(args, folder, bag, topic, camera_path)
        _check_counts(args, topic, counts)
        _write_poses(folder / _poses_name(args), posed)
    print(f"written: {args.out} ({counts['written']} images)")
    given = f"--images {args.out}/images --camera {args.out}/camera.yaml{_poses_option(args, posed)}"
    print(f"build a map: vloc map build {given} --out MAP")
    return 1 if counts["damaged"] else 0


def _camera_path(args: argparse.Namespace, bag: Bag, camera_frame: str) -> CameraPath | None:
    """Where the camera was; None where the bag does not say it, or nobody wants to know."""
    from vloc_ros.datasets.bag_images import find_camera_path, has_odometry

    if args.no_poses:
        return None
    if not (args.pose_topic or args.odom_topic or has_odometry(bag)):
        print(f"{args.bag} has no odometry, and --pose-topic is not given: images without poses")
        return None
    return find_camera_path(
        bag,
        camera_frame,
        args.odom_topic,
        args.pose_topic,
        args.base_frame,
        largest_gap_ns=largest_gap_ns(args),
    )


def _write_images(
    args: argparse.Namespace, folder: Path, bag: Bag, topic: str, camera_path: CameraPath | None
) -> tuple[Counter[str], list[tuple[int, Pose]]]:
    """What became of how many images, and the poses of those that are written."""
    from vloc_ros.datasets.bag_extraction import extract_files
    from vloc_ros.datasets.stamp_order import find_stamps_in_order
    from vloc_ros.storage.atomic import write_bytes_atomically

    posed, names = list[tuple[int, "Pose"]](), list[str]()
    counts = Counter[str]()
    for file in extract_files(bag, topic, every=args.every, progress=bar):
        pose = camera_path(file.stamp_ns) if camera_path else None
        if file.repeated:
            counts["repeated"] += 1
        elif file.data is None:
            counts["damaged"] += 1
            print(f"vloc: warning: the image of {file.name} ns cannot be used: {file.reason}", file=sys.stderr)
        elif camera_path and pose is None:
            counts["without a pose"] += 1
        else:
            write_bytes_atomically(folder / "images" / file.name, file.data)
            counts["written"] += 1
            if pose is not None:
                posed.append((file.stamp_ns, pose))
                names.append(file.name)
    in_order = find_stamps_in_order([stamp_ns for stamp_ns, _ in posed])
    for index in set(range(len(posed))) - set(in_order):
        (folder / "images" / names[index]).unlink()
        counts["out of order"] += 1
        counts["written"] -= 1
    return counts, [posed[index] for index in in_order]


def _check_counts(args: argparse.Namespace, topic: str, counts: Counter[str]) -> None:
    """Say what is left out; raise if that is all."""
    from vloc_ros.core.errors import InputError

    without_pose = counts["without a pose"]
    if not counts["written"]:
        raise InputError(
            f"{args.bag}: none of the images on {topic} can be used: {without_pose} have no pose at their time and "
            f"{counts['damaged']} are damaged; --no-poses takes those without a pose"
        )
    if without_pose:
        note(f"{without_pose} images have no pose, or are in a gap, see --max-time-difference: left out")
    if out_of_order := counts["out of order"]:
        note(f"{out_of_order} images have stamps that are not in the order of recording: left out")
    if repeated := counts["repeated"]:
        note(f"{repeated} images have the time of an earlier one and are left out")


def _write_poses(path: Path, posed: list[tuple[int, Pose]]) -> None:
    import numpy as np

    from vloc_ros.storage.trajectories import Trajectory, write_tum

    if posed:
        stamps_ns, poses = zip(*sorted(posed, key=lambda row: row[0]), strict=True)
        write_tum(path, Trajectory(np.array(stamps_ns, dtype=np.int64), poses))


def _poses_name(args: argparse.Namespace) -> str:
    return "poses.txt" if args.pose_topic else "odometry.txt"


def _poses_option(args: argparse.Namespace, posed: list[tuple[int, Pose]]) -> str:
    if not posed:
        return " --structure sfm"
    return f" --poses {args.out / _poses_name(args)}" + ("" if args.pose_topic else " --poses-drift")
