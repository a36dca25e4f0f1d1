"""Markdown tables of BENCHMARK.md."""

from __future__ import annotations

from typing import Any

Figures = dict[str, Any]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
