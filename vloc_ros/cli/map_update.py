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

"""Add the images of another visit to a map, without building it anew.

  vloc map update MAP --images DIR --poses TUM --out NEW      poses are known and kept
  vloc map update MAP --images DIR --colmap MODEL --out NEW   poses and calibrations of a COLMAP model, of one or
                                                              several cameras; also --transforms, --kitti, --euroc
  vloc map update MAP --images DIR --out NEW                  the images are localized in the map

What the map holds stays as it is: points, landmarks, keyframes, and the calibration of its covariance; new points and
keyframes come behind. The retrieval index of a global descriptor model is kept; with --encoder it covers the new
keyframes too. Images must overlap with the map; duplicates, by name and by what they show, are named and left out.
Without poses, so are images that are not localized; with poses, those whose pose contradicts the map. Poses are of
map_from_camera (optical frame) in the frame and the unit of the map, in files as for `vloc map build`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.camera_options import add_camera, read_given_camera
from vloc_ros.cli.image_folders import report_images_passed_over
from vloc_ros.cli.pose_sources import add_pose_sources, pose_source, read_posed_files
from vloc_ros.cli.source_options import add_max_time_difference, check_max_time_difference, note
from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.core.map.landmark_map import LandmarkMap
    from vloc_ros.core.sources import PosedImage
    from vloc_ros.mapping.config import MappingConfig
    from vloc_ros.mapping.maps.update import MapUpdate


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map build`")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of jpg or png images")
    poses = parser.add_mutually_exclusive_group()
    poses.add_argument("--poses", type=Path, metavar="TUM", help="map_from_camera of every image")
    add_pose_sources(poses)
    add_camera(parser, text="; default: that of the poses' source, or else the map's own")
    add_max_time_difference(
        parser,
        text="of the poses of EuRoC before and after an image, between which its own is interpolated; others are left "
        "out (default: 0.2)",
    )
    parser.add_argument(
        "--encoder",
        type=Path,
        metavar="MODEL",
        help="global descriptor model of a retrieval index of the map, which then covers the new images too",
    )
    parser.add_argument("--scene", default="", metavar="FRAME", help="scene to extend, where the map has several")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter of mapping, as for map build"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="NEW", help="map folder to write, not MAP itself")


def run(args: argparse.Namespace) -> int:
    """Update the map and write it."""
    from vloc_ros.cli.outputs import map_at, name_at
    from vloc_ros.cli.termination import end_on_sigterm
    from vloc_ros.core.retrieval.vlad import VLAD
    from vloc_ros.inference.global_descriptors import read_global_descriptor
    from vloc_ros.mapping.indexing.global_descriptors import describe_incomplete_indices
    from vloc_ros.mapping.maps.update import update_map
    from vloc_ros.storage.maps import map_bytes, read_map, write_map

    end_on_sigterm()  # again: pycolmap is imported now
    check_options(args)
    out, landmark_map = map_at(args.out), read_map(args.map)
    config = _config(args, landmark_map)
    update = update_map(
        landmark_map,
        _read_images(args, landmark_map),
        config=config,
        encoder=read_global_descriptor(args.encoder, config.inference) if args.encoder else None,
        frame_id=args.scene,
        progress=bar,
    )
    name = name_at(args.out, landmark_map.name, source=args.map)
    write_map(replace(update.landmark_map, name=name), args.out)
    _warn(update)
    print(_summary(update), *describe_incomplete_indices([landmark_map], update.landmark_map), sep="\n")
    if VLAD in update.landmark_map.retrieval and VLAD not in landmark_map.retrieval:
        print("the map is too large now to be searched as a whole by default: it was given a retrieval index")
    print(f"{out} ({map_bytes(args.out) / 1e6:.2f} MB)")
    return 0


def check_options(args: argparse.Namespace) -> None:
    """What argparse cannot rule out."""
    from vloc_ros.core.errors import InputError

    if args.out.resolve() == args.map.resolve():
        raise InputError(f"--out is {args.out}, the map itself; name another folder, a map is not changed in place")
    check_max_time_difference(args)


def _read_images(args: argparse.Namespace, landmark_map: LandmarkMap) -> Sequence[PosedImage]:
    """The images of the visit, with their calibrations and whatever poses are given."""
    from vloc_ros.datasets.image_folders import list_posed_images

    if source := pose_source(args):
        note(f"poses in {getattr(args, source)} are taken for poses in the frame and the unit of {args.map}")
        return [file.to_map() for file in read_posed_files(args, keyframes=True).files]
    report_images_passed_over(args.images)
    camera = read_given_camera(args) or camera_of(landmark_map, args.scene)
    return list_posed_images(args.images, camera, poses_file=args.poses)


def camera_of(landmark_map: LandmarkMap, frame_id: str) -> Camera:
    """The calibration that all keyframes of a scene share.

    Raises:
        InputError: they have several, or none is known.
    """
    from vloc_ros.core.errors import InputError

    found = set(landmark_map.part(frame_id).keyframes.cameras)
    if len(found) != 1:
        raise InputError(f"the map's images have {len(found)} calibrations, expected one; name that of yours: --camera")
    return found.pop()


def _config(args: argparse.Namespace, landmark_map: LandmarkMap) -> MappingConfig:
    from vloc_ros.cli.localizer_options import assign_all
    from vloc_ros.core.errors import ConfigError
    from vloc_ros.mapping.config import mapping_config_from

    values: dict[str, object] = {}
    assign_all(values, args.set)
    if "extractor" in values:
        raise ConfigError("--set extractor: the map's own extractor is used; build a new map for another")
    return replace(mapping_config_from(values), extractor=landmark_map.extractor)


def _warn(update: MapUpdate) -> None:
    for name, reason in update.left_out.items():
        print(f"vloc: warning: {name} is left out: {reason}", file=sys.stderr)


def _summary(update: MapUpdate) -> str:
    landmark_map = update.landmark_map
    added = update.images - len(update.left_out)
    before = f", {update.repeated} are in the map already" if update.repeated else ""
    return (
        f"{added} of {update.images} images added{before}, {update.localized} localized; {update.new_points} new "
        "points\n"
        f"{len(landmark_map.points)} points in {len(landmark_map.landmarks)} landmarks, "
        f"{len(landmark_map.keyframes)} keyframes\n"
        "the covariance is calibrated as before: on images of earlier visits"
    )
