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

"""Markers in Markdown pages, and the figures that belong between them.

A page is written by hand. What was measured stands between two comments, which do not show:

    <!-- table accuracy -->            a table of `benchmarks.tables`, with a line on when and how it was measured
    <!-- end table -->

    a median of <!--=redkitchen:median_translation_m; cm.2-->0.21<!--/--> cm

The second kind names a value of docs/benchmark/SECTION.json by its keys, separated by `:`. After `;` comes an optional
unit (%, cm, mm, MB, min) and the number of decimals; without `;` the value is shown as text.

- `a:b / a:c` and `a:b * a:c`: a quotient or a product; a second operand that starts with colons goes up from the first
  by as many keys: `a:b / :c`.
- `*` as a key stands for all that have the rest; `sum`, `min`, `max` or `count` before the keys says what of them.
- `measured:SECTION:revision` (or `date`): of the section's measurement.
- `table:NAME:ROW:COLUMN`: a cell of a table; ROW is the text of the first cell, or of the first ones with ` + `
  between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.provenance import Section
from benchmarks.tables.registry import ALL, TABLES, render_table, write_table

_INLINE = re.compile(r"<!--=(?P<what>[^>]*?)-->(?P<text>[^<]*)<!--/-->")
_TABLE = re.compile(r"^<!-- table (?P<name>\S+) -->\n(?P<text>.*?)^<!-- end table -->$", re.DOTALL | re.MULTILINE)
_ANY = re.compile(r"<!--=|<!--/-->|<!-- table|<!-- end table")
_LINE_START = re.compile(r"^ {0,3}<!--=", re.MULTILINE)
_FORM = re.compile(r"(?P<unit>%|cm|mm|MB|min)?\.(?P<decimals>\d)")
_SCALES = {None: 1.0, "%": 100.0, "cm": 100.0, "mm": 1000.0, "MB": 1e-6, "min": 1 / 60}
_OVER: dict[str, Callable[[Sequence[float]], float]] = {"sum": sum, "min": min, "max": max, "count": len}


class MarkerError(ValueError):
    """A marker is malformed, or names what there is not."""


def fill_page(text: str, sections: Mapping[str, Section]) -> str:
    """The page with today's figures between its markers.

    Raises:
        MarkerError: a marker is malformed, or names what there is not.
    """
    if found := _LINE_START.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise MarkerError(f"line {line} starts with a marker, which makes it HTML: move a word before it")
    seen = 2 * len(_INLINE.findall(text)) + 2 * len(_TABLE.findall(text))
    if seen != len(_ANY.findall(text)):
        raise MarkerError(f"found {len(_ANY.findall(text))} comments of markers, of which {seen} are pairs")
    text = _INLINE.sub(lambda m: f"<!--={m['what']}-->{evaluate(m['what'], sections)}<!--/-->", text)
    return _TABLE.sub(lambda m: f"<!-- table {m['name']} -->\n{_table(m['name'], sections)}<!-- end table -->", text)


def tables_of(text: str) -> set[str]:
    """The names of the tables of a page."""
    return {found["name"] for found in _TABLE.finditer(text)}


def without_markers(text: str) -> str:
    """The page as it reads."""
    return re.sub(r"<!--.*?-->", "", text)


def _table(name: str, sections: Mapping[str, Section]) -> str:
    if name not in (*TABLES, ALL):
        raise MarkerError(f"no table {name!r}, expected one of {' '.join([*TABLES, ALL])}")
    # a blank line, without which Markdown takes the table for a part of the comment
    return f"\n{render_table(name, sections)}\n"


def evaluate(what: str, sections: Mapping[str, Section]) -> str:
    """The text of an inline marker.

    Raises:
        MarkerError: it is malformed, or names what there is not.
    """
    try:
        if what.startswith("table:"):
            return _cell(what, sections)
        names, _, form = what.partition(";")
        value = _value(names.strip(), sections)
        return _format(value, form.strip()) if form else str(value)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise MarkerError(f"<!--={what}-->: {error}") from error


def _cell(what: str, sections: Mapping[str, Section]) -> str:
    _, name, row, column = what.split(":", 3)
    table = write_table(name, sections)
    if table is None:
        raise KeyError(f"table {name} was not measured")
    return table.cell(row, column)


def _format(value: Any, form: str) -> str:
    match = _FORM.fullmatch(form)
    if not match:
        raise ValueError(f"found the form {form!r}, expected a unit of {' '.join(filter(None, _SCALES))} and .DECIMALS")
    return f"{float(value) * _SCALES[match['unit']]:.{match['decimals']}f}"


def _value(names: str, sections: Mapping[str, Section]) -> Any:
    for sign in (" / ", " * "):
        first, found, second = names.partition(sign)
        if found:
            left = _look_up(first, sections)
            up = len(second) - len(second.lstrip(":"))
            base = ":".join(first.split(":")[:-up]) + ":" if up else ""
            right = _look_up(base + second.lstrip(":"), sections)
            return left / right if sign == " / " else left * right
    return _look_up(names, sections)


def _look_up(names: str, sections: Mapping[str, Section]) -> Any:
    over, _, rest = names.partition(" ")
    if over not in _OVER:
        over, rest = "", names
    root, *keys = rest.split(":")
    if root == "measured":
        name, attribute = keys
        return getattr(sections[name].measured, attribute) or "not recorded"
    if root not in sections:
        raise KeyError(f"there is no docs/benchmark/{root}.json: `make bench SECTIONS={root}`")
    values = _follow(sections[root].figures, keys)
    if over:
        return _OVER[over](values)
    if len(values) != 1:
        raise ValueError(f"found {len(values)} values, expected one, or one of {' '.join(_OVER)} before the keys")
    return values[0]


def _follow(node: Any, keys: Sequence[str]) -> list[Any]:
    """The values at the end of the keys."""
    if not keys:
        return [node]
    key, *rest = keys
    if key == "*":
        children = node.values() if isinstance(node, dict) else node
        return [value for child in children if _has(child, rest) for value in _follow(child, rest)]
    return _follow(node[int(key)] if isinstance(node, list) else node[key], rest)


def _has(node: Any, keys: Sequence[str]) -> bool:
    try:
        _follow(node, keys)
    except (KeyError, IndexError, TypeError, ValueError):
        return False
    return True
