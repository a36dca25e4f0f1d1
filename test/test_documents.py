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

"""The documents: links lead somewhere, every page is in the index, and commands have options that exist."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from vloc_ros.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """The text without code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(page: Path) -> list[str]:
    """Relative links and anchors that lead nowhere."""
    dead = []
    for link in _LINK.findall(prose(page)):
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path) if path else page
        if "://" in link or (target.exists() and not anchor):
            continue
        if not target.is_file() or anchor not in anchors(target):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# 1. A title, of `this`\n```sh\n# no title\n```\n")
    links = "[a](other.md#1-a-title-of-this) [b](none.md) [c](#here) [d](other.md#no-title) `[e](code.md)` [f](#two)"
    (tmp_path / "page.md").write_text(f"## Here\n{links}\n")
    assert dead_links(tmp_path / "page.md") == ["none.md", "other.md#no-title", "#two"]


def test_every_page_is_in_the_index() -> None:
    listed = set(_LINK.findall((ROOT / "docs" / "README.md").read_text()))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= listed
    listed = set(_LINK.findall((ROOT / "BENCHMARK.md").read_text()))
    assert {f"docs/benchmark/{page.name}" for page in (ROOT / "docs" / "benchmark").glob("*.md")} <= listed


def test_the_first_screen_says_what_it_needs_and_cannot() -> None:
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:20])
    for word in ("picture.png", "needs", "scenes", "light", "cannot", "never run on a robot"):
        assert word in screen
    assert (ROOT / "docs" / "picture.png").stat().st_size < 200_000


def commands_of(page: Path) -> Iterator[list[str]]:
    """The words of every `vloc` command in the code blocks of a page."""
    for block in re.findall(r"^ *```(?:sh)?\n(.*?)^ *```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.replace("'", "").partition("  #")[0], comments=True)
            if words[:1] == ["vloc"]:
                yield words[1 : words.index("&&") if "&&" in words else None]


def options_of(command: tuple[str, ...]) -> set[str]:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"vloc_ros.cli.{COMMANDS[command][0]}").register(parser)
    return set(parser._option_string_actions)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_options_that_exist(page: Path) -> None:
    for words in commands_of(page):
        command = next((c for c in COMMANDS if tuple(words[: len(c)]) == c), None)
        assert command is not None, words
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options_of(command), words


def test_the_pages_show_most_commands() -> None:
    shown = {" ".join(words[:2]) for page in PAGES for words in commands_of(page)}
    assert len(shown) > 10
