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

"""Make a map of aerial tiles, in which images from above are located.

  vloc map aerial build MAP --photos DIR --exif CSV     photographs that look straight down, and their positions
  vloc map aerial build MAP --geotiff FILE              an orthophoto with its coordinate system
  vloc map aerial build MAP --tiles DIR --corners CSV   images with the latitude and longitude of their corners
  vloc map aerial build MAP --xyz DIR                   Web Mercator tiles z/x/y.png, as QGIS and gdal2tiles write them
  vloc map aerial build MAP --orthomosaic-from MAP2 --images DIR    images of a landmark map whose cameras look down

Photographs are placed by their overlaps and positions; their yaw is not used. CSV of --exif has the columns name,
latitude, longitude; with --height-column heights above take-off (relative), or others and --ground-height. CSV of
--corners has name, top_left_latitude, top_left_longitude, bottom_right_latitude, bottom_right_longitude. The map lies
east and north of its middle, or along the axes of MAP2; its height is known when --datum-height or MAP2 gives it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.camera_options import add_focal_px, check_focal_px
from vloc_ros.cli.map_georeference import add_table_options, heights_from

if TYPE_CHECKING:
    from vloc_ros.core.geometry.geodetic import Datum
    from vloc_ros.geo.aerial_sources import AerialSource


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder to write")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--photos", type=Path, metavar="DIR", help="photographs that look straight down, with --exif")
    source.add_argument("--geotiff", type=Path, metavar="FILE", help="an orthophoto")
    source.add_argument("--tiles", type=Path, metavar="DIR", help="images of ground, with --corners")
    source.add_argument("--xyz", type=Path, metavar="DIR", help="Web Mercator tiles z/x/y.png or .jpg")
    source.add_argument(
        "--orthomosaic-from",
        type=Path,
        metavar="MAP2",
        help="a map with a datum whose cameras look down, with --images",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images that --orthomosaic-from was built from")
    parser.add_argument("--exif", type=Path, metavar="CSV", help="positions of --photos")
    parser.add_argument("--corners", type=Path, metavar="CSV", help="corners of --tiles")
    parser.add_argument(
        "--zoom", type=int, metavar="Z", help="of --xyz (default: the coarsest that shows --ground-size, or the finest)"
    )
    parser.add_argument("--tms", action="store_true", help="rows of --xyz count from the south, as in TMS")
    add_focal_px(parser, text="focal length of --photos in their pixels")
    parser.add_argument(
        "--ground-height",
        type=float,
        metavar="METRES",
        help="of the ground, above what --height-reference says (default: 0 with relative)",
    )
    add_table_options(parser)
    parser.add_argument(
        "--ground-size",
        type=float,
        metavar="METRES",
        help="of a pixel of the finest tiles (default: that of the images, of --photos twice that)",
    )
    parser.add_argument(
        "--levels", type=int, default=2, metavar="N", help="ground sizes, each twice as coarse as before"
    )
    parser.add_argument(
        "--datum-height",
        type=float,
        metavar="METRES",
        help="of the ground above the ellipsoid (default: unknown, of --orthomosaic-from by its datum)",
    )
    parser.add_argument(
        "--datum-std",
        type=float,
        metavar="METRES",
        help="standard deviation of where --geotiff, --tiles or --xyz lies, along each axis (default: 0, exact)",
    )
    parser.add_argument("--frame-id", default="map", metavar="NAME", help="ROS frame of the map (default: map)")


def run(args: argparse.Namespace) -> int:
    """Make the tiles and write the map."""
    from vloc_ros.cli.outputs import map_at
    from vloc_ros.core.errors import InputError
    from vloc_ros.core.retrieval.tile_encoder import AERIAL
    from vloc_ros.geo.aerial_map import make_aerial_map
    from vloc_ros.progress import bar
    from vloc_ros.storage.maps import map_bytes, write_map

    if not 2 <= args.levels <= 8:
        raise InputError(f"--levels is {args.levels}, expected 2 to 8")
    if args.ground_size is not None and not 0 < args.ground_size < float("inf"):
        raise InputError(f"--ground-size is {args.ground_size:g}, expected more than 0 m")
    out, source = map_at(args.map), _read(args)
    finest = args.ground_size or max(one.ground_size_m for one in source.ground)
    landmark_map = make_aerial_map(
        source.ground,
        name=args.map.resolve().name,
        datum=_datum(args, source),
        ground_sizes_m=[finest * 2**level for level in range(args.levels)],
        frame_id=args.frame_id,
        progress=bar,
    )
    landmark_map = replace(landmark_map, provenance={"aerial": list(source.notes)})
    digest, places = write_map(landmark_map, args.map), landmark_map.places[AERIAL]
    print("\n".join(source.notes))
    print(f"{len(places)} aerial tiles, {map_bytes(args.map) / len(places) / 1000:.0f} kB a tile")
    print(f"map {digest[:12]} {out}")
    return 0


def _datum(args: argparse.Namespace, source: AerialSource) -> Datum:
    """That of the source, with what only the user knows of it."""
    datum = source.datum
    if args.datum_height is not None:
        datum = replace(datum, altitude_m=args.datum_height)
    return datum if args.datum_std is None else replace(datum, position_std_m=args.datum_std)


def _read(args: argparse.Namespace) -> AerialSource:
    from vloc_ros.core.errors import InputError
    from vloc_ros.geo.aerial_sources import read_geotiff, read_photos, read_tiles
    from vloc_ros.geo.orthomosaic import read_orthomosaic
    from vloc_ros.geo.position_tables import read_positions
    from vloc_ros.geo.xyz_ground import read_xyz
    from vloc_ros.progress import bar
    from vloc_ros.storage.maps import read_map

    pairs = (("photos", "exif"), ("tiles", "corners"), ("orthomosaic_from", "images"))
    for source, table in pairs:
        if (getattr(args, source) is None) != (getattr(args, table) is None):
            raise InputError(f"--{table} goes with --{source.replace('_', '-')}; give both, or neither")
    _refuse_unused(args)
    if args.geotiff:
        return read_geotiff(args.geotiff, ground_size_m=args.ground_size)
    if args.orthomosaic_from:
        return read_orthomosaic(
            read_map(args.orthomosaic_from), args.images, ground_size_m=args.ground_size, progress=bar
        )
    if args.xyz:
        return read_xyz(args.xyz, zoom=args.zoom, ground_size_m=args.ground_size, tms=args.tms)
    if args.tiles:
        return read_tiles(args.tiles, args.corners, ground_size_m=args.ground_size)
    check_focal_px(args)
    heights, ground_height_m = heights_from(args), args.ground_height
    if ground_height_m is not None and heights is not None:
        ground_height_m += heights.undulation_m or 0.0  # as the photographs' heights
    return read_photos(
        args.photos,
        args.exif,
        read_positions(args.exif, heights=heights, crs=args.crs),
        focal_px=args.focal_px,
        ground_height_m=ground_height_m,
        ground_size_m=args.ground_size,
        progress=bar,
    )


def _refuse_unused(args: argparse.Namespace) -> None:
    from vloc_ros.core.errors import InputError

    of_photos = ("focal_px", "ground_height", "crs", "height_column", "height_reference", "geoid_undulation")
    given = [f"--{name.replace('_', '-')}" for name in of_photos if getattr(args, name) is not None]
    if given and not args.photos:
        raise InputError(f"{', '.join(given)}: of --photos, found another source, which says it; leave it out")
    if (args.zoom is not None or args.tms) and not args.xyz:
        raise InputError("--zoom and --tms go with --xyz; leave them out")
    if args.datum_std is not None:
        if args.photos or args.orthomosaic_from:
            raise InputError(
                "--datum-std goes with --geotiff, --tiles or --xyz, found a source that states its own; leave it out"
            )
        if not 0 <= args.datum_std < float("inf"):
            raise InputError(f"--datum-std is {args.datum_std:g}, expected 0 m or more")
    if args.ground_height is not None and args.height_column is None:
        raise InputError("--ground-height goes with --height-column and --height-reference; give them, or leave it out")
    if args.ground_height is not None and not abs(args.ground_height) < float("inf"):
        raise InputError(f"--ground-height is {args.ground_height:g}, expected finite metres")
