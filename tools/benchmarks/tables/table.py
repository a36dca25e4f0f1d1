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

"""A table of the benchmark: a header, rows of text, and Markdown of both. Columns that several tables share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.provenance import Figures


@dataclass(frozen=True, slots=True)
class Table:
    """Header and rows of text."""

    header: list[str]
    rows: list[list[str]]

    @property
    def markdown(self) -> str:
        """As Markdown."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "".join("| " + " | ".join(line) + " |\n" for line in lines)

    def cell(self, row: str, column: str) -> str:
        """The text of a cell: of the first row that starts with these words, separated by ` + `.

        Raises:
            KeyError: there is no such row or column.
        """
        words = row.split(" + ")
        for one in self.rows:
            if one[: len(words)] == words and column in self.header:
                return one[self.header.index(column)]
        raise KeyError(f"no cell {row!r}, {column!r} among {[one[0] for one in self.rows]} and {self.header}")


@dataclass(frozen=True, slots=True)
class TableSource:
    """How a table is made.

    Attributes:
        sections: whose figures it shows. Rows of those that were not measured are left out.
        write: makes it from the figures of the sections by name.
    """

    sections: tuple[str, ...]
    write: Callable[[Mapping[str, Figures]], Table]


def hits(scores: Figures, limit: str) -> str:
    """Queries within a limit of recall, of all."""
    return f"{scores['recall'][limit] * scores['queries']:.0f}/{scores['queries']}"


def median_error(scores: Figures) -> str:
    """Median error of the position; empty where fewer than half of the queries have a pose."""
    return "" if scores["median_translation_m"] is None else f"{scores['median_translation_m'] * 100:.2f} cm"


def counts(numbers: Mapping[str, int]) -> str:
    """Numbers by name."""
    return ", ".join(f"{name} {count}" for name, count in numbers.items())
