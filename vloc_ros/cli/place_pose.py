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

"""Where may a moving camera be in a map of LiDAR places? By the cloud of its own last images.

  vloc place pose --map MAP --images DIR --camera FILE --odometry TUM --json FILE
  vloc place pose --map MAP --images DIR --camera FILE --odometry TUM --truth TUM --every 5

The images are of one drive, and --odometry has the pose of the camera's optical frame of each, in a frame whose z axis
points up: `vloc bag images` writes both. Poses are paired with images by time or name, as those of `vloc map build`;
what has no counterpart is left out, and named. Each image is localized by itself and those before it, without a
prior. What is printed are hypotheses, best first: no decision accepts or refuses them, and a camera in
another place gets some too. Support is the share of the camera's points that lie on surfaces of the map; the margin,
by how much that of the best other pose is less. With --truth the errors of the best are summarized.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.source_options import CALIBRATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.localization.camera_cloud_search import CameraHypothesis

_SHOWN = 3


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--map", type=Path, required=True, metavar="MAP", help="map with LiDAR places")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="images of one drive")
    parser.add_argument("--camera", type=Path, required=True, metavar="FILE", help=CALIBRATION)
    parser.add_argument(
        "--odometry", type=Path, required=True, metavar="TUM", help="poses of the camera at the images, z axis up"
    )
    parser.add_argument(
        "--reach", type=float, default=1.0, metavar="M", help="from the camera to the next place at most (default: 1)"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every which image (default: 1)")
    parser.add_argument(
        "--truth", type=Path, metavar="TUM", help="true poses of the camera in the map, to compare with"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the hypotheses as JSON")


def run(args: argparse.Namespace) -> int:
    """Search and print."""
    import json

    from vloc_ros.assembly import build_camera_cloud_search
    from vloc_ros.evaluation.camera_hypotheses import find_poses, summarize_errors
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.cameras import read_camera
    from vloc_ros.storage.maps import read_map

    paths, odometry, truth = _read_drive(args)
    chosen, rows, best = range(args.every - 1, len(paths), args.every), list[dict[str, Any]](), list[Any]()
    camera, (search, stereo) = read_camera(args.camera), build_camera_cloud_search(read_map(args.map))
    for number, found, reason in find_poses(search, stereo, paths, camera, odometry, reach_m=args.reach, chosen=chosen):
        print(f"{paths[number].name}  {reason}".rstrip())
        rows.append(
            {"image": paths[number].name, "reason": reason, "hypotheses": [_row(one) for one in found[:_SHOWN]]}
        )
        best.append(found[0].map_from_camera if found else None)
        for one in found[:_SHOWN]:
            x, y, z = one.map_from_camera.translation.round(2)
            print(f"  {one.frame_id} {x} {y} {z} m, support {one.support:.1%}, margin {one.margin:+.1%}")
    known = [row for row, k in enumerate(chosen) if truth[k] is not None]
    if known:
        print(
            json.dumps(summarize_errors([best[row] for row in known], [truth[chosen[row]] for row in known]), indent=1)
        )
    if args.json:
        write_bytes_atomically(args.json, (json.dumps(rows, indent=1) + "\n").encode())
    return 0


def _read_drive(args: argparse.Namespace) -> tuple[Sequence[Path], Sequence[Pose], list[Any]]:
    """The images in the order of time, the pose of each by odometry, and its true pose or None."""
    import math

    from vloc_ros.cli.pose_sources import note
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.moving_camera import read_moving_images, read_true_poses

    if args.every < 1 or not 0 < args.reach < math.inf:
        raise InputError(f"--every {args.every}, --reach {args.reach:g}: expected 1 at least, and more than 0 m")
    drive = read_moving_images(args.images, args.odometry)
    count, notes, truth = len(drive.paths), list(drive.notes), list[Any]()
    if args.every > count:
        raise InputError(f"--every {args.every} leaves none of {count} images; expected {count} at most")
    if args.truth:
        truth, missing = read_true_poses(drive.paths, args.truth)
        notes += [missing] if missing else []
        if all(pose is None for pose in truth[args.every - 1 :: args.every]):
            raise InputError(f"{args.truth}: has a pose of no image that is localized; give another --every")
    for text in notes:
        note(text)
    return drive.paths, drive.odom_from_camera, truth or [None] * count


def _row(one: CameraHypothesis) -> dict[str, Any]:
    return {
        "frame_id": one.frame_id,
        "map_from_camera": [*one.map_from_camera.translation.tolist(), *one.map_from_camera.quaternion.tolist()],
        "support": one.support,
        "margin": one.margin,
        "points": one.points,
    }
