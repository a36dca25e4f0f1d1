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

"""Make a map of a LiDAR's scans, or add them to a map as places.

  vloc map lidar MAP --bag BAG --pose-topic TOPIC             a new map of LiDAR places alone
  vloc map lidar MAP --kitti DIR                              the same of a sequence or drive of KITTI
  vloc map lidar MAP --bag BAG --poses TUM --add-to LANDMARKS the places beside the landmarks of another map
  vloc map lidar MAP --kitti DIR --encoder MODEL/range        places that images find too (`vloc place query`)

A place is a scan with its pose, a descriptor (Scan Context) and its points, down-sampled. Places are chosen by the
distance travelled. The poses have to be in a map whose z axis points up, and for --add-to in that map's frame. Scans
whose points carry times are undistorted by odometry, TF's or else that of the poses, unless --compensated is given.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vloc_ros.cli.lidar_options import add_lidar_source, read_recording


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder to write")
    add_lidar_source(parser)
    parser.add_argument("--add-to", type=Path, metavar="MAP2", help="a map to add the places to; it is not changed")
    parser.add_argument("--frame-id", metavar="NAME", help="ROS frame of the poses (default: map, or MAP2's only one)")
    parser.add_argument(
        "--encoder", type=Path, metavar="MODEL", help="range model, so that images find the places: `vloc place query`"
    )
    parser.add_argument(
        "--spacing", type=float, default=3.0, metavar="METRES", help="travelled from place to place (default: 3)"
    )


def run(args: argparse.Namespace) -> int:
    """Make the places and write the map."""
    from vloc_ros.cli.outputs import map_at
    from vloc_ros.core.errors import InputError
    from vloc_ros.core.retrieval.scan_context_encoder import LIDAR
    from vloc_ros.inference.range_descriptors import read_range_descriptor
    from vloc_ros.mapping.maps.lidar_places import add_lidar_places, make_lidar_map
    from vloc_ros.progress import bar
    from vloc_ros.storage.maps import map_bytes, read_map, write_map

    if not args.spacing > 0:
        raise InputError(f"--spacing is {args.spacing:g}, expected more than 0 m")
    if args.add_to and args.add_to.resolve() == args.map.resolve():
        raise InputError(
            f"MAP is {args.map}, the map of --add-to itself; name another folder, it is not changed in place"
        )
    encoder = read_range_descriptor(args.encoder) if args.encoder else None
    out, recording = map_at(args.map), read_recording(args, posed=True)
    if args.add_to:
        landmark_map = add_lidar_places(
            read_map(args.add_to),
            recording.scans,
            frame_id=args.frame_id or "",
            spacing_m=args.spacing,
            encoder=encoder,
            progress=bar,
        )
    else:
        landmark_map = make_lidar_map(
            recording.scans,
            name=args.map.resolve().name,
            frame_id=args.frame_id or "map",
            spacing_m=args.spacing,
            encoder=encoder,
            progress=bar,
        )
    digest, places = write_map(landmark_map, args.map), landmark_map.places[LIDAR]
    left_out = f", {recording.left_out} left out without a pose" if recording.left_out else ""
    print(f"{len(recording.scans)} scans of {recording.frame_id or 'a sensor'}{left_out}")
    print(f"{len(places)} LiDAR places, {map_bytes(args.map) / max(len(places), 1) / 1000:.0f} kB a place")
    print(f"map {digest[:12]} {out}")
    return 0
