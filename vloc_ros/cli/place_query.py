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

"""Find the LiDAR places of a map that images show, by a model of images and scans in one descriptor space.

  vloc place query --map MAP --encoder MODEL/image IMAGE ...
  vloc place query --map MAP --encoder MODEL/image DIR --count 3 --json FILE

MAP was made by `vloc map lidar --encoder MODEL/range`; `python -m training.cross_modal.train` writes both models. What
is found are places to look at, not poses of the images, and nothing says whether an image shows any of them: each line
has the place, its position in the map, its heading, and the similarity of the descriptors.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="images, or folders of images")
    parser.add_argument("--map", type=Path, required=True, metavar="MAP", help="map with LiDAR places")
    parser.add_argument("--encoder", type=Path, required=True, metavar="MODEL", help="image model of a cross-modal one")
    parser.add_argument("--count", type=int, default=5, metavar="N", help="places of each image (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the places as JSON")


def run(args: argparse.Namespace) -> int:
    """Query and print."""
    import json

    import numpy as np

    from vloc_ros.core.localization.place_query import count_described_places, query_places
    from vloc_ros.inference.global_descriptors import KIND, read_global_descriptor
    from vloc_ros.inference.models import read_model
    from vloc_ros.inference.range_descriptors import read_space
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.images import list_images, read_image
    from vloc_ros.storage.maps import read_map

    space = read_space(read_model(args.encoder, kind=KIND))
    landmark_map, encoder = read_map(args.map), read_global_descriptor(args.encoder)
    paths = [path for given in args.images for path in (list_images(given) if given.is_dir() else (given,))]
    described, count = count_described_places(landmark_map)
    print(f"{described} of {count} LiDAR places are described")
    rows = list[dict[str, object]]()
    for path in paths:
        found = query_places(landmark_map, encoder.encode([read_image(path)]), space=space, count=args.count)
        print(path)
        for one in found:
            position, forward = one.map_from_place.translation, one.map_from_place.rotation[:, 0]
            heading = float(np.degrees(np.arctan2(forward[1], forward[0])))
            x, y, z = position.round(3).tolist()
            print(f"  {one.similarity:6.3f}  {one.name}  {one.frame_id} {x:.2f} {y:.2f} {z:.2f} m, {heading:.0f} deg")
            rows.append({"image": str(path), "place": one.name, "frame_id": one.frame_id,
                         "position_m": [x, y, z], "heading_deg": heading, "similarity": one.similarity})  # fmt: skip
    if args.json:
        write_bytes_atomically(args.json, (json.dumps(rows, indent=1) + "\n").encode())
    return 0
