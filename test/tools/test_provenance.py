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

"""What was made or measured once is used again, unless it was left unfinished; how figures were measured is kept."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import provenance
from benchmarks.provenance import Measured, Rows, Section, Watch, keep_figures, make_once, read_sections, revision


class Killed(BaseException):
    """The process ended here."""


def test_folders_are_made_again_when_they_are_of_something_else(tmp_path: Path) -> None:
    folders, made = (tmp_path / "images", tmp_path / "maps" / "map"), []

    def make() -> None:
        made.append("made")
        for folder in folders:
            folder.mkdir(parents=True)  # fails where an earlier one was left

    for of, times in (({"rooms": 1}, 1), ({"rooms": 1}, 1), ({"rooms": 2}, 2)):
        make_once(folders, of=of, make=make)
        assert len(made) == times
    folders[1].rmdir()
    make_once(folders, of={"rooms": 2}, make=make)
    assert len(made) == 3


def test_unfinished_folders_are_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    make_once((folder,), of={"rooms": 1}, make=folder.mkdir)

    def killed() -> None:
        folder.mkdir()
        raise Killed

    with pytest.raises(Killed):
        make_once((folder,), of={"rooms": 2}, make=killed)
    (folder / "half").touch()
    make_once((folder,), of={"rooms": 1}, make=folder.mkdir)  # the folder of the first note is gone
    assert not list(folder.iterdir())


def test_rows_are_kept_across_revisions_until_their_settings_change_or_they_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "FIGURES", tmp_path)
    measured = []

    def measure() -> dict[str, int]:
        measured.append("measured")
        return {"hits": len(measured)}

    def hits(name: str, of: str, at: str) -> int:
        monkeypatch.setattr(provenance, "revision", lambda: at)
        return Rows.of("section").once(name, of=of, measure=measure)["hits"]

    assert [hits("a", "x", "1"), hits("a", "x", "2"), hits("b", "x", "2"), hits("a", "y", "3")] == [1, 1, 2, 3]
    assert Rows.of("section").revisions == ["2", "3"]
    Rows.forget("section")
    assert hits("b", "x", "3") == 4


def test_the_revision_is_the_last_commit_that_changed_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout.strip()

    def commit(name: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
        git("add", ".")
        git("commit", "--quiet", "--message", name)

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    git("init", "--quiet")
    commit("vloc_ros/one.py")
    first = revision()
    assert first is not None
    assert git("rev-parse", "HEAD").startswith(first)
    commit("docs/page.md")
    assert revision() == first
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "two.py").touch()
    assert revision() == f"{first}-dirty"
    commit("tools/two.py")
    assert git("rev-parse", "HEAD").startswith(revision() or "nothing")
    assert revision() != first


def test_figures_are_read_back_with_how_they_were_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "FIGURES", tmp_path)
    measured = Watch().stop()
    keep_figures("soak", {"minutes": 20.0}, measured)
    assert read_sections(tmp_path) == {"soak": Section({"minutes": 20.0}, measured)}


def test_a_machine_with_other_work_is_not_quiet() -> None:
    measured = Measured(revision=None, date="2026-01-01", load_before=0.1, steal=0.0, other_work=0.0)
    assert measured.quiet
    for busy in ({"load_before": 1.0}, {"steal": 0.1}, {"other_work": 0.5}):
        assert replace(measured, **busy).quiet is False
    assert replace(measured, steal=None).quiet is None
