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

"""Check a place recognition data set: names, coordinates, UTM zones, damaged images, queries without a positive.

  vloc place check DATASET

DATASET has the layout of the visual geo-localization benchmark, `images/{train,val,test}/{database,queries}` with
`@utm_e@utm_n@...@.jpg`, or a `places.csv` of people's own (docs/place-recognition.md). Every image is read. The exit
code is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the data set")
    parser.add_argument("--radius", type=float, default=25.0, metavar="M", help="of positives (default: 25)")


def run(args: argparse.Namespace) -> int:
    """Check and print."""
    from vloc_ros.cli.place_options import check_positives_options
    from vloc_ros.datasets.place_recognition.checks import check_dataset, extent_of
    from vloc_ros.progress import bar

    check_positives_options(args)
    report = check_dataset(args.dataset, radius_m=args.radius, progress=bar)
    for part in report.parts:
        east, north = extent_of(part.images)
        zone = ", ".join(zone or "local frame" for zone in sorted(part.zones)) or "no zone"
        line = f"{part.split + '/' + part.role:24} {len(part.images):7} images  {east:.0f} x {north:.0f} m, {zone}"
        if part.without_positive is not None:
            line += f", {part.without_positive} without a database image within {args.radius:g} m"
        print(line)
    for note in report.notes:
        print(f"note: {note}")
    for problem in report.problems:
        print(f"problem: {problem}")
    print("no problem" if not report.problems else f"{len(report.problems)} problems")
    return 1 if report.problems else 0
