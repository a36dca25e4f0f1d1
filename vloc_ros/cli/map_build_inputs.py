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

"""What `vloc map build` builds from: images with whatever is known of each, and what gives the map its scale."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.camera_options import explain_missing_camera, has_camera, read_given_camera
from vloc_ros.cli.image_folders import report_images_passed_over
from vloc_ros.cli.pose_sources import note_scale, pose_source, read_posed_files
from vloc_ros.cli.source_options import largest_gap_ns, note
from vloc_ros.core.spelling import nearest_name
from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.core.geometry.geodetic import Datum
    from vloc_ros.core.sources import PosedImage
    from vloc_ros.datasets.bag_images import BagKeyframes, CameraPath
    from vloc_ros.mapping.sfm.scale import ScaleSource

_MEASUREMENTS = ("positions", "gravity", "gnss_topic", "imu_topic")
_MAX_GNSS_STD_M = 1000.0
_MAX_GNSS_CORRELATION_S = 86_400.0
_MAX_RIG_WINDOW_S = 1.0
_REFINE = " --refine-calibration FILE"


@dataclass(frozen=True, slots=True, eq=False)
class MapSource:
    """Images to build a map from, where the camera was at any time, and the origin of their positions on Earth."""

    images: Sequence[PosedImage]
    camera_path: CameraPath | None = None
    datum: Datum | None = None


def read_source(args: argparse.Namespace) -> MapSource:
    """The images of --images or --bag.

    Raises:
        InputError: they, or what goes with them, cannot be read, or options contradict each other.
    """
    return _read_bag(args) if args.bag else _read_folder(args)


def _read_folder(args: argparse.Namespace) -> MapSource:
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.image_folders import list_posed_images
    from vloc_ros.datasets.image_measurements import with_gravity, with_positions

    if not has_camera(args) and not pose_source(args):
        raise InputError(explain_missing_camera(args, then=_REFINE))
    if args.gnss_topic or args.imu_topic:
        raise InputError("--gnss-topic and --imu-topic are for --bag; give --positions and --gravity with --images")
    if args.datum or args.gnss_std or args.gnss_correlation:
        raise InputError(
            "--datum, --gnss-std and --gnss-correlation are for --bag with --gnss-topic; leave them out with --images"
        )
    if pose_source(args):
        note_scale(args)
        images = [file.to_map() for file in read_posed_files(args, keyframes=True).files]
    else:
        report_images_passed_over(args.images)
        images = list_posed_images(args.images, _camera(args), poses_file=args.poses)
    if args.positions is not None:
        images = with_positions(images, args.positions)
    return MapSource(images if args.gravity is None else with_gravity(images, args.gravity))


def _camera(args: argparse.Namespace) -> Camera:
    camera = read_given_camera(args, remedy="" if args.refine_calibration else "give --refine-calibration FILE too")
    assert camera is not None
    return camera


def _read_bag(args: argparse.Namespace) -> MapSource:
    from vloc_ros.bags.reading import TF
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.bag_images import read_bag_keyframes
    from vloc_ros.storage.cameras import read_camera

    topics = args.image_topic or []
    info_topics = args.camera_info_topic or []
    _check_rig(args)
    if args.positions or args.gravity:
        raise InputError("--positions and --gravity are for --images; give --gnss-topic and --imu-topic with --bag")
    if (args.datum or args.gnss_std or args.gnss_correlation) and not args.gnss_topic:
        raise InputError(
            "--datum, --gnss-std and --gnss-correlation are for --gnss-topic; give the topic, or leave them out"
        )
    if args.gnss_correlation is not None and not 0.0 <= args.gnss_correlation <= _MAX_GNSS_CORRELATION_S:
        raise InputError(
            f"--gnss-correlation is {args.gnss_correlation:g}, expected seconds from 0 to {_MAX_GNSS_CORRELATION_S:g}"
        )
    if args.datum and not (abs(args.datum[0]) <= 90.0 and abs(args.datum[1]) <= 180.0 and abs(args.datum[2]) < 1e5):
        given = " ".join(f"{value:g}" for value in args.datum)
        raise InputError(f"--datum is {given}, expected latitude and longitude in degrees and altitude in metres")
    if args.gnss_std is not None and not 0.0 < args.gnss_std <= _MAX_GNSS_STD_M:
        raise InputError(f"--gnss-std is {args.gnss_std:g}, expected metres, more than 0 and up to {_MAX_GNSS_STD_M:g}")
    keyframes = read_bag_keyframes(
        args.bag,
        image_topic=topics[0] if topics else None,
        camera_info_topic=info_topics[0] if info_topics else None,
        rectified=args.rectified,
        camera=read_camera(args.camera) if args.camera else None,
        tf_topic=args.tf_topic or TF,
        odom_topic=args.odom_topic,
        pose_topic=args.pose_topic,
        base_frame=args.base_frame,
        largest_gap_ns=largest_gap_ns(args),
        progress=bar,
    )
    if keyframes.without_pose:
        note(f"{keyframes.without_pose} images have no pose, or are in a gap, see --max-time-difference: left out")
    if keyframes.out_of_order:
        note(f"{keyframes.out_of_order} images have stamps that are not in the order of recording: left out")
    if not args.pose_topic:
        keyframes = _with_motion_noise(args, keyframes)
    images = _with_rig(args, keyframes).images if len(topics) > 1 else keyframes.images
    return _with_measurements(args, MapSource(images, keyframes.camera_path), keyframes.camera_frame)


def _check_rig(args: argparse.Namespace) -> None:
    from vloc_ros.core.errors import InputError

    topics, info_topics = args.image_topic or [], args.camera_info_topic or []
    if len(info_topics) not in (0, max(len(topics), 1)):
        raise InputError(
            f"found {len(info_topics)} --camera-info-topic for {len(topics)} --image-topic, expected one for each, in "
            "the same order, or none"
        )
    if len(topics) > 1 and args.camera is not None:
        raise InputError("--camera is one calibration, and there are several --image-topic; record their camera_info")
    if args.rig_window is not None and len(topics) < 2:
        raise InputError("--rig-window is for several --image-topic; give those of the rig, or leave it out")
    if args.rig_window is not None and not 0.0 <= args.rig_window <= _MAX_RIG_WINDOW_S:
        raise InputError(f"--rig-window is {args.rig_window:g}, expected seconds from 0 to {_MAX_RIG_WINDOW_S:g}")


def _with_motion_noise(args: argparse.Namespace, keyframes: BagKeyframes) -> BagKeyframes:
    """With the covariance that odometry says that it has."""
    from vloc_ros.bags.reading import TF
    from vloc_ros.datasets.bag_motion_noise import with_motion_noise

    images = with_motion_noise(
        keyframes.images,
        args.bag,
        keyframes.camera_frame,
        odom_topic=args.odom_topic,
        base_frame=args.base_frame,
        tf_topic=args.tf_topic or TF,
    )
    return replace(keyframes, images=images)


def _with_rig(args: argparse.Namespace, keyframes: BagKeyframes) -> BagKeyframes:
    """The images of the other cameras too."""
    from vloc_ros.bags.reading import TF
    from vloc_ros.datasets.bag_images import find_camera_path
    from vloc_ros.datasets.bag_rigs import RIG_WINDOW_NS, RigTopics, with_rig_images

    topics, info_topics = args.image_topic, args.camera_info_topic or []
    find_path = partial(
        find_camera_path,
        odom_topic=args.odom_topic,
        pose_topic=args.pose_topic,
        base_frame=args.base_frame,
        largest_gap_ns=largest_gap_ns(args),
    )
    found = with_rig_images(
        keyframes,
        args.bag,
        RigTopics(topics[0], topics[1:], info_topics[1:]),
        find_path,
        window_ns=RIG_WINDOW_NS if args.rig_window is None else round(1e9 * args.rig_window),
        rectified=args.rectified,
        tf_topic=args.tf_topic or TF,
        progress=bar,
    )
    expected = len(topics) * len(keyframes.images)
    if len(found.images) < expected:
        note(f"{expected - len(found.images)} of {expected} images of the rig are missing: none, or none with a pose")
    return found


def _with_measurements(args: argparse.Namespace, source: MapSource, camera_frame: str) -> MapSource:
    if not (args.gnss_topic or args.imu_topic):
        return source
    from vloc_ros.bags.reading import TF
    from vloc_ros.core.geometry.geodetic import Datum
    from vloc_ros.datasets.bag_measurements import with_bag_gravity, with_bag_positions

    # what a receiver or an IMU measured of a rig counts once
    images: Sequence[PosedImage] = [image for image in source.images if image.rig is None]
    datum, tf_topic = None, args.tf_topic or TF
    if args.gnss_topic:
        origin = Datum(*args.datum) if args.datum else None
        images, datum = with_bag_positions(
            images,
            args.bag,
            args.gnss_topic,
            camera_frame,
            datum=origin,
            std_m=args.gnss_std,
            correlation_s=args.gnss_correlation or 0.0,
            tf_topic=tf_topic,
        )
    if args.imu_topic:
        images = with_bag_gravity(images, args.bag, args.imu_topic, camera_frame, tf_topic=tf_topic)
    measured = {image.name: image for image in images}
    return replace(source, images=[measured.get(image.name, image) for image in source.images], datum=datum)


def scale_source(args: argparse.Namespace, camera_path: CameraPath | None) -> ScaleSource | None:
    """None keeps the given poses; otherwise what gives a reconstruction its scale.

    Raises:
        InputError: options contradict each other.
    """
    from vloc_ros.core.errors import InputError
    from vloc_ros.mapping.sfm.scale import UNKNOWN_SCALE, GivenPoses, KnownDistance, MeasuredPositions

    poses = args.poses or pose_source(args)
    has_poses = bool(poses) or args.bag is not None
    measured = [name for name in _MEASUREMENTS if getattr(args, name) is not None]
    if args.scale_unknown and args.positions:
        raise InputError("--scale-unknown with --positions: these are in metres; leave one of them out")
    if args.poses_drift and (not poses or args.structure == "given"):
        raise InputError("--poses-drift is for --poses that are not kept; give --poses, without --structure given")
    kept = (args.pose_topic or (poses and not args.poses_drift)) and not measured
    structure = args.structure or ("given" if kept else "sfm")
    if structure == "given" and not has_poses:
        raise InputError("--structure given needs poses; give --poses, or build with --structure sfm")
    if (args.pose_topic or (poses and not args.poses_drift)) and (args.positions or args.gnss_topic):
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


def check_distance(args: argparse.Namespace, images: Sequence[PosedImage]) -> None:
    """Check before the work that --distance names two of the images, and a length.

    Raises:
        InputError: it does not.
    """
    from vloc_ros.core.errors import InputError

    if not args.distance:
        return
    first, second, metres = args.distance
    if not 0.0 < float(metres) < math.inf:
        raise InputError(f"--distance ends with {metres}, expected metres, more than 0")
    if first == second:
        raise InputError(f"--distance names {first} twice, expected two images far from each other")
    names = [image.name for image in images]
    for name in (first, second):
        if name not in names:
            near = next((n for n in names if Path(n).stem == name), None) or nearest_name(name, names)
            remedy = f"did you mean {near}?" if near else "give the names of two files in it"
            raise InputError(f"--distance: {args.images} holds no image {name}; {remedy}")
