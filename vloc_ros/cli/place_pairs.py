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

"""Write the retrieved pairs of images as text, a query and a database image in each line, as hloc reads them.

  vloc place pairs DATASET --index MODEL --count 20 --out pairs.txt
  vloc place pairs aachen/images_upright --database db --queries query --out pairs.txt    folders without positions

Names are relative to the folder that is given, which is hloc's `--image_dir`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vloc_ros.cli.place_options import add_index_options, add_split_options


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="data set, or with --database any folder")
    parser.add_argument("--database", metavar="FOLDER", help="below DATASET, of images at any depth; --queries is too")
    parser.add_argument("--count", type=int, default=20, metavar="N", help="of each query (default: 20)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="text file to write")
    add_split_options(parser)
    add_index_options(parser, repeatable=False)


def run(args: argparse.Namespace) -> int:
    """Describe, rank and write."""
    from vloc_ros.cli.place_options import open_index, scales_of, size_of
    from vloc_ros.core.errors import InputError
    from vloc_ros.core.retrieval.ranking import rank_views
    from vloc_ros.evaluation.place_retrieval import describe_images
    from vloc_ros.progress import bar
    from vloc_ros.storage.atomic import write_bytes_atomically

    if args.count < 1:
        raise InputError(f"--count is {args.count}, expected 1 or more")
    if args.out.exists():
        raise InputError(f"{args.out}: exists, expected a new file; name another")
    scales, index = scales_of(args), open_index(args.index, args)
    database, queries = _paths(args)
    encoder = index.make(database)
    given = {"size": size_of(args), "scales": scales, "progress": bar}
    known = describe_images(database, encoder, description="database", **given)
    asked = describe_images(queries, encoder, method=args.method, description="queries", **given)
    ranking = rank_views(asked.descriptors, known.descriptors[:, 0], args.method, args.count)
    lines = [
        f"{_name(args, queries[asked.kept[q]])} {_name(args, database[known.kept[row]])}\n"
        for q, rows in enumerate(ranking.rows)
        for row in rows
    ]
    write_bytes_atomically(args.out, "".join(lines).encode())
    damaged = [*known.damaged, *asked.damaged]
    for message in damaged:
        print(f"vloc: warning: left out: {message}", file=sys.stderr)
    print(f"written: {args.out} ({len(lines)} pairs of {len(asked.kept)} queries)")
    return 1 if damaged else 0


def _paths(args: argparse.Namespace) -> tuple[Sequence[Path], Sequence[Path]]:
    from vloc_ros.cli.place_options import read_split_of
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.images import SUFFIXES

    if not args.database:
        split = read_split_of(args)
        return [image.path for image in split.database], [image.path for image in split.queries]
    found = []
    for name in (args.database, args.queries):
        paths = sorted(p for p in (args.dataset / name).rglob("*") if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise InputError(f"{args.dataset / name}: holds no images, expected .jpg, .jpeg or .png files at any depth")
        found.append(paths)
    return found[0], found[1]


def _name(args: argparse.Namespace, path: Path) -> str:
    """Below the folder; hloc separates names by a blank."""
    from vloc_ros.core.errors import InputError

    name = path.relative_to(args.dataset).as_posix()
    if " " in name:
        raise InputError(f"{name}: has a blank, which would end the name in a line of pairs; rename the file")
    return name
