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

"""The pages of the repository are filled from the figures in docs/benchmark; a figure edited by hand is found."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import fill_figures
import pytest
from benchmarks.markers import fill_page, tables_of, without_markers
from benchmarks.plots import PLOTS, draw_plots, outdated_plots
from benchmarks.provenance import FIGURES, ROOT, read_sections
from benchmarks.tables.registry import ALL, TABLES

PAGES = fill_figures.pages(ROOT)
MARKED = [page for page in PAGES if "<!--=" in page.read_text() or tables_of(page.read_text())]
BENCHMARK = [ROOT / "BENCHMARK.md", *sorted(FIGURES.glob("*.md"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the pages and their figures."""
    for page in PAGES:
        (tmp_path / name_of(page)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, tmp_path / name_of(page))
    for file in [*FIGURES.glob("*.json"), *FIGURES.glob("*.svg")]:
        shutil.copy(file, tmp_path / "docs" / "benchmark")
    return tmp_path


def test_pages_and_plots_are_of_the_figures() -> None:
    """`make figures` fills them."""
    assert fill_figures.check_pages(ROOT) == []


@pytest.mark.parametrize("page", MARKED, ids=name_of)
def test_every_figure_that_is_edited_by_hand_is_found(page: Path) -> None:
    text, sections = page.read_text(), read_sections()
    places = [found.span(1) for found in re.finditer(r"<!--=[^>]*-->([^<]*)<!--/-->", text)]
    for found in re.finditer(r"^<!-- table \S+ -->\n(.*?)^<!-- end table -->", text, re.DOTALL | re.MULTILINE):
        figure = re.search(r"\d", found[1])
        places += [(found.start(1) + figure.start(), found.start(1) + figure.end())] if figure else []
    assert places or "Not measured yet" in text
    edited = text
    for _, end in sorted(places, reverse=True):
        edited = f"{edited[:end]}7{edited[end:]}"
    assert len(edited) == len(text) + len(places)
    assert fill_page(edited, sections) == text


def test_a_difference_is_shown_and_then_filled(copy: Path) -> None:
    readme = copy / "README.md"
    edited = re.sub(r"(<!--=redkitchen:median_translation_m; cm.2-->)[\d.]+", r"\g<1>0.01", readme.read_text())
    readme.write_text(edited)
    found = fill_figures.check_pages(copy)
    assert any("README.md" in line for line in found)
    assert any(line.startswith("-") and "0.01<!--/-->" in line for line in found)
    assert readme.read_text() == edited
    assert fill_figures.fill_pages(copy) == ["README.md"]
    assert fill_figures.check_pages(copy) == []


def test_new_figures_reach_pages_and_plots(copy: Path) -> None:
    path = copy / "docs" / "benchmark" / "compression.json"
    figures = json.loads(path.read_text())
    figures["redkitchen"][0]["points"] = 123456
    path.write_text(json.dumps(figures))
    assert any("compression.svg" in line for line in fill_figures.check_pages(copy))
    assert fill_figures.fill_pages(copy) == ["docs/benchmark/photographs.md", "docs/benchmark/compression.svg"]
    assert "| redkitchen, all | 123456 |" in (copy / "docs" / "benchmark" / "photographs.md").read_text()


def test_a_plot_is_drawn_once_from_the_same_figures(tmp_path: Path) -> None:
    sections = read_sections()
    assert {path.stem for path in draw_plots(tmp_path, sections)} == set(PLOTS)
    assert all(path.stat().st_size < 150_000 for path in tmp_path.glob("*.svg"))
    assert outdated_plots(tmp_path, sections) == []
    assert draw_plots(tmp_path, sections) == []


def test_every_table_and_every_section_is_on_a_page() -> None:
    shown = set[str]().union(*(tables_of(page.read_text()) for page in BENCHMARK))
    assert shown == {*TABLES, ALL}
    in_tables = {section for source in TABLES.values() for section in source.sections}
    inline = {name for page in MARKED for name in re.findall(r"<!--=(?:\w+ )?(\w+):", page.read_text())}
    assert set(read_sections()) <= in_tables | inline


@pytest.mark.parametrize("page", BENCHMARK, ids=name_of)
def test_a_line_of_the_benchmark_fits_a_screen(page: Path) -> None:
    lines = without_markers(page.read_text()).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
