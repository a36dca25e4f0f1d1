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

"""Options that go with one kind of source only: given with the other, they are refused, not passed over."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

CALIBRATION = "calibration: ROS camera_info, or of Kalibr, OpenCV, ORB-SLAM or COLMAP; FILE#NAME is one of several"
OF_BAG = (
    *("image_topic", "camera_info_topic", "rectified", "tf_topic", "base_frame", "odom_frame", "odom_topic"),
    *("pose_topic", "truth_topic", "live", "rig_window"),
)
# what --max-time-difference goes with: poses of other times than the images', which are interpolated, or paired
_TIMED_POSES = ("bag", "euroc")
_MOST_SECONDS = 3600


def check_source_options(args: argparse.Namespace, *, of_images: Sequence[str] = ()) -> None:
    """Refuse what goes with --bag beside --images, and the other way round.

    Args:
        args: of a command with --images and --bag.
        of_images: names of its options that go with --images only.

    Raises:
        InputError: one is given, or --camera and what says where in the bag the calibration is.
    """
    from vloc_ros.core.errors import InputError

    names, needed, found = (of_images, "--images", "--bag") if args.bag else (OF_BAG, "--bag", "--images")
    given = [name for name in names if getattr(args, name, None) not in (None, False)]
    if given:
        raise InputError(f"{_option(given[0])} goes with {needed}, found {found}; leave it out")
    if not (args.bag and getattr(args, "camera", None)):
        return
    for name in ("camera_info_topic", "rectified"):
        if getattr(args, name):
            raise InputError(
                f"--camera takes the place of the bag's camera_info, found {_option(name)} too; leave one of them out"
            )
    if getattr(args, "live", False):
        raise InputError("--camera takes the place of camera_info, which --live plays to the nodes; leave one out")


def add_max_time_difference(parser: argparse._ActionsContainer, *, text: str) -> None:
    """`--max-time-difference`, see `largest_gap_ns`."""
    parser.add_argument("--max-time-difference", type=float, metavar="SECONDS", help=text)


def check_max_time_difference(args: argparse.Namespace, *, also: Sequence[str] = ()) -> None:
    """Refuse a value that is no time, or that nothing would use.

    Raises:
        InputError: it is negative or large, or the poses are those of the images themselves.
    """
    from vloc_ros.core.errors import InputError

    if args.max_time_difference is None:
        return
    names = [name for name in (*_TIMED_POSES, *also) if hasattr(args, name)]
    if not any(getattr(args, name, None) for name in names):
        listed = " or ".join(map(_option, names))
        raise InputError(f"--max-time-difference goes with {listed}, found none of them; leave it out")
    if not 0 <= args.max_time_difference <= _MOST_SECONDS:
        raise InputError(
            f"--max-time-difference is {args.max_time_difference:g}, expected 0 to {_MOST_SECONDS} seconds"
        )


def largest_gap_ns(args: argparse.Namespace) -> int:
    """Between the poses before and after an image, between which its own is interpolated."""
    from vloc_ros.storage.trajectories import LARGEST_GAP_NS

    given = args.max_time_difference
    return LARGEST_GAP_NS if given is None else round(1e9 * given)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def note(text: str) -> None:
    """Say something on stderr that is no error."""
    print(f"vloc: note: {text}", file=sys.stderr)
