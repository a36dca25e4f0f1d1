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

"""Export a map for other tools: as a COLMAP model, or as coloured points.

  vloc map export MAP --colmap MODEL --images DIR     cameras, images and points for COLMAP, hloc, nerfstudio
  vloc map export MAP --ply FILE --images DIR         points for MeshLab, CloudCompare, Open3D, Blender

With the images that the map was built from, points have their colour in them, else that of their landmark. A model
holds the cameras, the images with their poses and the points with tracks. A map does not keep the pixels of its
keypoints: the 2D points are where the map's points project to, without those that lie outside of their image.
Descriptors and keypoints that are no point of the map are not in a model; reprojection errors are unknown (-1).
`vloc map build --images DIR --colmap MODEL` builds a map of the poses and calibrations of a model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map build`")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--colmap", type=Path, metavar="MODEL", help="folder to write, new or empty: a binary model")
    target.add_argument("--ply", type=Path, metavar="FILE", help="file to write: binary, little-endian")
    parser.add_argument("--images", type=Path, metavar="DIR", help="what the map was built from: gives points a colour")
    parser.add_argument("--scene", default="", metavar="FRAME", help="of a map of several scenes, which to export")


def run(args: argparse.Namespace) -> int:
    """Export the map."""
    from vloc_ros.datasets.keyframe_images import find_keyframe_images
    from vloc_ros.evaluation.map_export import make_colmap_model
    from vloc_ros.evaluation.map_page import landmark_colours
    from vloc_ros.evaluation.point_colours import sample_point_colours
    from vloc_ros.storage.atomic import StorageError
    from vloc_ros.storage.colmap_models import write_colmap_model
    from vloc_ros.storage.maps import read_map
    from vloc_ros.storage.output_files import Output, ply_at
    from vloc_ros.storage.output_folders import check_free
    from vloc_ros.storage.ply_files import write_ply

    if args.ply:
        out = ply_at(args.ply)
    else:
        if any((args.colmap / name).exists() for name in ("images.bin", "images.txt")):
            raise StorageError(f"{args.colmap}: holds a COLMAP model, expected nothing; name an empty or new folder")
        check_free(args.colmap, kind="COLMAP model")
        out = Output(args.colmap, replaces=False)
    landmark_map = read_map(args.map).part(args.scene)
    landmark_map.require_landmarks()
    images = find_keyframe_images(landmark_map, args.images) if args.images else []
    colours = sample_point_colours(landmark_map, images) if images else landmark_colours(landmark_map.landmark_ids)
    if args.ply:
        write_ply(args.ply, landmark_map.points.astype(float) + landmark_map.scene().origin, colours)
    else:
        names = [path.relative_to(args.images).as_posix() for path in images]
        write_colmap_model(args.colmap, *make_colmap_model(landmark_map, colours, names=names))
    print(f"{len(landmark_map.points)} points and {len(landmark_map.keyframes)} keyframes {out}")
    if not landmark_map.metric:
        print("vloc: note: the map's scale is unknown: the lengths in it are not metres", file=sys.stderr)
    return 0
