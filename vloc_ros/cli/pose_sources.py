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

"""Options that name poses in the formats of other tools and data sets, most with the calibration too."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.camera_options import read_given_camera
from vloc_ros.cli.source_options import largest_gap_ns, note

if TYPE_CHECKING:
    from vloc_ros.datasets.posed_files import PosedFiles

# name of the option -> metavar, help
_OPTIONS = {
    "colmap": ("MODEL", "COLMAP model, a folder as sparse/0 with cameras and images, text or binary"),
    "transforms": ("JSON", "transforms.json of nerfstudio or instant-ngp"),
    "kitti": ("POSES", "KITTI odometry poses such as poses/04.txt; --images is sequences/04/image_2, below calib.txt"),
    "euroc": ("MAV0", "EuRoC folder mav0, or its csv of ground truth; --images is mav0/cam0/data, below sensor.yaml"),
}
POSE_SOURCES = tuple(_OPTIONS)
# sequences at the rate of the camera, of which a map takes keyframes
_SEQUENCES = ("kitti", "euroc")
# of which nothing says that their lengths are metres
_OF_ANY_SCALE = ("colmap", "transforms")


def add_pose_sources(parser: argparse._ActionsContainer, *names: str) -> None:
    """The options of these names, or all."""
    for name in names or _OPTIONS:
        metavar, text = _OPTIONS[name]
        parser.add_argument(f"--{name}", type=Path, metavar=metavar, help=text)


def pose_source(args: argparse.Namespace) -> str:
    """The option that is given; empty without any."""
    return next((name for name in _OPTIONS if getattr(args, name, None) is not None), "")


def read_posed_files(args: argparse.Namespace, *, keyframes: bool) -> PosedFiles:
    """The images of --images that have a pose by the option that is given; what is left out is said.

    Args:
        args: with one of the options; --camera takes the place of the source's calibration.
        keyframes: whether of a sequence only images between which the camera moved are taken.
    """
    from dataclasses import replace
    from functools import partial

    from vloc_ros.datasets import posed_files

    name = pose_source(args)
    read = {
        "colmap": posed_files.read_colmap_files,
        "transforms": posed_files.read_transforms_files,
        "kitti": posed_files.read_kitti_files,
        "euroc": partial(posed_files.read_euroc_files, largest_gap_ns=largest_gap_ns(args)),
    }[name]
    source = getattr(args, name)
    found = read(source, args.images, camera=read_given_camera(args))
    if found.without_pose:
        note(f"{found.without_pose} images in {args.images} have no pose in {source} and are left out")
    if found.without_image:
        note(f"{found.without_image} poses in {source} have no image in {args.images} and are left out")
    if not (keyframes and name in _SEQUENCES):
        return found
    chosen = posed_files.select_keyframes(found.files)
    if len(chosen) < len(found.files):
        note(f"{len(chosen)} of {len(found.files)} images are keyframes: the camera moved between them")
    return replace(found, files=chosen)


def add_scale_unknown(parser: argparse._ActionsContainer, *, text: str) -> None:
    """`--scale-unknown`, with what it does."""
    parser.add_argument(
        "--scale-unknown",
        action="store_true",
        help="the lengths of the given poses are no metres, as in a COLMAP model that was never aligned: " + text,
    )


def check_scale_unknown(args: argparse.Namespace) -> None:
    """Refuse --scale-unknown without poses of a file.

    Raises:
        InputError: it is given, and they are not.
    """
    from vloc_ros.core.errors import InputError

    if args.scale_unknown and not (args.poses or pose_source(args)):
        raise InputError("--scale-unknown is for poses whose lengths are no metres, found none; leave it out")


def note_scale(args: argparse.Namespace) -> None:
    """Say that lengths are taken for metres where the source does not say so."""
    if assumed := assumed_scale(args):
        note(f"{assumed}; give --scale-unknown where they are not")


def assumed_scale(args: argparse.Namespace) -> str:
    """That lengths are taken for metres, of a source that does not say so; empty for others."""
    if args.scale_unknown or (source := pose_source(args)) not in _OF_ANY_SCALE:
        return ""
    return f"lengths in {getattr(args, source)} are taken for metres"
