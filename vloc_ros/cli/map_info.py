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

"""Show what a map holds: its frame, size, calibration, and how it was built.

The whole map is read and checked; a damaged one is refused. With --json the names of the keyframes are listed too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map build`")
    parser.add_argument("--json", action="store_true", help="print JSON, all lengths in metres and angles in radians")


def run(args: argparse.Namespace) -> int:
    """Print the description."""
    from vloc_ros.cli.map_description import describe_map, format_description

    description = describe_map(args.map)
    print(json.dumps(description, indent=2, allow_nan=False) if args.json else format_description(description))
    return 0
