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

"""The options of `vloc map build`, in groups."""

from __future__ import annotations

import argparse
from pathlib import Path

from vloc_ros.cli.camera_options import add_camera
from vloc_ros.cli.pose_sources import add_pose_sources, add_scale_unknown
from vloc_ros.cli.source_options import add_max_time_difference

ROOTSIFT = "rootsift"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of jpg or png images")
    source.add_argument("--bag", type=Path, metavar="BAG", help="rosbag2 or MCAP with image, camera_info and odometry")
    _add_map_options(parser)
    _add_building(parser.add_argument_group("how the map is built"))
    _add_cameras(parser.add_argument_group("cameras"))
    _add_poses(parser.add_argument_group("poses of the images"))
    _add_measurements(parser.add_argument_group("measurements"))
    _add_bag_topics(parser.add_argument_group("topics of a bag"))


def _add_map_options(parser: argparse.ArgumentParser) -> None:
    """Declare what the map is called, and where it goes."""
    parser.add_argument("--out", type=Path, required=True, metavar="MAP", help="folder to write")
    parser.add_argument("--name", metavar="NAME", help="for people; the folder's name by default")
    parser.add_argument("--frame-id", default="map", metavar="NAME", help="ROS frame of the map: %(default)s")
    parser.add_argument(
        "--write-unverified",
        action="store_true",
        help="write the map even if it does not find its own left-out images, or wrong input explains them better",
    )


def _add_building(group: argparse._ArgumentGroup) -> None:
    """Declare the extractor and what else decides how it is built."""
    group.add_argument(
        "--extractor",
        default=ROOTSIFT,
        metavar="rootsift|MODEL",
        help="keypoints: rootsift, or a model folder that `vloc model export` wrote, which the map then carries "
        "(default: %(default)s)",
    )
    group.add_argument("--max-keypoints", type=int, metavar="N", help="per image; more for large images")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one parameter of mapping, such as vocabulary_words=16; repeatable; `vloc config` lists all",
    )
    group.add_argument(
        "--structure",
        choices=("given", "sfm"),
        help="given: keep the poses exactly; sfm: structure from motion, in which poses or odometry are measurements "
        "(default: given with --poses or --pose-topic and no gravity, else sfm)",
    )
    group.add_argument(
        "--workers",
        choices=("ray",),
        help="find and match keypoints, and calibrate, on the Ray cluster of RAY_ADDRESS, or else the one that this "
        "machine is part of. All who reach a cluster can run code on it (default: this machine alone, without Ray)",
    )


def _add_cameras(group: argparse._ArgumentGroup) -> None:
    """Declare calibrations and rigs."""
    add_camera(group, text="; with --bag it takes the place of the bag's")
    group.add_argument(
        "--refine-calibration",
        type=Path,
        metavar="FILE",
        help="correct the calibration by what the images show, and write it there as camera_info YAML, for the queries",
    )
    group.add_argument(
        "--rectified", action="store_true", help="the bag's images are rectified: P of camera_info is their calibration"
    )
    group.add_argument(
        "--rig-window",
        type=float,
        metavar="SECONDS",
        help="largest difference of the stamps of images that a rig took together (default: 0.02)",
    )


def _add_poses(group: argparse._ArgumentGroup) -> None:
    """Declare poses, of which one source may be given, and distances."""
    poses = group.add_mutually_exclusive_group()
    poses.add_argument("--poses", type=Path, metavar="TUM", help="map_from_camera of every image")
    add_pose_sources(poses)
    add_scale_unknown(group, text="the map records it")
    group.add_argument(
        "--poses-drift",
        action="store_true",
        help="the poses of --poses are of odometry: good over short distances only; they are measurements then",
    )
    group.add_argument(
        "--distance",
        nargs=3,
        metavar=("IMAGE", "IMAGE", "METRES"),
        help="with sfm and no poses: the distance between the cameras of two images",
    )
    add_max_time_difference(
        group,
        text="of the poses before and after an image in a bag or EuRoC, between which its own is interpolated; others "
        "are left out (default: 0.2)",
    )


def _add_measurements(group: argparse._ArgumentGroup) -> None:
    """Declare positions and directions of gravity."""
    group.add_argument(
        "--positions",
        type=Path,
        metavar="TXT",
        help="measured positions of the cameras, rows of `IMAGE x y z std` in metres, z up: they give the frame",
    )
    group.add_argument(
        "--gravity",
        type=Path,
        metavar="TXT",
        help="measured directions of gravity, rows of `IMAGE x y z std`: in the optical frame, std in degrees",
    )
    group.add_argument(
        "--gnss-std", type=float, metavar="METRES", help="of each coordinate; the messages' covariance by default"
    )
    group.add_argument(
        "--gnss-correlation",
        type=float,
        metavar="SECONDS",
        help="time after which errors of --gnss-topic have become 1/e alike, such as 60 without corrections (default: "
        "0, each fix has an error of its own)",
    )
    group.add_argument(
        "--datum",
        type=float,
        nargs=3,
        metavar=("LATITUDE", "LONGITUDE", "ALTITUDE"),
        help="origin of the map with --gnss-topic; the first fix by default",
    )


def _add_bag_topics(group: argparse._ArgumentGroup) -> None:
    """Declare topics and frames of a bag."""
    group.add_argument(
        "--image-topic",
        action="append",
        metavar="TOPIC",
        help="of the bag; needed where it holds several. Repeated for the cameras of a rig, of which the first one "
        "gives the keyframes",
    )
    group.add_argument(
        "--camera-info-topic",
        action="append",
        metavar="TOPIC",
        help="of the bag; beside the image topic by default. Of a rig one for each image topic",
    )
    group.add_argument(
        "--tf-topic", metavar="TOPIC", help="of the bag: transforms; static ones on TOPIC_static (default: /tf)"
    )
    group.add_argument("--odom-topic", metavar="TOPIC", help="nav_msgs/Odometry of the bag; TF odom→base by default")
    group.add_argument("--pose-topic", metavar="TOPIC", help="poses of the base in the map; used in place of odometry")
    group.add_argument(
        "--base-frame",
        metavar="FRAME",
        help="of the bag's TF: whose poses --pose-topic or --odom-topic holds, where its messages do not say so "
        "(default: base_link)",
    )
    group.add_argument(
        "--gnss-topic", metavar="TOPIC", help="sensor_msgs/NavSatFix of the bag: the map lies east, north and up of it"
    )
    group.add_argument("--imu-topic", metavar="TOPIC", help="sensor_msgs/Imu of the bag: what is down")
