"""Options that go with one kind of source only: given with the other, they are refused, not passed over."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

CALIBRATION = "calibration: ROS camera_info, or of Kalibr, OpenCV, ORB-SLAM or COLMAP; FILE#NAME is one of several"
OF_BAG = (
    *("image_topic", "camera_info_topic", "rectified", "tf_topic", "base_frame", "odom_frame", "odom_topic"),
    *("pose_topic", "truth_topic", "live"),
)


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


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
