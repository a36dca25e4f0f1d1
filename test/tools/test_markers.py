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

"""Markers show today's figures, and nothing else is accepted between them."""

from __future__ import annotations

import pytest
from benchmarks.markers import MarkerError, evaluate, fill_page, tables_of
from benchmarks.provenance import Measured, Section

_SOAK = {
    "minutes": 20.0,
    "rate_hz": 30.0,
    "growth_mb": {"localizer": 1.25, "map_server": 0.0},
    "memory_mb": {"localizer": 160.0, "map_server": 53.0},
    "runs": [{"right": 3, "of": {"queries": 4}}, {"right": 1, "of": {"queries": 4}}, {"other": 0}],
}
SECTIONS = {"soak": Section(_SOAK, Measured("0123456789", "2026-01-02"))}
TABLE = "<!-- table memory -->\n<!-- end table -->\n"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("soak:minutes; .0", "20"),
        ("soak:memory_mb:localizer; .1", "160.0"),
        ("soak:rate_hz; min.1", "0.5"),
        ("soak:rate_hz", "30.0"),
        ("soak:growth_mb:localizer / soak:memory_mb:localizer; %.2", "0.78"),
        ("soak:memory_mb:localizer / :map_server; .1", "3.0"),
        ("soak:runs:0:of:queries * ::right; .0", "12"),
        ("sum soak:runs:*:right; .0", "4"),
        ("min soak:runs:*:right; .0", "1"),
        ("max soak:runs:*:right; .0", "3"),
        ("count soak:runs:*:of:queries; .0", "2"),
        ("measured:soak:revision", "0123456789"),
        ("table:memory:localizer:growth", "+1.2 MB"),
    ],
)
def test_a_marker_shows_a_value(what: str, text: str) -> None:
    assert evaluate(what, SECTIONS) == text


@pytest.mark.parametrize(
    "what",
    [
        "castle:minutes; .0",  # was not measured
        "soak:seconds; .0",
        "soak:minutes:more; .0",
        "soak:runs:*:right; .0",  # several values
        "soak:minutes; km.0",
        "soak:growth_mb; .0",
        "table:memory:robot:growth",
        "table:night:dusk:5 cm 5°",
    ],
)
def test_a_marker_that_names_nothing_is_refused(what: str) -> None:
    with pytest.raises(MarkerError, match=what.split(";")[0].replace("*", r"\*")):
        fill_page(f"It is <!--={what}-->1<!--/-->.\n", SECTIONS)


def test_a_page_is_filled_between_its_markers_alone() -> None:
    page = f"# Memory\n\nOver <!--=soak:minutes; .0-->3<!--/--> minutes, 3 of them alone.\n\n{TABLE}\nEnd.\n"
    filled = fill_page(page, SECTIONS)
    assert filled.startswith("# Memory\n\nOver <!--=soak:minutes; .0-->20<!--/--> minutes, 3 of them alone.\n")
    assert "\n| localizer | 160 MB | +1.2 MB |\n" in filled
    assert "\nMeasured at `0123456789`, 2026-01-02, load not recorded.\n" in filled
    assert filled.endswith("<!-- end table -->\n\nEnd.\n")
    assert fill_page(filled, SECTIONS) == filled
    assert tables_of(filled) == {"memory"}


def test_a_table_of_sections_that_were_not_measured_says_so() -> None:
    filled = fill_page("<!-- table rigs -->\n| old | figures |\n<!-- end table -->\n", SECTIONS)
    assert "old" not in filled
    assert '`make bench SECTIONS="rigs"`' in filled


@pytest.mark.parametrize(
    "page",
    [
        "It is <!--=soak:minutes; .0-->3 minutes.\n",
        "It is 3<!--/--> minutes.\n",
        "<!-- table memory -->\n| localizer |\n",
        "<!-- table nothing -->\n<!-- end table -->\n",
        "It is\n<!--=soak:minutes; .0-->3<!--/--> minutes.\n",  # the line would be HTML
    ],
)
def test_a_malformed_page_is_refused(page: str) -> None:
    with pytest.raises(MarkerError):
        fill_page(page, SECTIONS)
