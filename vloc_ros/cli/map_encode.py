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

"""Describe a map's keyframes with a global descriptor model, so that a robot can retrieve them.

  vloc map encode MAP --model MODEL --images DIR                into MAP itself
  vloc map encode MAP --model MODEL --images DIR --out NEW      MAP stays as it is
  vloc map encode MAP --model MODEL --bag BAG                   of a map that was built from a bag

DIR holds the images that the map was built from, by the names of its keyframes (`vloc map info --json` lists them): a
map that was updated or merged has subfolders in them, such as visit2/ or kitchen/. MAP is changed in one step at the
end: an interrupted command leaves it as it was, and so does one that finds it changed by somebody else meanwhile. All
else in the map stays; an earlier retrieval index of the model's name is replaced.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.localizer_options import add_inference_option, inference_from
from vloc_ros.cli.source_options import check_source_options
from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.geometry.pose import Array
    from vloc_ros.core.map.landmark_map import LandmarkMap


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map build`")
    parser.add_argument(
        "--model", type=Path, required=True, metavar="MODEL", help="folder of a global descriptor model"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of the map's images")
    source.add_argument("--bag", type=Path, metavar="BAG", help="bag that the map was built from")
    parser.add_argument("--image-topic", metavar="TOPIC", help="of the bag; needed where it holds several")
    add_inference_option(parser)
    parser.add_argument("--out", type=Path, metavar="NEW", help="map folder to write (default: MAP itself)")


def run(args: argparse.Namespace) -> int:
    """Encode the images and write the map."""
    from vloc_ros.cli.outputs import map_at, name_at
    from vloc_ros.inference.global_descriptors import read_global_descriptor
    from vloc_ros.mapping.indexing.global_descriptors import encode_keyframes
    from vloc_ros.storage.maps import map_bytes, map_hash, read_map, write_map

    check_source_options(args)
    before = map_hash(args.map)  # then the map: one that is changed in between is refused in the end, not overwritten
    out = map_at(args.out or args.map)
    landmark_map, encoder = read_map(args.map), read_global_descriptor(args.model, inference_from(args))
    whole = encode_keyframes(landmark_map, _images(args, landmark_map), encoder, bar)
    whole = replace(whole, name=name_at(out.path, landmark_map.name, source=args.map))
    in_place = out.path.resolve() == args.map.resolve()
    digest = write_map(whole, out.path, replacing=before if in_place else None)
    count, size_mb = len(landmark_map.keyframes), map_bytes(out.path) / 1e6
    print(f"{count} keyframes encoded by {encoder.hash[:12]}, {encoder.dimension} values each")
    print(f"map {digest[:12]} {out} ({size_mb:.2f} MB)")
    return 0


def _images(args: argparse.Namespace, landmark_map: LandmarkMap) -> Iterator[tuple[int, Array]]:
    """Number and image of every keyframe, read one after the other."""
    from vloc_ros.datasets.bag_images import read_named_images
    from vloc_ros.datasets.keyframe_images import find_keyframe_images
    from vloc_ros.storage.images import read_image

    if args.bag:
        return read_named_images(args.bag, landmark_map.keyframes.names, image_topic=args.image_topic)
    return enumerate(map(read_image, find_keyframe_images(landmark_map, args.images)))
