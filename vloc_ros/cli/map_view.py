"""Write a map as a page with a plot that can be turned: points coloured by landmark, and the keyframes.

The page loads nothing from the network; any browser shows it.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map build`")
    parser.add_argument("--scene", default="", metavar="FRAME", help="of a map of several scenes, which to draw")
    parser.add_argument("--out", type=Path, required=True, metavar="HTML", help="page to write")


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from vloc_ros.evaluation.map_page import make_map_page
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.maps import map_hash, read_map
    from vloc_ros.storage.output_files import page_at

    out = page_at(args.out)
    landmark_map = read_map(args.map).part(args.scene)
    write_bytes_atomically(args.out, make_map_page(landmark_map, map_hash=map_hash(args.map)).encode())
    print(f"{len(landmark_map.points)} points and {len(landmark_map.keyframes)} keyframes {out}")
    return 0
