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

"""What `vloc evaluate` takes from its options: images of a folder or a bag, with their ground truth and odometry."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.camera_options import read_given_camera
from vloc_ros.cli.image_folders import report_images_passed_over
from vloc_ros.cli.source_options import largest_gap_ns, note

# evo's
_MAX_TIME_DIFFERENCE_S = 0.01

if TYPE_CHECKING:
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.localization.localizer import Localizer
    from vloc_ros.core.sources import QuerySource
    from vloc_ros.datasets.bag_queries import BagQueries


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationImages:
    """Images to localize and score.

    Attributes:
        queries: one per image.
        truth: map_from_camera of every image; None for negatives.
        odom_from_camera: odometry of every image; None where there is none.
        left_out: number of images of which the ground truth has no pose, or at whose time TF of a bag has nothing.
        timed: whether the time of every image is known.
    """

    queries: Sequence[QuerySource]
    truth: Sequence[Pose] | None
    odom_from_camera: Sequence[Pose | None]
    left_out: int = 0
    timed: bool = True


def read_images(args: argparse.Namespace) -> EvaluationImages:
    """The images of --images or --bag."""
    from vloc_ros.cli.pose_sources import pose_source

    if args.scans:
        return _read_scans(args)
    if pose_source(args):
        return _read_posed_files(args)
    if not args.bag:
        return _read_folder(args)
    source = read_bag(args)
    return EvaluationImages(source.queries, source.map_from_camera(), source.odom_from_camera(), source.left_out)


def _read_scans(args: argparse.Namespace) -> EvaluationImages:
    """Scans with poses of the base; of an excerpt or a drive of KITTI they are its own."""
    from vloc_ros.cli.lidar_options import read_scans

    recording = read_scans(args, truth=args.truth_topic or args.poses)
    queries = recording.queries()[: args.limit]
    nothing = [None] * len(queries)
    if args.absent:
        return EvaluationImages(queries, None, nothing)
    return EvaluationImages(queries, recording.map_from_base()[: args.limit], nothing, recording.left_out)


def read_bag(args: argparse.Namespace) -> BagQueries:
    """The bag of --bag, with the options that go with it."""
    from vloc_ros.bags.reading import TF
    from vloc_ros.datasets.bag_queries import TruthFile, TruthTopic, read_bag_queries
    from vloc_ros.storage.cameras import read_camera
    from vloc_ros.storage.trajectories import LARGEST_GAP_NS

    # with --poses the option is how far apart stamps of a pair may be
    gap_ns = LARGEST_GAP_NS if args.poses else largest_gap_ns(args)
    by_topic = TruthTopic(args.truth_topic) if args.truth_topic else None
    found = read_bag_queries(
        args.bag,
        ground_truth=None if args.absent else by_topic or TruthFile(args.poses, paired_within_ns(args)),
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        rectified=args.rectified,
        camera=read_camera(args.camera) if args.camera else None,
        tf_topic=args.tf_topic or TF,
        base_frame=args.base_frame,
        odom_frame=args.odom_frame,
        requires_odometry=args.live,
        limit=args.limit,
        largest_gap_ns=gap_ns,
    )
    if found.paired_by_row:
        note(f"no pose in {args.poses} has the time of an image; its rows are taken for those of the images one by one")
    return found


def _read_posed_files(args: argparse.Namespace) -> EvaluationImages:
    """Images whose true poses and calibration are those of a COLMAP model and the like."""
    from vloc_ros.cli.pose_sources import note_scale, read_posed_files

    note_scale(args)
    found = read_posed_files(args, keyframes=False)
    stamps_ns = _given_times(args, [file.path for file in found.files])
    files = list(found.files)
    if stamps_ns:
        files = [replace(file, stamp_ns=stamp_ns) for file, stamp_ns in zip(files, stamps_ns, strict=True)]
        files.sort(key=lambda file: file.stamp_ns or 0)
    files = files[: args.limit]
    timed = all(file.stamp_ns is not None for file in files)
    truth, nothing = [file.map_from_camera for file in files], [None] * len(files)
    return EvaluationImages([file.to_query() for file in files], truth, nothing, found.without_pose, timed=timed)


def frame_of_truth(args: argparse.Namespace, localizer: Localizer, truth: Sequence[Pose] | None) -> str:
    """The scene that the true poses are in; empty without any."""
    return "" if truth is None else localizer.map.scene(args.scene).frame_id


def _read_folder(args: argparse.Namespace) -> EvaluationImages:
    from vloc_ros.datasets.image_folders import list_posed_paths, make_query_sources, stamps_of
    from vloc_ros.storage.images import list_images

    report_images_passed_over(args.images)
    camera = read_given_camera(args)
    if args.absent:
        if camera is None:
            print("no --camera: taking a focal length of 0.9 x the image width")
        paths = list_images(args.images)
        stamps_ns = _given_times(args, paths) or stamps_of(paths)
        queries = make_query_sources(paths, stamps_ns, camera)[: args.limit]
        return EvaluationImages(queries, None, [None] * len(queries), timed=stamps_ns is not None)
    posed = list_posed_paths(args.images, args.poses, within_ns=paired_within_ns(args))
    left_out = len(list_images(args.images)) - len(posed)
    if times := _given_times(args, [path for path, _, _ in posed]):
        timed = [(path, stamp_ns, pose) for (path, _, pose), stamp_ns in zip(posed, times, strict=True)]
        posed = sorted(timed, key=lambda one: one[1])
    paths, stamps, truth = zip(*posed[: args.limit], strict=True)
    queries = make_query_sources(paths, stamps, camera)
    return EvaluationImages(queries, truth, [None] * len(queries), left_out, timed=None not in stamps)


def _given_times(args: argparse.Namespace, paths: Sequence[Path]) -> list[int] | None:
    """Those of --times, which is about all images of the folder, for some of them.

    Raises:
        InputError: --times cannot be read, does not fit the folder, or an image is in another one.
    """
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.images import list_images
    from vloc_ros.storage.pose_files import read_times

    if not args.times:
        return None
    every = list_images(args.images)
    stamp_of = dict(zip(every, read_times(args.times, [path.name for path in every]), strict=True))
    if elsewhere := [path for path in paths if path not in stamp_of]:
        raise InputError(
            f"{args.times}: its times are those of the images in {args.images} itself, found {elsewhere[0]} to "
            "evaluate; give the folder that holds the images, or name them by their time instead"
        )
    return [stamp_of[path] for path in paths]


def paired_within_ns(args: argparse.Namespace) -> int:
    """Largest difference of the times of an image and of its true pose."""
    return round(1e9 * (_MAX_TIME_DIFFERENCE_S if args.max_time_difference is None else args.max_time_difference))
