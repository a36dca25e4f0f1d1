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

  vloc place pose --map MAP --images DIR --camera FILE --odometry TUM --out RESULTS --overlays DIR
  vloc place pose --map MAP --images DIR --camera FILE --odometry TUM --truth TUM --every 5

The images are of one drive, and --odometry has the pose of the camera's optical frame of each, in a frame whose z axis
points up: `vloc bag images` writes both. Poses are paired with images by time, by name or by KITTI's row number, as
those of `vloc map build`; what time leaves without a counterpart is left out, and named. Each image is localized by
itself and those before it, without a prior. Its pose is accepted, with a covariance, or refused with a reason, by a
decision that was fitted in simulated worlds and refuses most right poses. RESULTS has poses.txt and results.jsonl as
those of `vloc localize`; --json has the hypotheses too. --overlays draws the map's points into each image that has a
hypothesis, and scores whether it fits there better than 10 degrees or 0.3 m away. With --truth the errors of the best
hypotheses and of the accepted poses are summarized.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.source_options import CALIBRATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
    from vloc_ros.core.localization.camera_cloud_search import CameraCloudSearch
    from vloc_ros.evaluation.camera_hypotheses import LocatedCamera

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
        "--z-is-up", action="store_true", help="odometry's z axis points up, even if its poses look otherwise"
    )
    parser.add_argument(
        "--reach", type=float, default=1.0, metavar="M", help="from the camera to the next place at most (default: 1)"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every which image (default: 1)")
    parser.add_argument(
        "--truth", type=Path, metavar="TUM", help="true poses of the camera in the map, to compare with"
    )
    parser.add_argument(
        "--scale-std",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="standard deviation of the relative error of odometry's distances (default: 0.01)",
    )
    parser.add_argument("--out", type=Path, metavar="RESULTS", help="folder to write: poses.txt and results.jsonl")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results and hypotheses as JSON")
    parser.add_argument("--overlays", type=Path, metavar="DIR", help="folder to write images with the map's points to")


def run(args: argparse.Namespace) -> int:
    """Search, decide and print."""
    import json

    from vloc_ros.assembly import build_camera_cloud_search
    from vloc_ros.cli.outputs import results_at
    from vloc_ros.core.config import LocalizerConfig
    from vloc_ros.evaluation.camera_hypotheses import find_poses, summarize_errors, summarize_results
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.cameras import read_camera
    from vloc_ros.storage.maps import read_map
    from vloc_ros.storage.results import ResultRecord, write_results

    paths, odometry, truth = _read_drive(args)
    out = results_at(args.out) if args.out else ""
    chosen, camera = range(args.every - 1, len(paths), args.every), read_camera(args.camera)
    search, stereo = build_camera_cloud_search(LocalizerConfig(), read_map(args.map), scale_std=args.scale_std)
    rows, records, best = list[dict[str, Any]](), list[ResultRecord](), list[Any]()
    for one in find_poses(search, stereo, paths, camera, odometry, reach_m=args.reach, chosen=chosen):
        path = paths[one.number]
        row = _print(path.name, one)
        if args.overlays and one.hypotheses:
            drawn = args.overlays / f"{path.name}.png"
            row["overlay_score"] = _draw(drawn, search, camera, one, far_m=stereo.farthest_m)
        rows.append(row)
        records.append(ResultRecord(path.name, None, one.result))
        best.append(one.hypotheses[0].map_from_camera if one.hypotheses else None)
    accepted = sum(record.result.ok for record in records)
    print(f"{accepted} of {len(records)} images localized{f'; poses.txt and results.jsonl {out}' if out else ''}")
    known = [row for row, k in enumerate(chosen) if truth[k] is not None]
    if known:
        true = [truth[chosen[row]] for row in known]
        results = [records[row].result for row in known]
        summary = {"best hypotheses": summarize_errors([best[row] for row in known], true)}
        print(json.dumps(summary | {"accepted": summarize_results(results, true)}, indent=1))
    if args.out:
        write_results(args.out, records)
    if args.json:
        write_bytes_atomically(args.json, (json.dumps(rows, indent=1) + "\n").encode())
    return 0


def _read_drive(args: argparse.Namespace) -> tuple[Sequence[Path], Sequence[Pose], list[Any]]:
    """The images in the order of time, the pose of each by odometry, and its true pose or None."""
    from vloc_ros.cli.pose_sources import note
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.moving_camera import read_moving_images, read_true_poses

    _check(args)
    drive = read_moving_images(args.images, args.odometry, z_is_up=args.z_is_up)
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


def _check(args: argparse.Namespace) -> None:
    import math

    from vloc_ros.core.errors import InputError

    if args.every < 1:
        raise InputError(f"--every {args.every}: expected 1 at least, for every image")
    if not 0 < args.reach < math.inf:
        raise InputError(f"--reach {args.reach:g}: expected more than 0 m, such as 1")
    if not 0 <= args.scale_std < 1:
        raise InputError(f"--scale-std {args.scale_std:g}: expected a share from 0 to 1, such as 0.01 for one percent")
    if args.overlays and args.overlays.resolve() == args.images.resolve():
        raise InputError(f"--overlays {args.overlays}: holds the images, which they would replace; name another folder")


def _print(name: str, one: LocatedCamera) -> dict[str, Any]:
    """A line of an image, those of its hypotheses, and its row of the JSON file."""
    from vloc_ros.core.localization.pose_estimation import largest_position_std

    result = one.result
    if result.map_from_rig is not None and result.covariance is not None:
        x, y, z = result.map_from_rig.translation.round(2)
        std_m = largest_position_std(result.covariance)
        print(f"{name}  ok: {result.frame_id} {x} {y} {z} +- {std_m:.2f} m, confidence {result.confidence:.1%}")
    else:
        print(f"{name}  {result.status.value}: {result.reason}")
    for hypothesis in one.hypotheses[:_SHOWN]:
        x, y, z = hypothesis.map_from_camera.translation.round(2)
        evidence = hypothesis.evidence
        print(f"  {hypothesis.frame_id} {x} {y} {z} m, support {evidence.support:.1%}, margin {evidence.margin:+.1%}")
    return {
        "image": name,
        "status": result.status.value,
        "reason": result.reason,
        "confidence": result.confidence,
        "covariance": None if result.covariance is None else result.covariance.tolist(),
        "hypotheses": [_row(hypothesis) for hypothesis in one.hypotheses[:_SHOWN]],
    }


def _draw(path: Path, search: CameraCloudSearch, camera: Camera, one: LocatedCamera, *, far_m: float) -> float:
    """Write the overlay of the best hypothesis, print its score and return it."""
    import cv2

    from vloc_ros.core.localization.camera_cloud_search import MISFIT
    from vloc_ros.evaluation.lidar_overlay import draw_lidar_overlay
    from vloc_ros.storage.atomic import write_bytes_atomically

    best = one.hypotheses[0]
    score = search.check_pose(one.cloud, best.scene, best.map_from_camera)
    points = search.points_of(best.scene)
    drawn = draw_lidar_overlay(one.image, camera, best.scene_from_camera, points, far_m=far_m)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, cv2.imencode(".png", drawn)[1].tobytes())
    warning = "" if score > MISFIT else ": a pose beside this one fits as well"
    print(f"  {path.name}: {score:+.1%} closer to the map than 10 degrees or 0.3 m away{warning}")
    return score


def _row(one: CameraHypothesis) -> dict[str, Any]:
    from vloc_ros.core.localization.camera_cloud_evidence import CAMERA_EVIDENCE

    return {
        "frame_id": one.frame_id,
        "map_from_camera": [*one.map_from_camera.translation.tolist(), *one.map_from_camera.quaternion.tolist()],
        **{name: getattr(one.evidence, name) for name in CAMERA_EVIDENCE},
        "points": one.points,
    }
