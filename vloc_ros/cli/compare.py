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

"""Which run is better? Runs of `vloc evaluate --json` side by side, and their differences query by query.

  vloc compare before.json after.json --report comparison.html

Every run is compared with the first one over the queries that both have: median differences of the errors where both
have a pose, differences of the shares over all, each with a 95 % interval by bootstrap over the queries. An interval
that leaves out zero is more than chance.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vloc_ros.cli.dependencies import require


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="JSON", help="from `vloc evaluate --json`; two to six")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a page with curves and every query")


def run(args: argparse.Namespace) -> int:
    """Compare, print, and write the page."""
    from vloc_ros.evaluation.comparison import compare_with_first
    from vloc_ros.evaluation.comparison_table import format_comparison
    from vloc_ros.storage.output_files import page_at
    from vloc_ros.storage.runs import read_runs

    if args.report:
        require("--report", "plotly", "jinja2")
    out = page_at(args.report) if args.report else None
    runs = read_runs(args.runs)
    pairs = compare_with_first(runs)
    print(format_comparison(runs, pairs))
    if out is not None:
        from vloc_ros.evaluation.comparison_page import make_comparison_page
        from vloc_ros.storage.atomic import write_bytes_atomically

        write_bytes_atomically(args.report, make_comparison_page(runs, pairs).encode())
        print(out)
    return 0
