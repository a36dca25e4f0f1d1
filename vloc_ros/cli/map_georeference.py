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

r"""Tie a map to Earth: give its frame a datum (latitude, longitude, height, and the bearing of its x axis).

  vloc map georeference MAP --points CSV --out MAP2                     rows of x,y,z in the map and a position on Earth
  vloc map georeference MAP --exif CSV --out MAP2                       rows of the keyframes' names and positions
  vloc map georeference MAP --gnss-bag BAG --gnss-topic TOPIC \
      --camera-frame FRAME --out MAP2                                   of a map built from that bag

Tables have a header: `name` or `x,y,z`, and `latitude,longitude`, or with --crs `easting,northing`. Heights are used
when --height-column and --height-reference say what they are: above the ellipsoid; above sea level, which needs
--geoid-undulation; or relative, such as above take-off, which gives the map no height. With heights the map is turned
level, without them or with --level its z axis has to point up. Positions that contradict the others are left out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vloc_ros.core.geometry.pose import Array
    from vloc_ros.core.map.landmark_map import LandmarkMap
    from vloc_ros.geo.georeference import GeoreferencedMap
    from vloc_ros.geo.position_tables import EarthPositions, Heights


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, of one scene")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--points", type=Path, metavar="CSV", help="x,y,z in the map and the same places on Earth")
    source.add_argument("--exif", type=Path, metavar="CSV", help="positions of keyframes by name")
    source.add_argument("--gnss-bag", type=Path, metavar="BAG", help="the bag that the map was built from")
    parser.add_argument("--gnss-topic", metavar="TOPIC", help="sensor_msgs/NavSatFix of --gnss-bag")
    parser.add_argument("--camera-frame", metavar="FRAME", help="optical frame of the keyframes, with --gnss-bag")
    add_table_options(parser)
    parser.add_argument("--level", action="store_true", help="the map's z axis points up: keep it")
    parser.add_argument(
        "--std",
        type=float,
        default=0.0,
        metavar="METRES",
        help="what all positions may be off by together, such as 2 for a receiver without corrections (default: 0)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="MAP2", help="map folder to write, not MAP itself")


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what the columns of a table of positions are."""
    parser.add_argument("--crs", metavar="CRS", help="of columns easting and northing, such as EPSG:25832")
    parser.add_argument("--height-column", metavar="NAME", help="column with heights; none are used by default")
    parser.add_argument(
        "--height-reference",
        choices=("ellipsoidal", "orthometric", "relative"),
        help="what heights are measured from, with --height-column",
    )
    parser.add_argument(
        "--geoid-undulation", type=float, metavar="METRES", help="of the geoid above the ellipsoid, with orthometric"
    )


def heights_from(args: argparse.Namespace) -> Heights | None:
    """What the options say of heights; None where they are not used.

    Raises:
        InputError: options are missing or contradict each other.
    """
    from vloc_ros.core.errors import InputError
    from vloc_ros.geo.position_tables import Heights

    if (args.height_column is None) != (args.height_reference is None):
        raise InputError("found one of --height-column and --height-reference, expected both or none")
    if args.height_column is None:
        if args.geoid_undulation is not None:
            raise InputError("--geoid-undulation goes with --height-column and --height-reference orthometric")
        return None
    return Heights(args.height_column, args.height_reference, args.geoid_undulation)


def run(args: argparse.Namespace) -> int:
    """Georeference the map and write it."""
    from vloc_ros.cli.outputs import map_at, name_at
    from vloc_ros.core.errors import InputError
    from vloc_ros.geo.georeference import georeference_map
    from vloc_ros.storage.maps import map_hash, read_map, write_map

    if args.out.resolve() == args.map.resolve():
        raise InputError(f"--out is {args.out}, the map itself; name another folder, a map is not changed in place")
    if not 0.0 <= args.std < float("inf"):
        raise InputError(f"--std is {args.std:g}, expected 0 m or more")
    out, landmark_map = map_at(args.out), read_map(args.map)
    landmark_map.scene()
    if not args.points and not len(landmark_map.keyframes):
        raise InputError(
            f"{args.map}: has no keyframes, expected some for {'--exif' if args.exif else '--gnss-bag'}; a map of "
            "aerial tiles or LiDAR places alone is georeferenced with --points, and aerial tiles have a datum already"
        )
    points, positions = _read_gnss(args, landmark_map) if args.gnss_bag else _read_table(args, landmark_map)
    found = georeference_map(landmark_map, points, positions, level=args.level, std_m=args.std)
    step = {"from_map": map_hash(args.map), "positions": len(points), "agreeing": int(found.agreeing.sum())}
    named = replace(
        found.landmark_map,
        name=name_at(args.out, landmark_map.name, source=args.map),
        provenance={**found.landmark_map.provenance, "georeferenced": step},
    )
    digest = write_map(named, args.out)
    print(_format(found, positions))
    print(f"map {digest[:12]} {out}")
    return 0


def _read_table(args: argparse.Namespace, landmark_map: LandmarkMap) -> tuple[Array, EarthPositions]:
    """(N, 3) points of the map, and their positions on Earth."""
    import numpy as np

    from vloc_ros.core.errors import InputError
    from vloc_ros.geo.position_tables import column_of, keep_positions, read_positions, read_table

    if args.gnss_topic or args.camera_frame:
        raise InputError("--gnss-topic and --camera-frame go with --gnss-bag")
    path = args.points or args.exif
    positions = read_positions(path, heights=heights_from(args), crs=args.crs)
    if args.points:
        rows = read_table(path)
        return np.column_stack([column_of(path, rows, axis) for axis in "xyz"]), positions
    keyframes, scene = landmark_map.keyframes, landmark_map.scene()
    numbers = {name: k for k, name in enumerate(keyframes.names)}
    known = [k for k, name in enumerate(positions.names) if name in numbers]
    if not known:
        raise InputError(
            f"{path}: names none of the map's {len(numbers)} keyframes, expected a column name with theirs "
            "(`vloc map info MAP --json`)"
        )
    mine = [numbers[positions.names[k]] for k in known]
    return scene.origin + keyframes.translations[mine], keep_positions(positions, known)


def _read_gnss(args: argparse.Namespace, landmark_map: LandmarkMap) -> tuple[Array, EarthPositions]:
    """(N, 3) places of the receiver in the map, and its fixes, whose heights are ellipsoidal by definition."""
    import numpy as np

    from vloc_ros.core.errors import InputError
    from vloc_ros.core.sources import PosedImage
    from vloc_ros.datasets.bag_measurements import with_bag_positions
    from vloc_ros.geo.position_tables import EarthPositions
    from vloc_ros.storage.pose_files import stamps_in_names

    if not (args.gnss_topic and args.camera_frame):
        raise InputError("--gnss-bag needs --gnss-topic and --camera-frame")
    of_tables = (args.height_column, args.height_reference, args.geoid_undulation, args.crs)
    if any(option is not None for option in of_tables):
        raise InputError(
            "--height-column, --height-reference, --geoid-undulation and --crs are for tables, found --gnss-bag, whose "
            "heights are ellipsoidal"
        )
    keyframes, scene = landmark_map.keyframes, landmark_map.scene()
    cameras = len(
        {(name.rpartition("/")[0], camera) for name, camera in zip(keyframes.names, keyframes.cameras, strict=True)}
    )
    if cameras > 1:
        raise InputError(
            f"{args.map}: its keyframes are of {cameras} cameras, expected one, that of --camera-frame; give their "
            "positions with --exif, or build the map with --gnss-topic"
        )
    stamps_ns = stamps_in_names([name.rpartition("/")[2] for name in keyframes.names])
    if not stamps_ns:
        raise InputError(f"{args.map}: its keyframes' names are no times, expected a map that was built from a bag")
    order = np.argsort(stamps_ns, kind="stable")
    images = [
        PosedImage(keyframes.names[k], _no_image, keyframes.cameras[k], keyframes.pose(k), stamps_ns[k]) for k in order
    ]
    # messages that do not say how good they are count like the others: residuals tell
    placed, datum = with_bag_positions(images, args.gnss_bag, args.gnss_topic, args.camera_frame, std_m=1.0)
    points, found = [], []
    for image in placed:
        if image.position is not None and image.map_from_camera is not None:
            points.append(scene.origin + image.map_from_camera.apply(image.position.camera_from_receiver))
            found.append(datum.geodetic(image.position.position))
    geodetic = np.array(found)
    return np.array(points), EarthPositions(("",) * len(found), *geodetic.T)


def _no_image() -> Array:
    raise AssertionError("positions need no images")


def _format(found: GeoreferencedMap, positions: EarthPositions) -> str:
    """Lines of aligned text: the datum, and the residuals."""
    import numpy as np

    from vloc_ros.cli.map_description import format_datum

    datum, residuals = found.landmark_map.scene().datum, found.residuals
    assert datum is not None
    worst = int(residuals.argmax())
    name = positions.names[worst] or f"row {worst + 1}"
    agreeing = residuals[found.agreeing]
    rows = [
        ("datum", format_datum(datum)),
        ("leaned", f"{np.degrees(found.lean_rad):.2f} deg, now level"),
        ("positions", f"{len(residuals)}, of which {len(agreeing)} agree"),
        ("rms", f"{np.sqrt((agreeing**2).mean()):.3f} m of these"),
        ("max", f"{residuals[worst]:.3f} m of all ({name})"),
    ]
    if found.scale != 1.0:
        rows.append(("scale", f"{found.scale:.6g}, now metres"))
    elif found.measured_scale != 1.0:
        rows.append(("scale", f"the positions suggest {found.measured_scale:.4f}, the map's is kept"))
    return "\n".join(f"{title:<10}{value}" for title, value in rows)
