"""Self-contained HTML pages: no script, style, font or image is loaded from anywhere else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

_STYLE = """
:root { --ink: #1b1f24; --soft: #5b6570; --line: #dfe3e8; --accent: #0b5cad; --bad: #b42318; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 44px 0 10px; padding-top: 14px; border-top: 1px solid var(--line); }
p { margin: 6px 0 12px; max-width: 75ch; }
.soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin: 26px 0 8px; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.tile b { display: block; font-size: 23px; font-weight: 600; letter-spacing: -0.01em; white-space: nowrap; }
.tile span { color: var(--soft); font-size: 13px; }
.tile.bad b { color: var(--bad); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 8px 40px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px 5px 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; font-size: 13px; }
td.number, th.number { text-align: right; padding-right: 0; padding-left: 14px; white-space: nowrap; }
figure { margin: 12px 0 0; }
figure img { width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 6px; }
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 22px; }
.cases img { border-radius: 6px; }
.cases figcaption b { color: var(--ink); font-weight: 600; }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def make_page(title: str, subtitle: str, sections: Sequence[str]) -> str:
    """Make a whole page; `title` and `subtitle` are text, `sections` HTML."""
    body = "\n".join(sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f'<body><main><h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p>\n{body}\n</main></body></html>\n'
    )


def section(heading: str, *parts: str) -> str:
    """A heading with HTML below it."""
    return f"<section><h2>{escape(heading)}</h2>{''.join(parts)}</section>"


def columns(*parts: str) -> str:
    """Parts side by side where the window is wide enough."""
    return f'<div class="columns">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def paragraph(text: str) -> str:
    """Explaining text."""
    return f'<p class="soft">{escape(text)}</p>'


def tiles(values: Sequence[tuple[str, str, bool]]) -> str:
    """Headline figures: (value, label, whether it is bad)."""
    cells = (
        f'<div class="tile{" bad" if bad else ""}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name, bad in values
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose other columns are numbers."""
    head = "".join(f"<th{_number(i)}>{escape(text)}</th>" for i, text in enumerate(heads))
    lines = "".join(
        f"<tr>{''.join(f'<td{_number(i)}>{escape(text)}</td>' for i, text in enumerate(row))}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _number(column: int) -> str:
    return ' class="number"' if column else ""


def figure(image: bytes, kind: str, *, alt: str, caption: str = "") -> str:
    """An image of MIME type image/`kind`; `alt` is text, `caption` HTML."""
    data = base64.b64encode(image).decode()
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><img alt="{escape(alt)}" src="data:image/{kind};base64,{data}">{below}</figure>'


def cases(figures: Sequence[str]) -> str:
    """Figures in a grid."""
    return f'<div class="cases">{"".join(figures)}</div>'
