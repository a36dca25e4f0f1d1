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

"""What a data set of cross-view retrieval holds: places and images of each view and split, and what is missing.

  python -m training.cross_view.inspect DATASET [--json FILE]

Ends with 1 where a file is damaged or a split has no images.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.cross_view.layout import TEST, TRAIN, VIEWS, find_split, list_view, name_view_folder
from training.framework.command import make_parser, run_command
from vloc_ros.core.errors import InputError
from vloc_ros.progress import bar
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.images import read_image

_NAME = "cross_view.inspect"
_SHOWN = 5


def inspect_dataset(dataset: Path) -> dict[str, Any]:
    """Counts by folder, the places that a view of a split lacks, and damaged files.

    Raises:
        InputError: it holds no image in this layout.
    """
    views: dict[str, Any] = {}
    places: dict[str, dict[str, set[str]]] = {}
    damaged = list[str]()
    for split, name, folder in _list_folders(dataset):
        paths = list_view(folder)
        if not paths:
            continue
        found = {path.parent.name for path in paths}
        per_place = sorted(sum(path.parent.name == place for path in paths) for place in found)
        views[f"{split}/{name}"] = {
            "places": len(found),
            "images": len(paths),
            "images_per_place": [per_place[0], per_place[len(per_place) // 2], per_place[-1]],
        }
        places.setdefault(split, {})[name] = found
        for path in bar(paths, description=f"{split}/{name}", total=len(paths)):
            try:
                read_image(path)
            except InputError as error:
                damaged.append(str(error))
    if not views:
        raise InputError(f"{dataset}: holds no image, expected {TRAIN}/VIEW/PLACE/*.jpg with VIEW {', '.join(VIEWS)}")
    return {"views": views, "missing": dict(_list_missing(places)), "damaged": damaged}


def _list_folders(dataset: Path) -> Iterator[tuple[str, str, Path]]:
    """Split, name and path of every folder that the layout has."""
    for split in (TRAIN, TEST):
        names = {name_view_folder(split, view, is_query=role) for view in VIEWS for role in (True, False)}
        yield from ((split, name, find_split(dataset, split) / name) for name in sorted(names))


def _list_missing(places: dict[str, dict[str, set[str]]]) -> Iterator[tuple[str, list[str]]]:
    """The places that one view of a split has and another lacks; queries need not have all of the gallery's."""
    for split, found in places.items():
        for role in ("query_", "gallery_") if split == TEST else ("",):
            mine = {name: of for name, of in found.items() if name.startswith(role)}
            everything = set().union(*mine.values()) if mine else set()
            for name, of in mine.items():
                if everything - of:
                    yield f"{split}/{name}", sorted(everything - of)


def _run(args: argparse.Namespace) -> None:
    found = inspect_dataset(args.dataset)
    if args.json:
        write_bytes_atomically(args.json, (json.dumps(found, indent=1) + "\n").encode())
    for name, one in found["views"].items():
        least, middle, most = one["images_per_place"]
        print(f"{name}: {one['images']} images of {one['places']} places ({least} to {most} of each, median {middle})")
    for name, missing in found["missing"].items():
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        print(f"{name}: lacks {len(missing)} places that other views have: {', '.join(missing[:_SHOWN])}{more}")
    for message in found["damaged"]:
        print(f"{_NAME}: {message}", file=sys.stderr)
    if found["damaged"]:
        raise InputError(f"{len(found['damaged'])} images are damaged, expected none; copy them again or remove them")


def main() -> int:
    """Inspect; 0 when all is well, 1 otherwise."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it there too")
    return run_command(_NAME, _run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
