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

"""Put the tiles of an aerial map beside the landmarks of another map, so that a localizer can start from above.

  vloc map aerial add MAP --tiles AERIAL --out MAP2
  vloc map aerial add MAP --tiles AERIAL --out MAP2 --ground-z -0.4     a datum has no height

Both maps have a datum (`vloc map georeference`, `vloc map aerial build`), by which the tiles are placed. The localizer
uses them for images that the landmarks do not show, and looks for landmarks around the pose that they give.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vloc_ros.cli.source_options import note


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder; it is not changed")
    parser.add_argument("--tiles", type=Path, required=True, metavar="AERIAL", help="map of `vloc map aerial build`")
    parser.add_argument("--out", type=Path, required=True, metavar="MAP2", help="map folder to write")
    parser.add_argument(
        "--frame-id", default="", metavar="NAME", help="ROS frame of the scene (default: MAP's only one)"
    )
    parser.add_argument(
        "--ground-z", type=float, metavar="METRES", help="z of the ground in that frame, where a datum has no height"
    )


def run(args: argparse.Namespace) -> int:
    """Add the tiles and write the map."""
    from vloc_ros.cli.outputs import map_at
    from vloc_ros.core.errors import InputError
    from vloc_ros.core.retrieval.tile_encoder import AERIAL
    from vloc_ros.mapping.maps.aerial_tiles import add_aerial_tiles
    from vloc_ros.storage.manifests import require_map
    from vloc_ros.storage.maps import map_bytes, read_map, write_map

    if args.ground_z is not None and not abs(args.ground_z) < float("inf"):
        raise InputError(f"--ground-z is {args.ground_z:g}, expected finite metres")
    if args.out.resolve() in (args.map.resolve(), args.tiles.resolve()):
        raise InputError(f"--out is {args.out}, a map that is read; name another folder, it is not changed in place")
    out = map_at(args.out)
    require_map(args.tiles, build="vloc map aerial build")
    own, tiles = read_map(args.map), read_map(args.tiles)
    landmark_map = add_aerial_tiles(own, tiles, frame_id=args.frame_id, ground_z_m=args.ground_z)
    datum, of_landmarks = tiles.scene().datum, own.scene(args.frame_id).datum
    assert datum is not None  # else they could not be placed
    assert of_landmarks is not None
    is_own = (datum.latitude, datum.longitude) == (
        of_landmarks.latitude,
        of_landmarks.longitude,
    )  # an orthomosaic of it
    if datum.position_std_m == 0 and not is_own:
        note(
            "where the tiles lie on Earth is taken as exact: their datum states no uncertainty; state it with "
            "`vloc map aerial build --datum-std METRES`"
        )
    digest = write_map(landmark_map, args.out)
    print(f"{len(landmark_map.places[AERIAL])} aerial tiles beside {len(landmark_map.points)} points")
    print(f"map {digest[:12]} {out}, {map_bytes(args.out) / 1e6:.1f} MB")
    return 0
