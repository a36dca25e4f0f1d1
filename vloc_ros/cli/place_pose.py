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

"""Where is a moving camera in a map of LiDAR places? By the clouds of its own last images.

  vloc place pose --map MAP --images DIR --camera FILE --odometry TUM --out RESULTS --json FILE
  vloc place pose --map MAP --images DIR --camera FILE --odometry TUM --truth TUM --overlays DIR

The images are of one drive, and --odometry has the pose of the camera's optical frame of each, in a frame whose z axis
points up: `vloc bag images` writes both. Poses are paired with images by time, by name or by KITTI's row number, as
those of `vloc map build`; what time leaves without a counterpart is left out, and named. A cloud is made every few
metres, or of every image that --every says. It is localized together with up to three clouds before it, as odometry
holds them together, without a prior. Its pose is accepted, with a covariance, or refused with a reason, by a decision
that was fitted in simulated worlds; the first cloud, alone, seldom is. Where two accepted poses contradict each other
by odometry, the drive is refused. RESULTS has poses.txt and results.jsonl as those of `vloc localize`; --json has the
drive and the hypotheses too. --overlays draws the map's points into each image that has a hypothesis, and scores
whether it fits there better than 10 degrees or 0.3 m away. With --truth the errors of the best hypotheses and of the
accepted poses are summarized.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.source_options import CALIBRATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vloc_ros.core.clouds.motion_stereo import MotionStereo
    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
    from vloc_ros.core.localization.camera_cloud_search import CameraCloudSearch
    from vloc_ros.core.localization.result import LocalizationResult
    from vloc_ros.evaluation.camera_drives import LocatedCamera

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
    parser.add_argument(
        "--reach-up", type=float, default=0.5, metavar="M", help="vertically, to the next place at most (default: 0.5)"
    )
    parser.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="make a cloud at every N-th image (default: where the last one has ended)",
    )
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
    parser.add_argument(
        "--yaw-std",
        type=float,
        default=0.1,
        metavar="DEG",
        help="standard deviation of odometry's yaw after one metre, degrees (default: 0.1)",
    )
    parser.add_argument(
        "--focal-std",
        type=float,
        default=0.003,
        metavar="SHARE",
        help="standard deviation of the relative error of the focal length (default: 0.003)",
    )
    parser.add_argument(
        "--extrinsics-std",
        type=float,
        default=0.2,
        metavar="DEG",
        help="standard deviation of the rotation between the camera and odometry, about each axis, degrees "
        "(default: 0.2)",
    )
    parser.add_argument("--out", type=Path, metavar="RESULTS", help="folder to write: poses.txt and results.jsonl")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results and hypotheses as JSON")
    parser.add_argument("--overlays", type=Path, metavar="DIR", help="folder to write images with the map's points to")


def run(args: argparse.Namespace) -> int:
    """Search, decide and print."""
    import json
    import math
    from dataclasses import replace

    from vloc_ros.assembly import build_camera_drive_search
    from vloc_ros.cli.outputs import results_at
    from vloc_ros.core.config import LocalizerConfig
    from vloc_ros.core.localization.camera_errors import CameraErrors
    from vloc_ros.evaluation.camera_drives import LocatedCamera, find_poses, settle_drive
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.cameras import read_camera
    from vloc_ros.storage.maps import read_map
    from vloc_ros.storage.results import ResultRecord, write_results

    paths, odometry, truth = _read_drive(args)
    out, camera = results_at(args.out) if args.out else "", read_camera(args.camera)
    errors = CameraErrors(
        scale_std=args.scale_std,
        yaw_std_rad=math.radians(args.yaw_std),
        focal_std=args.focal_std,
        extrinsics_std_rad=math.radians(args.extrinsics_std),
    )
    search, stereo = build_camera_drive_search(LocalizerConfig(), read_map(args.map), errors=errors)
    chosen = _choose(args, odometry, truth, stereo)
    rows, located = list[dict[str, Any]](), list[LocatedCamera]()
    reach = {"reach_m": args.reach, "reach_up_m": args.reach_up}
    for one in find_poses(search, stereo, paths, camera, odometry, chosen=chosen, **reach):
        path = paths[one.number]
        row = _print(path.name, one)
        if args.overlays and one.hypotheses:
            drawn = args.overlays / f"{path.name}.png"
            row["overlay_score"] = _draw(drawn, search.of_clouds, camera, one, far_m=stereo.farthest_m)
        rows.append(row)
        located.append(replace(one, image=one.image[:0]))  # those of a long drive would fill the memory
    results, of_drive = settle_drive(located, odometry, errors=errors)
    for row, result in zip(rows, results, strict=True):
        row |= _decision(result)
    accepted = sum(result.ok for result in results)
    print(f"drive  {_describe(of_drive)}")
    print(f"{accepted} of {len(results)} images localized{f'; poses.txt and results.jsonl {out}' if out else ''}")
    _print_errors(located, results, truth)
    if args.out:
        names = [paths[one.number].name for one in located]
        write_results(args.out, [ResultRecord(name, None, r) for name, r in zip(names, results, strict=True)])
    if args.json:
        whole = {"drive": _decision(of_drive), "images": rows}
        write_bytes_atomically(args.json, (json.dumps(whole, indent=1) + "\n").encode())
    return 0


def _choose(
    args: argparse.Namespace, odometry: Sequence[Pose], truth: Sequence[Pose | None], stereo: MotionStereo
) -> Sequence[int]:
    from vloc_ros.core.errors import InputError
    from vloc_ros.evaluation.camera_drives import choose_images

    chosen = range(args.every - 1, len(odometry), args.every) if args.every else choose_images(odometry, stereo)
    if not chosen:
        raise InputError(
            f"{args.odometry}: the camera moves less than half of {stereo.path_m:g} m, the path of a cloud; give the "
            "whole drive, or --every"
        )
    _check_truth(args, truth, chosen)
    return chosen


def _check_truth(args: argparse.Namespace, truth: Sequence[Pose | None], chosen: Sequence[int]) -> None:
    from vloc_ros.core.errors import InputError

    if args.truth and all(truth[number] is None for number in chosen):
        raise InputError(f"{args.truth}: has a pose of no image that is localized; give another --every")


def _print_errors(
    located: Sequence[LocatedCamera], results: Sequence[LocalizationResult], truth: Sequence[Pose | None]
) -> None:
    import json

    from vloc_ros.evaluation.camera_hypotheses import summarize_errors, summarize_results

    known = [(one, result, pose) for one, result in zip(located, results, strict=True) if (pose := truth[one.number])]
    if not known:
        return
    best = [one.hypotheses[0].map_from_camera if one.hypotheses else None for one, _, _ in known]
    true = [pose for _, _, pose in known]
    summary = {"best hypotheses": summarize_errors(best, true)}
    print(json.dumps(summary | {"accepted": summarize_results([result for _, result, _ in known], true)}, indent=1))


def _read_drive(args: argparse.Namespace) -> tuple[Sequence[Path], Sequence[Pose], list[Any]]:
    """The images in the order of time, the pose of each by odometry, and its true pose or None."""
    from vloc_ros.cli.source_options import note
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.moving_camera import read_moving_images, read_true_poses

    _check(args)
    drive = read_moving_images(args.images, args.odometry, z_is_up=args.z_is_up)
    count, notes, truth = len(drive.paths), list(drive.notes), list[Any]()
    if args.every and args.every > count:
        raise InputError(f"--every {args.every} leaves none of {count} images; expected {count} at most")
    if args.truth:
        truth, missing = read_true_poses(drive.paths, args.truth)
        notes += [missing] if missing else []
        if args.every:
            _check_truth(args, truth, range(args.every - 1, count, args.every))
    for text in notes:
        note(text)
    return drive.paths, drive.odom_from_camera, truth or [None] * count


def _check(args: argparse.Namespace) -> None:
    import math

    from vloc_ros.core.errors import InputError

    if args.every is not None and args.every < 1:
        raise InputError(f"--every {args.every}: expected 1 at least, for every image")
    if not 0 < args.reach < math.inf:
        raise InputError(f"--reach {args.reach:g}: expected more than 0 m, such as 1")
    if not 0 <= args.reach_up < math.inf:
        raise InputError(f"--reach-up {args.reach_up:g}: expected 0 m or more, such as 0.5")
    for option, degrees in (("--yaw-std", args.yaw_std), ("--extrinsics-std", args.extrinsics_std)):
        if not 0 <= degrees < 90:
            raise InputError(f"{option} {degrees:g}: expected 0 degrees or more, such as 0.1")
    for option, share in (("--scale-std", args.scale_std), ("--focal-std", args.focal_std)):
        if not 0 <= share < 1:
            raise InputError(f"{option} {share:g}: expected a share from 0 to 1, such as 0.01 for one percent")
    if args.overlays and args.overlays.resolve() == args.images.resolve():
        raise InputError(f"--overlays {args.overlays}: holds the images, which they would replace; name another folder")


def _print(name: str, one: LocatedCamera) -> dict[str, Any]:
    """A line of an image, those of its hypotheses, and its row of the JSON file."""
    of = "" if one.clouds < 2 else f" by {one.clouds} clouds"
    print(f"{name}{of}  {_describe(one.result)}")
    for hypothesis in one.hypotheses[:_SHOWN]:
        x, y, z = hypothesis.map_from_camera.translation.round(2)
        evidence = hypothesis.evidence
        print(f"  {hypothesis.frame_id} {x} {y} {z} m, strength {evidence.strength:.1%}, margin {evidence.margin:+.1%}")
    return {
        "image": name,
        "clouds": one.clouds,
        **_decision(one.result),
        "alone": _decision(one.alone),
        "hypotheses": [_row(hypothesis) for hypothesis in one.hypotheses[:_SHOWN]],
    }


def _describe(result: LocalizationResult) -> str:
    from vloc_ros.core.localization.pose_estimation import largest_position_std

    if result.map_from_rig is None or result.covariance is None:
        return f"{result.status.value}: {result.reason}"
    x, y, z = result.map_from_rig.translation.round(2)
    std_m = largest_position_std(result.covariance)
    return f"ok: {result.frame_id} {x} {y} {z} +- {std_m:.2f} m, confidence {result.confidence:.1%}"


def _decision(result: LocalizationResult) -> dict[str, Any]:
    pose = result.map_from_rig
    return {
        "status": result.status.value,
        "reason": result.reason,
        "confidence": result.confidence,
        "frame_id": result.frame_id,
        "map_from_camera": None if pose is None else [*pose.translation.tolist(), *pose.quaternion.tolist()],
        "covariance": None if result.covariance is None else result.covariance.tolist(),
    }


def _draw(path: Path, search: CameraCloudSearch, camera: Camera, one: LocatedCamera, *, far_m: float) -> float:
    """Write the overlay of the best hypothesis, print its score and return it."""
    import cv2

    from vloc_ros.core.clouds.lidar_overlay import draw_lidar_overlay
    from vloc_ros.core.localization.camera_cloud_search import MISFIT
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
    import dataclasses

    return {
        "frame_id": one.frame_id,
        "map_from_camera": [*one.map_from_camera.translation.tolist(), *one.map_from_camera.quaternion.tolist()],
        **dataclasses.asdict(one.evidence),
        "points": one.points,
    }
