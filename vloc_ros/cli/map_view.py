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

"""Write a map as a page to explore: points by landmark or as in the images, keyframes, and where queries were found.

  vloc map view MAP --out map.html                       landmarks and keyframes
  vloc map view MAP --out map.html --images DIR          with colours, and the images of keyframes
  vloc map view MAP --out map.html --results RESULTS     with poses of `vloc localize` or `vloc evaluate --json`
  vloc map view MAP --rerun map.rrd                      for the viewer of rerun

The page loads nothing from the network; any browser shows it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.dependencies import require

if TYPE_CHECKING:
    from vloc_ros.evaluation.map_page import QueryPose
    from vloc_ros.storage.output_files import Output


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map build`")
    parser.add_argument("--scene", default="", metavar="FRAME", help="of a map of several scenes, which to draw")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images that the map was built from")
    parser.add_argument(
        "--results", type=Path, metavar="RESULTS", help="folder of `vloc localize`, or JSON of `vloc evaluate --json`"
    )
    parser.add_argument("--out", type=Path, metavar="HTML", help="page to write")
    parser.add_argument("--rerun", type=Path, metavar="RRD", help="recording for the viewer of rerun to write")


def run(args: argparse.Namespace) -> int:
    """Write the page, the recording, or both."""
    from vloc_ros.datasets.keyframe_images import find_keyframe_images
    from vloc_ros.evaluation.result_poses import read_query_poses
    from vloc_ros.storage.maps import read_map

    outputs = _outputs(args)
    landmark_map = read_map(args.map).part(args.scene)
    landmark_map.require_landmarks()
    images = find_keyframe_images(landmark_map, args.images) if args.images else []
    queries = read_query_poses(args.results, landmark_map.scene().frame_id) if args.results else []
    if args.out:
        _write_page(args, landmark_map, images, queries)
    if args.rerun:
        from vloc_ros.evaluation.rerun_recording import record_map
        from vloc_ros.storage.atomic import write_bytes_atomically

        write_bytes_atomically(args.rerun, record_map(landmark_map, keyframe_images=images, queries=queries))
    found = f", {len(queries)} query poses" if args.results else ""
    shown = f"{len(landmark_map.points)} points and {len(landmark_map.keyframes)} keyframes{found}"
    print("\n".join([shown, *map(str, outputs)]))
    return 0


def _outputs(args: argparse.Namespace) -> list[Output]:
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.output_files import page_at, recording_at

    if not args.out and not args.rerun:
        raise InputError("there is nothing to write, expected --out HTML or --rerun RRD")
    if args.out:
        require("--out", "jinja2")
    if args.rerun:
        require("--rerun", "rerun")
    page = [page_at(args.out)] if args.out else []
    return [*page, recording_at(args.rerun)] if args.rerun else page


def _write_page(args: argparse.Namespace, landmark_map, images: list[Path], queries: list[QueryPose]) -> None:
    from vloc_ros.evaluation.map_page import make_map_page
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.maps import map_hash

    page = make_map_page(landmark_map, map_hash=map_hash(args.map), keyframe_images=images, queries=queries)
    write_bytes_atomically(args.out, page.encode())
