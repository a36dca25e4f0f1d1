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

"""Build a map from images or a bag.

  vloc map build --images DIR --poses TUM --camera YAML --out MAP            poses are known and kept
  vloc map build --images DIR --camera YAML --structure sfm --out MAP        from images alone, scale unknown
  vloc map build --images DIR --poses TUM --camera YAML --structure sfm --out MAP
                                                 the poses are measurements, which the images correct
  vloc map build --bag BAG --image-topic T --odom-topic T --out MAP          the same with odometry; keyframes by motion
  vloc map build --bag BAG --image-topic FRONT --image-topic REAR --out MAP
                                                 the cameras of a rig, tied by its extrinsics
  vloc map build --bag BAG --image-topic T --gnss-topic T --imu-topic T --out MAP
                                                 odometry too, in a frame of east, north and up
  vloc map build --images DIR --camera YAML --positions TXT --out MAP
                                                 from images; measured positions give scale and frame
  vloc map build --images DIR --colmap MODEL --out MAP                       poses and calibration of a COLMAP model;
                                                 also --transforms JSON, --kitti POSES, --euroc MAV0
  vloc map build ... --extractor MODEL --out MAP                             keypoints by a learned model
  vloc map build ... --workers ray --out MAP     spread over the machines of a Ray cluster that `ray start` has started

Poses are rows of map_from_camera (optical frame): `IMAGE x y z qx qy qz qw`, or TUM's, which are paired by time with
images that are named by it, and else one by one in name order. Of KITTI and EuRoC, images between which the camera
moved or turned become keyframes, as of a bag. The map appears when it is whole: an interrupted build leaves none, or
the one that was there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.map_build_inputs import check_distance, read_source, scale_source
from vloc_ros.cli.map_build_summary import summarize
from vloc_ros.cli.pose_sources import POSE_SOURCES, add_pose_sources, add_scale_unknown, check_scale_unknown
from vloc_ros.cli.source_options import (
    CALIBRATION,
    add_max_time_difference,
    check_max_time_difference,
    check_source_options,
)
from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.config import InferenceConfig
    from vloc_ros.core.features.extractor_config import ExtractorConfig
    from vloc_ros.core.features.keypoint_model import KeypointModel
    from vloc_ros.core.sources import PosedImage
    from vloc_ros.mapping.config import MappingConfig
    from vloc_ros.mapping.workers import Workers
    from vloc_ros.storage.output_files import Output

_ROOTSIFT = "rootsift"
_OF_IMAGES = ("poses", *POSE_SOURCES, "scale_unknown", "poses_drift", "distance")


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of jpg or png images")
    source.add_argument("--bag", type=Path, metavar="BAG", help="rosbag2 or MCAP with image, camera_info and odometry")
    poses = parser.add_mutually_exclusive_group()
    poses.add_argument("--poses", type=Path, metavar="TUM", help="map_from_camera of every image")
    add_pose_sources(poses)
    add_scale_unknown(parser, text="the map records it")
    parser.add_argument(
        "--poses-drift",
        action="store_true",
        help="the poses of --poses are of odometry: good over short distances only; they are measurements then",
    )
    parser.add_argument(
        "--camera", type=Path, metavar="FILE", help=f"{CALIBRATION}; with --bag it takes the place of the bag's"
    )
    parser.add_argument(
        "--refine-calibration",
        type=Path,
        metavar="FILE",
        help="correct the calibration by what the images show, and write it there as camera_info YAML, for the queries",
    )
    parser.add_argument(
        "--image-topic",
        action="append",
        metavar="TOPIC",
        help="of the bag; needed where it holds several. Repeated for the cameras of a rig, of which the first one "
        "gives the keyframes",
    )
    parser.add_argument(
        "--camera-info-topic",
        action="append",
        metavar="TOPIC",
        help="of the bag; beside the image topic by default. Of a rig one for each image topic",
    )
    parser.add_argument(
        "--rig-window",
        type=float,
        metavar="SECONDS",
        help="largest difference of the stamps of images that a rig took together (default: 0.02)",
    )
    parser.add_argument(
        "--rectified", action="store_true", help="the bag's images are rectified: P of camera_info is their calibration"
    )
    parser.add_argument(
        "--tf-topic", metavar="TOPIC", help="of the bag: transforms; static ones on TOPIC_static (default: /tf)"
    )
    parser.add_argument("--odom-topic", metavar="TOPIC", help="nav_msgs/Odometry of the bag; TF odom→base by default")
    parser.add_argument("--pose-topic", metavar="TOPIC", help="poses of the base in the map; used in place of odometry")
    parser.add_argument(
        "--base-frame",
        metavar="FRAME",
        help="of the bag's TF: whose poses --pose-topic or --odom-topic holds, where its messages do not say so "
        "(default: base_link)",
    )
    add_max_time_difference(
        parser,
        text="of the poses before and after an image in a bag or EuRoC, between which its own is interpolated; others "
        "are left out (default: 0.2)",
    )
    parser.add_argument(
        "--positions",
        type=Path,
        metavar="TXT",
        help="measured positions of the cameras, rows of `IMAGE x y z std` in metres, z up: they give the frame",
    )
    parser.add_argument(
        "--gravity",
        type=Path,
        metavar="TXT",
        help="measured directions of gravity, rows of `IMAGE x y z std`: in the optical frame, std in degrees",
    )
    parser.add_argument(
        "--gnss-topic", metavar="TOPIC", help="sensor_msgs/NavSatFix of the bag: the map lies east, north and up of it"
    )
    parser.add_argument(
        "--gnss-std", type=float, metavar="METRES", help="of each coordinate; the messages' covariance by default"
    )
    parser.add_argument(
        "--gnss-correlation",
        type=float,
        metavar="SECONDS",
        help="time after which errors of --gnss-topic have become 1/e alike, such as 60 without corrections (default: "
        "0, each fix has an error of its own)",
    )
    parser.add_argument(
        "--datum",
        type=float,
        nargs=3,
        metavar=("LATITUDE", "LONGITUDE", "ALTITUDE"),
        help="origin of the map with --gnss-topic; the first fix by default",
    )
    parser.add_argument("--imu-topic", metavar="TOPIC", help="sensor_msgs/Imu of the bag: what is down")
    parser.add_argument(
        "--structure",
        choices=("given", "sfm"),
        help="given: keep the poses exactly; sfm: structure from motion, in which poses or odometry are measurements "
        "(default: given with --poses or --pose-topic and no gravity, else sfm)",
    )
    parser.add_argument(
        "--distance",
        nargs=3,
        metavar=("IMAGE", "IMAGE", "METRES"),
        help="with sfm and no poses: the distance between the cameras of two images",
    )
    parser.add_argument(
        "--extractor",
        default=_ROOTSIFT,
        metavar="rootsift|MODEL",
        help="keypoints: rootsift, or a model folder that `vloc model export` wrote, which the map then carries "
        "(default: %(default)s)",
    )
    parser.add_argument("--max-keypoints", type=int, metavar="N", help="per image; more for large images")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one parameter of mapping, such as vocabulary_words=16; repeatable; `vloc config` lists all",
    )
    parser.add_argument(
        "--workers",
        choices=("ray",),
        help="find and match keypoints, and calibrate, on the Ray cluster of RAY_ADDRESS, or else the one that this "
        "machine is part of. All who reach a cluster can run code on it (default: this machine alone, without Ray)",
    )
    parser.add_argument("--frame-id", default="map", metavar="NAME", help="ROS frame of the map: %(default)s")
    parser.add_argument("--name", metavar="NAME", help="for people; the folder's name by default")
    parser.add_argument(
        "--write-unverified",
        action="store_true",
        help="write the map even if it does not find its own left-out images, or wrong input explains them better",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="MAP", help="folder to write")


def run(args: argparse.Namespace) -> int:
    """Build and write."""
    from vloc_ros.cli.outputs import map_at
    from vloc_ros.cli.termination import end_on_sigterm
    from vloc_ros.mapping.maps.checked_build import build_checked_map, find_doubt
    from vloc_ros.storage.cameras import write_camera
    from vloc_ros.storage.maps import map_bytes, write_map

    end_on_sigterm()  # again: pycolmap is imported now
    check_source_options(args, of_images=_OF_IMAGES)
    check_max_time_difference(args)
    check_scale_unknown(args)
    out = map_at(args.out)
    keypoint_model, extractor = read_extractor(args.extractor)
    config = _config(args, extractor)
    source = read_source(args)
    scale = scale_source(args, source.camera_path)
    check_distance(args, source.images)
    calibration = _calibration_output(args, source.images)
    with _workers(args) as workers:
        landmark_map = build_checked_map(
            source.images,
            name=args.name or args.out.resolve().name,
            config=config,
            keypoint_model=keypoint_model,
            frame_id=args.frame_id,
            scale=scale,
            progress=bar,
            workers=workers,
        )
    doubt = find_doubt(landmark_map, source.images, config=config, keypoint_model=keypoint_model, progress=bar)
    _refuse(doubt, accepted=args.write_unverified)
    if args.scale_unknown:
        landmark_map = replace(landmark_map, metric=False)
    if source.datum is not None:
        landmark_map = replace(landmark_map, scenes=(replace(landmark_map.scene(), datum=source.datum),))
    write_map(landmark_map, args.out)
    print(summarize(landmark_map, len(source.images), config.calibration_gap_m))
    print(f"{out} ({map_bytes(args.out) / 1e6:.2f} MB)")
    if calibration is not None:
        write_camera(calibration.path, landmark_map.keyframes.cameras[0], name=landmark_map.name)
        print(calibration)
    return 0


def _calibration_output(args: argparse.Namespace, images: Sequence[PosedImage]) -> Output | None:
    """Where the refined calibration goes, which is checked before the work to be that of one camera."""
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.output_files import calibration_at

    if args.refine_calibration is None:
        return None
    cameras = len({image.camera for image in images})
    if cameras != 1:
        raise InputError(
            f"--refine-calibration writes one calibration, and the images have {cameras}; build with "
            "--set refine_calibration=true instead, and the map carries all of them"
        )
    return calibration_at(args.refine_calibration)


@contextmanager
def _workers(args: argparse.Namespace) -> Iterator[Workers]:
    """Who finds and matches keypoints."""
    from vloc_ros.cli.termination import end_on_sigterm
    from vloc_ros.mapping.workers import THIS_PROCESS

    if args.workers is None:
        yield THIS_PROCESS
        return
    from vloc_ros.mapping.ray_workers import connect_to_ray

    with connect_to_ray() as workers:
        end_on_sigterm()  # again: Ray has taken it
        yield workers


def _refuse(doubt: str, *, accepted: bool) -> None:
    """Nothing that looks like a map is left of wrong input, unless it is wanted all the same."""
    from vloc_ros.core.errors import MapError

    if doubt and not accepted:
        raise MapError(f"{doubt}; --write-unverified writes the map all the same")
    if doubt:
        print(f"vloc: warning: {doubt}", file=sys.stderr)


def read_extractor(name: str) -> tuple[KeypointModel | None, ExtractorConfig]:
    """The extractor that an option names, and its model where it is a network.

    Raises:
        ModelError: there is no such model, or it cannot be used.
    """
    from vloc_ros.core.errors import ModelError
    from vloc_ros.core.features.extractor_config import EXTRACTOR_CONFIGS, RootSiftConfig
    from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model

    if name == _ROOTSIFT:
        return None, RootSiftConfig()
    if not Path(name).exists() and name.partition("-")[0] in EXTRACTOR_CONFIGS:
        raise ModelError(
            f"--extractor {name}: there is no such folder, expected that of a model; run `vloc model export {name} "
            f"--out {name}`, then --extractor {name}"
        )
    keypoint_model = read_keypoint_model(Path(name))
    return keypoint_model, keypoint_model_config(keypoint_model)


def _config(args: argparse.Namespace, extractor: ExtractorConfig) -> MappingConfig:
    from vloc_ros.cli.localizer_options import assign_all
    from vloc_ros.mapping.config import mapping_config_from

    values: dict[str, Any] = {}
    if args.max_keypoints is not None:
        values["extractor"] = {"max_keypoints": args.max_keypoints}
    assign_all(values, args.set)
    if args.refine_calibration:
        values["refine_calibration"] = True
    config = mapping_config_from(values, extractor=extractor)
    return config if args.workers is None else replace(config, inference=_one_thread(config.inference))


def _one_thread(inference: InferenceConfig) -> InferenceConfig:
    """What a network runs on in a worker that has one processor."""
    from vloc_ros.core.errors import ConfigError
    from vloc_ros.inference.engines import ON_CPU

    if inference.engine != ON_CPU.engine or inference.provider != ON_CPU.provider or inference.threads > 1:
        raise ConfigError(
            f"--workers ray with inference.engine={inference.engine}, inference.provider={inference.provider} and "
            f"inference.threads={inference.threads}, expected {ON_CPU.engine}, {ON_CPU.provider} and one thread: each "
            "worker has one processor; leave these out"
        )
    return replace(inference, threads=1)
