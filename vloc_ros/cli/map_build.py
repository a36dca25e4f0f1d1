"""Build a map from images or a bag.

  vloc map build --images DIR --poses TUM --camera YAML --out MAP            poses are known and kept
  vloc map build --images DIR --camera YAML --structure sfm --out MAP        from images alone, scale unknown
  vloc map build --images DIR --poses TUM --camera YAML --structure sfm --out MAP
                                                 the poses are measurements, which the images correct
  vloc map build --bag BAG --image-topic T --odom-topic T --out MAP          the same with odometry; keyframes by motion
  vloc map build --bag BAG --image-topic T --gnss-topic T --imu-topic T --out MAP
                                                 odometry too, in a frame of east, north and up
  vloc map build --images DIR --camera YAML --positions TXT --out MAP
                                                 from images; measured positions give scale and frame
  vloc map build ... --extractor MODEL --out MAP                             keypoints by a learned model
  vloc map build ... --workers ray --out MAP     spread over the machines of a Ray cluster that `ray start` has started

Poses are rows of map_from_camera (optical frame): `IMAGE x y z qx qy qz qw`, or TUM's, which are paired by time with
images that are named by it, and else one by one in name order. The map appears when it is whole: an interrupted build
leaves none, or the one that was there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.image_folders import report_images_passed_over
from vloc_ros.cli.source_options import CALIBRATION, check_source_options
from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.config import InferenceConfig
    from vloc_ros.core.features.extractor_config import ExtractorConfig
    from vloc_ros.core.features.keypoint_model import KeypointModel
    from vloc_ros.core.map.landmark_map import LandmarkMap
    from vloc_ros.core.sources import PosedImage
    from vloc_ros.datasets.bag_images import CameraPath
    from vloc_ros.datasets.geodetic import Datum
    from vloc_ros.mapping.config import MappingConfig
    from vloc_ros.mapping.sfm.scale import ScaleSource
    from vloc_ros.mapping.workers import Workers

_ROOTSIFT = "rootsift"
_MOST_NAMED = 5
_MEASUREMENTS = ("positions", "gravity", "gnss_topic", "imu_topic")
_MAX_GNSS_STD_M = 1000.0
# by what the provenance of a map calls them
_CORRECTIONS = (
    (
        "distance_from_given_poses",
        "its cameras lie",
        " from the given poses; the covariance holds how the map lies in their frame",
    ),
    (
        "distance_from_positions",
        "its cameras lie",
        " from the measured positions; the covariance holds how the map lies in their frame",
    ),
    ("drift_of_odometry", "the images correct odometry by", ", where it agrees best with them"),
)


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of jpg or png images")
    source.add_argument("--bag", type=Path, metavar="BAG", help="rosbag2 or MCAP with image, camera_info and odometry")
    parser.add_argument("--poses", type=Path, metavar="TUM", help="map_from_camera of every image")
    parser.add_argument(
        "--poses-drift",
        action="store_true",
        help="the poses of --poses are of odometry: good over short distances only; they are measurements then",
    )
    parser.add_argument(
        "--camera", type=Path, metavar="FILE", help=f"{CALIBRATION}; with --bag it takes the place of the bag's"
    )
    parser.add_argument("--image-topic", metavar="TOPIC", help="of the bag; needed where it holds several")
    parser.add_argument("--camera-info-topic", metavar="TOPIC", help="of the bag; beside the image topic by default")
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
    from vloc_ros.storage.maps import map_bytes, write_map

    end_on_sigterm()  # again: pycolmap is imported now
    check_source_options(args, of_images=("poses", "poses_drift", "distance"))
    out = map_at(args.out)
    keypoint_model, extractor = read_extractor(args.extractor)
    config = _config(args, extractor)
    source = _read_bag(args) if args.bag else _read_folder(args)
    scale = _scale(args, source.camera_path)
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
    if source.datum is not None:
        landmark_map = replace(landmark_map, provenance={**landmark_map.provenance, "datum": asdict(source.datum)})
    write_map(landmark_map, args.out)
    print(_summary(landmark_map, len(source.images), config.calibration_gap_m))
    print(f"{out} ({map_bytes(args.out) / 1e6:.2f} MB)")
    return 0


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
    config = mapping_config_from(values, extractor=extractor)
    return config if args.workers is None else replace(config, inference=_one_thread(config.inference))


def _one_thread(inference: InferenceConfig) -> InferenceConfig:
    """What a network runs on in a worker that has one processor."""
    from vloc_ros.core.errors import ConfigError
    from vloc_ros.inference.engines import ON_CPU

    if inference.provider != ON_CPU.provider or inference.threads > 1:
        raise ConfigError(
            f"--workers ray with inference.provider={inference.provider} and inference.threads={inference.threads}, "
            f"expected {ON_CPU.provider} and one thread: each worker has one processor; leave these out"
        )
    return replace(inference, threads=1)


def _scale(args: argparse.Namespace, camera_path: CameraPath | None) -> ScaleSource | None:
    """None keeps the given poses; otherwise what gives a reconstruction its scale."""
    from vloc_ros.core.errors import InputError
    from vloc_ros.mapping.sfm.scale import UNKNOWN_SCALE, GivenPoses, KnownDistance, MeasuredPositions

    has_poses = args.poses is not None or args.bag is not None
    measured = [name for name in _MEASUREMENTS if getattr(args, name) is not None]
    if args.poses_drift and (args.poses is None or args.structure == "given"):
        raise InputError("--poses-drift is for --poses that are not kept; give --poses, without --structure given")
    kept = (args.pose_topic or (args.poses and not args.poses_drift)) and not measured
    structure = args.structure or ("given" if kept else "sfm")
    if structure == "given" and not has_poses:
        raise InputError("--structure given needs poses; give --poses, or build with --structure sfm")
    if (args.pose_topic or (args.poses and not args.poses_drift)) and (args.positions or args.gnss_topic):
        raise InputError(
            "positions and poses would give the map a frame each; leave one of them out, or give the poses as odometry "
            "(--poses-drift, --odom-topic)"
        )
    if structure == "given" and measured:
        raise InputError(
            f"--{measured[0].replace('_', '-')} corrects poses, --structure given keeps them; leave one out"
        )
    if args.distance and (has_poses or args.positions or structure == "given"):
        raise InputError("--distance is for images without poses and positions; leave them out, or --distance")
    if structure == "given":
        return None
    if args.distance:
        try:
            return KnownDistance(args.distance[0], args.distance[1], float(args.distance[2]))
        except ValueError as error:
            raise InputError(f"--distance ends with {args.distance[2]!r}, expected metres") from error
    if has_poses:
        return GivenPoses(args.poses_drift or (args.bag is not None and args.pose_topic is None), camera_path)
    return MeasuredPositions() if args.positions else UNKNOWN_SCALE


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """Images to build a map from, where the camera was at any time, and the origin of their positions on Earth."""

    images: Sequence[PosedImage]
    camera_path: CameraPath | None = None
    datum: Datum | None = None


def _read_folder(args: argparse.Namespace) -> _Source:
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.image_folders import list_posed_images
    from vloc_ros.datasets.image_measurements import with_gravity, with_positions
    from vloc_ros.storage.cameras import read_camera

    if args.camera is None:
        raise InputError("--images without --camera: the calibration is missing; give its camera_info YAML")
    if args.gnss_topic or args.imu_topic:
        raise InputError("--gnss-topic and --imu-topic are for --bag; give --positions and --gravity with --images")
    if args.datum or args.gnss_std:
        raise InputError("--datum and --gnss-std are for --bag with --gnss-topic; leave them out with --images")
    report_images_passed_over(args.images)
    images = list_posed_images(args.images, read_camera(args.camera), poses_file=args.poses)
    if args.positions is not None:
        images = with_positions(images, args.positions)
    return _Source(images if args.gravity is None else with_gravity(images, args.gravity))


def _read_bag(args: argparse.Namespace) -> _Source:
    from vloc_ros.bags.reading import TF
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.bag_images import read_bag_keyframes
    from vloc_ros.storage.cameras import read_camera

    if args.positions or args.gravity:
        raise InputError("--positions and --gravity are for --images; give --gnss-topic and --imu-topic with --bag")
    if (args.datum or args.gnss_std) and not args.gnss_topic:
        raise InputError("--datum and --gnss-std are for --gnss-topic; give the topic, or leave them out")
    if args.datum and not (abs(args.datum[0]) <= 90.0 and abs(args.datum[1]) <= 180.0 and abs(args.datum[2]) < 1e5):
        given = " ".join(f"{value:g}" for value in args.datum)
        raise InputError(f"--datum is {given}, expected latitude and longitude in degrees and altitude in metres")
    if args.gnss_std is not None and not 0.0 < args.gnss_std <= _MAX_GNSS_STD_M:
        raise InputError(f"--gnss-std is {args.gnss_std:g}, expected metres, more than 0 and up to {_MAX_GNSS_STD_M:g}")
    keyframes = read_bag_keyframes(
        args.bag,
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        rectified=args.rectified,
        camera=read_camera(args.camera) if args.camera else None,
        tf_topic=args.tf_topic or TF,
        odom_topic=args.odom_topic,
        pose_topic=args.pose_topic,
        base_frame=args.base_frame,
        progress=bar,
    )
    return _with_measurements(args, _Source(keyframes.images, keyframes.camera_path), keyframes.camera_frame)


def _with_measurements(args: argparse.Namespace, source: _Source, camera_frame: str) -> _Source:
    if not (args.gnss_topic or args.imu_topic):
        return source
    from vloc_ros.bags.reading import TF
    from vloc_ros.datasets.bag_measurements import with_bag_gravity, with_bag_positions
    from vloc_ros.datasets.geodetic import Datum

    images, datum, tf_topic = source.images, None, args.tf_topic or TF
    if args.gnss_topic:
        origin = Datum(*args.datum) if args.datum else None
        images, datum = with_bag_positions(
            images, args.bag, args.gnss_topic, camera_frame, datum=origin, std_m=args.gnss_std, tf_topic=tf_topic
        )
    if args.imu_topic:
        images = with_bag_gravity(images, args.bag, args.imu_topic, camera_frame, tf_topic=tf_topic)
    return replace(source, images=images, datum=datum)


def _covariance(landmark_map: LandmarkMap, gap_m: float) -> str:
    """What it was calibrated on; in a good map most of the left-out images are localized."""
    from vloc_ros.mapping.maps.calibration import MIN_SAMPLES, count_localized
    from vloc_ros.mapping.maps.checked_build import LIKELY_CAUSES, USUALLY_LOCALIZED

    calibration, images = landmark_map.scene().calibration, len(landmark_map.keyframes)
    uncalibrated = "covariance NOT calibrated, a typical scale is used"
    if gap_m <= 0:
        return f"{uncalibrated}: switched off by calibration_gap_m=0"
    if images < MIN_SAMPLES:
        return f"{uncalibrated}: {images} images are too few to leave any out, {MIN_SAMPLES} are needed"
    left_out = count_localized(landmark_map.keyframes.translations, gap_m)
    if not calibration.samples:
        return f"{uncalibrated}: fewer than {MIN_SAMPLES} of {left_out} left-out images were localized; {LIKELY_CAUSES}"
    localized = f"{calibration.samples} of {left_out} left-out images"
    line = f"covariance calibrated on {localized} (scale {calibration.scale:.2f})"
    return line if calibration.samples >= USUALLY_LOCALIZED * left_out else f"{line}: these are FEW; {LIKELY_CAUSES}"


def _accounted(landmark_map: LandmarkMap, images: int) -> str:
    """What became of every image."""
    from vloc_ros.core.map.keyframes import MIN_POINTS_SEEN

    few = int(landmark_map.keyframes.see_few_points.sum())
    left_out = landmark_map.provenance.get("images_left_out", [])
    parts = [f"{len(landmark_map.keyframes) - few} of {images} images see enough of the map to be localized in it"]
    if few:
        parts.append(f"{few} see fewer than {MIN_POINTS_SEEN} points, so that no image confirms their poses")
    if left_out:
        named = ", ".join(left_out[:_MOST_NAMED]) + (", ..." if len(left_out) > _MOST_NAMED else "")
        parts.append(f"{len(left_out)} left out, since they share too little with the others: {named}")
    return "; ".join(parts)


def _summary(landmark_map: LandmarkMap, images: int, gap_m: float) -> str:
    lines = [
        f"{len(landmark_map.points)} points in {len(landmark_map.landmarks)} landmarks",
        _accounted(landmark_map, images),
        _covariance(landmark_map, gap_m),
    ]
    for what, begins, ends in _CORRECTIONS:
        median_m = landmark_map.provenance.get(f"median_{what}_m")
        if median_m is not None:
            most_m = landmark_map.provenance[f"largest_{what}_m"]
            lines.append(f"{begins} {100 * median_m:.1f} cm (median; at most {100 * most_m:.1f} cm){ends}")
    offset_s = landmark_map.provenance.get("time_offset_s")
    if offset_s is not None:
        when = "later" if offset_s > 0 else "earlier"
        lines.append(f"the poses are stamped {1000 * abs(offset_s):.0f} ms {when} than the images")
    if not landmark_map.metric:
        lines.append("the scale is unknown: lengths are not metres; `vloc map align` gives the map scale and frame")
    return "\n".join(lines)
