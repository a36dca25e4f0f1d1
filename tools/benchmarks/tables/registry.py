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

"""All tables of the benchmark by name, with a line on when and how they were measured."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from benchmarks.provenance import Measured, Section
from benchmarks.tables import (
    acceptance,
    aerial_size,
    camera_in_lidar,
    cross_modal,
    cross_view,
    descriptors,
    engines,
    landmarks,
    lidar,
    lidar_size,
    maps,
    matching,
    places,
    robots,
)
from benchmarks.tables.table import Table, TableSource

TABLES: dict[str, TableSource] = {
    **maps.TABLES,
    **acceptance.TABLES,
    **landmarks.TABLES,
    **descriptors.TABLES,
    **robots.TABLES,
    **places.TABLES,
    **cross_view.TABLES,
    **aerial_size.TABLES,
    **lidar.TABLES,
    **lidar_size.TABLES,
    **cross_modal.TABLES,
    **camera_in_lidar.TABLES,
    **engines.TABLES,
    **matching.TABLES,
}
# the table of all sections themselves
ALL = "sections"
_WIDTH = 120


def write_table(name: str, sections: Mapping[str, Section]) -> Table | None:
    """A table from the sections that were measured; None where there are none."""
    if name == ALL:
        return _list_sections(sections)
    source = TABLES[name]
    measured = {section: sections[section].figures for section in source.sections if section in sections}
    return source.write(measured) if measured else None


def render_table(name: str, sections: Mapping[str, Section]) -> str:
    """A table as Markdown, and below it when and how it was measured, and what is missing."""
    if name == ALL:
        return _list_sections(sections).markdown
    names = TABLES[name].sections
    found = {section: sections[section] for section in names if section in sections}
    table, missing = write_table(name, sections), [section for section in names if section not in sections]
    lines = [_describe(found)] if found else []
    if missing:
        lines.append(f'Not measured yet: `make bench SECTIONS="{" ".join(missing)}"`.')
    text = textwrap.fill(" ".join(lines), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return f"{table.markdown}\n{text}\n" if table else f"{text}\n"


def _describe(found: Mapping[str, Section]) -> str:
    groups: dict[str, list[str]] = {}
    for name, section in found.items():
        groups.setdefault(describe_measured(section), []).append(name)
    if len(groups) == 1:
        text = next(iter(groups))
        return f"{text[0].upper()}{text[1:]}."
    return "; ".join(f"{', '.join(names)}: {how}" for how, names in groups.items()) + "."


def describe_measured(section: Section) -> str:
    """Revision, date and state of the machine, as text."""
    measured = section.measured
    at = f"`{measured.revision}`" if measured.revision else "a revision not recorded"
    done = "measured at"
    if rows := section.figures.get("row_revisions"):
        kept = ", ".join(f"`{one}`" if one else "revisions not recorded" for one in rows)
        done = f"rows of {kept} put together at"
    return ", ".join([f"{done} {at}", measured.date, describe_quiet(measured), *filter(None, [measured.note])])


def describe_quiet(measured: Measured) -> str:
    """Whether the machine was quiet, as text."""
    if measured.quiet is None:
        return "load not recorded"
    return "quiet machine" if measured.quiet else "beside other work"


def _list_sections(sections: Mapping[str, Section]) -> Table:
    """When and how each section was measured."""
    rows = []
    for name, section in sections.items():
        one = section.measured
        took = "" if one.seconds is None else f"{one.seconds / 60:.1f}"
        shares = ["" if share is None else f"{share:.1%}" for share in (one.steal, one.other_work)]
        load = "" if one.load_before is None else f"{one.load_before:.2f}"
        rows.append([name, one.revision or "not recorded", one.date, took, load, *shares, describe_quiet(one)])
    header = ["section", "revision", "date", "minutes", "load before", "CPU stolen", "CPU of other work", "machine"]
    return Table(header, rows)
