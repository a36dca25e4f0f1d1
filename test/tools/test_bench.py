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

"""`make bench` measures one revision, keeps what it has of it, and leaves the page alone in a folder of one's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bench
import pytest
from benchmarks import provenance
from benchmarks.provenance import Section, read_sections
from benchmarks.real import MissingError


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was measured: two sections, and one that lacks its data."""
    names: list[str] = []

    def section(name: str) -> Any:
        def measure(_: Path) -> dict[str, Any]:
            names.append(name)
            return {"number": len(names)}

        return measure

    def missing(_: Path) -> dict[str, Any]:
        raise MissingError("no data")

    monkeypatch.setattr(bench, "SECTIONS", {"first": section("first"), "second": section("second"), "data": missing})
    monkeypatch.setattr(bench, "QUICK", ("first", "data"))
    monkeypatch.setattr(bench, "WORK", tmp_path / "work")
    monkeypatch.setattr(provenance, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(bench.fill_figures, "fill_pages", lambda root: [])
    at(monkeypatch, "aaaaaaaaaa")
    return names


def at(monkeypatch: pytest.MonkeyPatch, *revisions: str) -> None:
    """Set the revisions that are found one after the other, the last one from then on."""
    left = list(revisions)
    for module in (bench, provenance):
        monkeypatch.setattr(module, "revision", lambda: left.pop(0) if len(left) > 1 else left[0])


def test_the_quick_sections_are_sections_with_figures() -> None:
    assert set(bench.QUICK) <= set(bench.SECTIONS) & set(read_sections())


def test_a_section_is_kept_at_its_revision_and_measured_again_at_another_or_by_force(
    measured: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert bench.main([]) == 0
    assert bench.main(["first", "second"]) == 0
    assert measured == ["first", "second"]
    assert bench.main(["first", "--force"]) == 0
    at(monkeypatch, "bbbbbbbbbb")
    assert bench.main([]) == 0
    assert measured == ["first", "second", "first", "first"]
    found = Section.read(tmp_path / "figures" / "first.json")
    assert (found.measured.revision, found.figures) == ("bbbbbbbbbb", {"number": 4})
    assert not (tmp_path / "figures" / "data.json").exists()


def test_changed_code_is_measured_in_a_folder_of_ones_own_only(
    measured: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at(monkeypatch, "aaaaaaaaaa-dirty")
    with pytest.raises(SystemExit):
        bench.main(["first"])
    assert not measured
    for _ in range(2):
        assert bench.main(["first", "--out", str(tmp_path / "scratch")]) == 0
    assert measured == ["first", "first"]
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["first.json"]


def test_figures_are_not_kept_when_the_code_changes_meanwhile(
    measured: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at(monkeypatch, "aaaaaaaaaa", "aaaaaaaaaa", "bbbbbbbbbb")
    assert bench.main(["first", "second"]) == 1
    assert measured == ["first"]
    assert not (tmp_path / "figures" / "first.json").exists()


def test_a_section_that_does_not_exist_is_refused(measured: list[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["kitchen"])
    assert not measured


def test_nothing_needs_pytorch_before_a_section_does() -> None:
    """Of an environment without it: finding a module of its own fails."""
    program = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'lightning', 'timm', 'onnxscript'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import bench\n"
    )
    root = Path(bench.__file__).parent
    words, environment = [sys.executable, "-c", program], {**os.environ, "PYTHONPATH": f"{root}:{root.parent}"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
