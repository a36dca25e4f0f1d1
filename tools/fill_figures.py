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

"""Fill the figures of all pages from docs/benchmark/*.json, and draw the plots.

    make figures
    python tools/fill_figures.py --check     # changes nothing; exit code 1 where a page or a plot is not of the figures

BENCHMARK.md, README.md and the pages in docs/ are written by hand. What was measured stands between markers
(`tools/benchmarks/markers.py` describes them).
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.markers import MarkerError, fill_page
from benchmarks.plots import draw_plots, outdated_plots
from benchmarks.provenance import ROOT, Section, read_sections

FOLDER = Path("docs", "benchmark")


def main(words: list[str] | None = None) -> int:
    """Fill or check the pages; 0 where all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, show what is not of the figures")
    args = parser.parse_args(words)
    try:
        differences = check_pages(ROOT) if args.check else fill_pages(ROOT)
    except MarkerError as error:
        print(f"fill_figures: {error}", file=sys.stderr)
        return 1
    print("\n".join(differences))
    return 1 if args.check and differences else 0


def pages(root: Path) -> list[Path]:
    """The pages with markers, or with room for them."""
    return [root / "BENCHMARK.md", root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def fill_pages(root: Path) -> list[str]:
    """Fill all pages and draw the plots; what was written, relative to the root.

    Raises:
        MarkerError: a marker is malformed, or names what there is not.
    """
    sections, written = read_sections(root / FOLDER), []
    for page in pages(root):
        text, filled = page.read_text(), _fill(page, root, sections)
        if filled != text:
            page.write_text(filled)
            written.append(page)
    written += draw_plots(root / FOLDER, sections)
    return [path.relative_to(root).as_posix() for path in written]


def check_pages(root: Path) -> list[str]:
    """Lines of pages, and plots, that are not of the figures.

    Raises:
        MarkerError: a marker is malformed, or names what there is not.
    """
    sections, found = read_sections(root / FOLDER), []
    for page in pages(root):
        text, filled = page.read_text(), _fill(page, root, sections)
        name = page.relative_to(root).as_posix()
        found += difflib.unified_diff(text.splitlines(), filled.splitlines(), name, f"{name}, filled", "", "", 0, "")
    return [
        *found,
        *(f"{FOLDER / name}.svg is not drawn from the figures" for name in outdated_plots(root / FOLDER, sections)),
    ]


def _fill(page: Path, root: Path, sections: Mapping[str, Section]) -> str:
    try:
        return fill_page(page.read_text(), sections)
    except MarkerError as error:
        raise MarkerError(f"{page.relative_to(root)}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
