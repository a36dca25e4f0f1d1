"""Take the images out of a bag, with their calibration and, where it is known, where the camera was.

  vloc bag images BAG --out DIR                            with odometry from TF or the only odometry topic
  vloc bag images BAG --pose-topic TOPIC --out DIR         with poses in the map
  vloc bag images BAG --no-poses --out DIR                 without

DIR holds the folder `images`, whose files are named by their nanoseconds, so that other commands pair them with poses
by time; `camera.yaml`; and, as TUM rows of the camera's optical frame, `poses.txt` of --pose-topic or `odometry.txt`,
which drifts. With poses, images at whose time there is none are left out. Images that were recorded as JPEG or PNG are
copied, others become PNG. Damaged ones are named and left out; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.source_options import CALIBRATION
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
    parser.add_argument(
        "--base-frame", metavar="FRAME", help="whose poses the topic holds, where its messages do not say so"
    )


def run(args: argparse.Namespace) -> int:
    """Write the folder."""
    from vloc_ros.bags.reading import TF, Bag
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.bag_topics import choose_image_topic, read_calibration
    from vloc_ros.storage.cameras import read_camera, write_camera
    from vloc_ros.storage.output_folders import check_free

    if args.every < 1:
        raise InputError(f"--every is {args.every}, expected 1 or more")
    check_free(args.out, kind="images of a bag")
    with Bag(args.bag, tf_topic=args.tf_topic or TF) as bag:
        topic = choose_image_topic(bag, args.image_topic)
        camera = read_calibration(
            bag,
            topic,
            camera_info_topic=args.camera_info_topic,
            rectified=args.rectified,
            camera=read_camera(args.camera) if args.camera else None,
        )
        camera_path = _camera_path(args, bag, bag.frame_id(topic))
        write_camera(args.out / "camera.yaml", camera, name=bag.frame_id(topic) or "camera")
        return _write_images(args, bag, topic, camera_path)


def _camera_path(args: argparse.Namespace, bag: Bag, camera_frame: str) -> CameraPath | None:
    """Where the camera was; None where the bag does not say it, or nobody wants to know."""
    from vloc_ros.datasets.bag_images import find_camera_path, has_odometry

    if args.no_poses:
        return None
    if not (args.pose_topic or args.odom_topic or has_odometry(bag)):
        print(f"{args.bag} has no odometry, and --pose-topic is not given: images without poses")
        return None
    return find_camera_path(bag, camera_frame, args.odom_topic, args.pose_topic, args.base_frame)


def _write_images(args: argparse.Namespace, bag: Bag, topic: str, camera_path: CameraPath | None) -> int:
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.bag_extraction import extract_files
    from vloc_ros.storage.atomic import write_bytes_atomically

    posed: list[tuple[int, Pose]] = []
    written = unusable = without_pose = 0
    for file in extract_files(bag, topic, every=args.every, progress=bar):
        pose = camera_path(file.stamp_ns) if camera_path else None
        if file.data is None:
            unusable += 1
            print(f"vloc: warning: the image of {file.name} ns cannot be used: {file.reason}", file=sys.stderr)
        elif camera_path and pose is None:
            without_pose += 1
        else:
            write_bytes_atomically(args.out / "images" / file.name, file.data)
            written += 1
            if pose is not None:
                posed.append((file.stamp_ns, pose))
    if not written:
        raise InputError(
            f"{args.bag}: none of the images on {topic} can be used: {without_pose} have no pose at their time and "
            f"{unusable} are damaged; --no-poses takes those without a pose"
        )
    if without_pose:
        print(f"vloc: note: {without_pose} images have no pose at their time and are left out", file=sys.stderr)
    _write_poses(args, posed)
    print(f"written: {args.out} ({written} images)")
    given = f"--images {args.out}/images --camera {args.out}/camera.yaml{_poses_option(args, posed)}"
    print(f"build a map: vloc map build {given} --out MAP")
    return 1 if unusable else 0


def _write_poses(args: argparse.Namespace, posed: list[tuple[int, Pose]]) -> None:
    import numpy as np

    from vloc_ros.storage.trajectories import Trajectory, write_tum

    if posed:
        stamps_ns, poses = zip(*posed, strict=True)
        write_tum(_poses_file(args), Trajectory(np.array(stamps_ns, dtype=np.int64), poses))


def _poses_file(args: argparse.Namespace) -> Path:
    return args.out / ("poses.txt" if args.pose_topic else "odometry.txt")


def _poses_option(args: argparse.Namespace, posed: list[tuple[int, Pose]]) -> str:
    if not posed:
        return " --structure sfm"
    return f" --poses {_poses_file(args)}" + ("" if args.pose_topic else " --poses-drift")
