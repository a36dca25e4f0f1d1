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

"""`--camera`, a calibration of the images; `--focal`, a focal length to start from; `--focal-px`, one that is known."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.source_options import CALIBRATION, note

if TYPE_CHECKING:
    from vloc_ros.core.geometry.camera import Camera

_KINDS = "ROS camera_info, Kalibr, OpenCV, ORB-SLAM or COLMAP"
_REFINED = "the calibration that `vloc map build --refine-calibration` writes is better"


def add_camera(parser: argparse._ActionsContainer, *, text: str = "") -> None:
    """Declare both, of which one may be given; `text` is what there is to say of `--camera`."""
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--camera", type=Path, metavar="FILE", help=f"{CALIBRATION}{text}")
    camera.add_argument(
        "--focal",
        type=float,
        metavar="PX",
        help="of images without calibration: their focal length in pixels; without distortion, so less accurate",
    )


def add_camera_or_focal_px(parser: argparse._ActionsContainer, *, required: bool, text: str = "") -> None:
    """Declare --camera and --focal-px, of which at most one is given; `text` is what there is to say of --camera."""
    camera = parser.add_mutually_exclusive_group(required=required)
    camera.add_argument("--camera", type=Path, metavar="FILE", help=f"{CALIBRATION}{text}")
    add_focal_px(camera, text="focal length of images without distortion")


def add_focal_px(parser: argparse._ActionsContainer, *, text: str) -> None:
    """Declare --focal-px, a focal length that is known; `text` says of what."""
    parser.add_argument("--focal-px", type=float, metavar="PIXELS", help=text)


def check_focal_px(args: argparse.Namespace) -> None:
    """Refuse a --focal-px that no camera has.

    Raises:
        InputError: it is given, and not a positive number of pixels.
    """
    from vloc_ros.core.errors import InputError

    if args.focal_px is not None and not 0 < args.focal_px < float("inf"):
        raise InputError(f"--focal-px is {args.focal_px:g}, expected more than 0 pixels")


def has_camera(args: argparse.Namespace) -> bool:
    """Whether one of them is given."""
    return args.camera is not None or args.focal is not None


def read_given_camera(args: argparse.Namespace, *, remedy: str = _REFINED) -> Camera | None:
    """The calibration of --camera, or a pinhole camera of --focal and the size of --images; None without either.

    Args:
        args: with the options of `add_camera`, and `images`, a folder.
        remedy: what is better than --focal; empty where nothing needs to be said.

    Raises:
        InputError: it cannot be read, or no camera has such a focal length.
    """
    from vloc_ros.storage.cameras import read_camera

    if args.camera is not None:
        return read_camera(args.camera)
    if args.focal is None:
        return None
    from vloc_ros.storage.images import list_images, read_first_size

    camera = make_pinhole(args.focal, *read_first_size(list_images(args.images)))
    if remedy:
        note(f"--focal leaves out distortion, and poses are less accurate than their covariance says; {remedy}")
    return camera


def make_pinhole(focal_px: float, width: int, height: int) -> Camera:
    """A camera without distortion, in the middle of its image; its parameters are those that can be refined.

    Raises:
        InputError: no camera with such images has this focal length.
    """
    from vloc_ros.core.errors import InputError
    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.storage.exif import focal_length_px

    widest, longest = 0.2 * max(width, height), 100.0 * max(width, height)
    if not widest <= focal_px <= longest:
        raise InputError(
            f"--focal is {focal_px:g} with images of {width}x{height}, expected pixels, {widest:.0f} to {longest:.0f}; "
            f"1 mm (35 mm equivalent) is {focal_length_px(1, width, height):.1f} of these"
        )
    return Camera("OPENCV", width, height, (focal_px, focal_px, width / 2, height / 2, 0.0, 0.0, 0.0, 0.0))


def explain_missing_camera(args: argparse.Namespace, given: str = "--images", *, then: str = "") -> str:
    """The message for images without a calibration: what may be given, and what the photographs state.

    Args:
        args: with `images`.
        given: the option that needs a calibration.
        then: what makes up for a focal length alone, in the words of the command.
    """
    from vloc_ros.core.errors import InputError

    start = f"or --focal PX{then}"
    with contextlib.suppress(InputError):  # what is wrong with the folder is said when it has a calibration
        start = _stated_focal_length(args.images, then)
    return f"{given} without --camera: the calibration is missing; give it ({_KINDS}), {start}"


def _stated_focal_length(folder: Path, then: str) -> str:
    """What the photographs' EXIF data come to."""
    from vloc_ros.storage.exif import focal_length_px, read_focal_lengths_35mm
    from vloc_ros.storage.images import list_images, read_first_size

    stated = read_focal_lengths_35mm(list_images(folder))
    lengths = sorted(set(stated.values()))
    if not lengths:
        return f"or --focal PX{then} (a phone's main camera has about 0.75 x the longer side; the images state none)"
    if len(lengths) > 1:
        listed = ", ".join(map(str, lengths))
        return (
            f"or --focal PX{then}, for photographs of one lens without zoom: these state {listed} mm (35 mm equivalent)"
        )
    focal_px = focal_length_px(lengths[0], *read_first_size(list(stated)))
    return f"or start from what the photographs state, {lengths[0]} mm (35 mm equivalent): --focal {focal_px:.0f}{then}"
