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

"""Make a table, places.csv, of a data set in the layout of the visual geo-localization benchmark.

  vloc place import DATASET --out places.csv     paths are those of the images where they are; nothing is copied

The table has the split, the role and all fields of the names, for spreadsheets and own tools. `vloc place export --csv`
writes the layout again, with the same names, coordinates and bytes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder with `images`")
    parser.add_argument("--out", type=Path, metavar="FILE", help="table to write (default: DATASET/places.csv)")


def run(args: argparse.Namespace) -> int:
    """Write the table."""
    from dataclasses import replace

    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.place_recognition.layout import query_sets, read_images
    from vloc_ros.datasets.place_recognition.place_images import DATABASE, SPLITS
    from vloc_ros.datasets.place_recognition.tables import TABLE, TableRow, format_table
    from vloc_ros.storage.atomic import write_bytes_atomically

    out = args.out or args.dataset / TABLE
    if out.exists():
        raise InputError(f"{out}: exists, expected a new file; name another with --out")
    below = os.path.relpath(args.dataset, out.parent)
    if below.startswith(".."):
        raise InputError(f"{out}: is not in {args.dataset} or above it, expected so, since paths are below the table")
    rows = [
        TableRow(split, role, replace(image, name=(Path(below) / image.name).as_posix()))
        for split in SPLITS
        for role in (DATABASE, *query_sets(args.dataset, split))
        for image in read_images(args.dataset, split, role)
    ]
    if not rows:
        raise InputError(f"{args.dataset}: holds no images, expected some in train, val or test")
    write_bytes_atomically(out, format_table(rows).encode())
    print(f"written: {out} ({len(rows)} images)")
    return 0
