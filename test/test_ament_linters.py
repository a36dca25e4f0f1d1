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

"""The linters of ROS, where they are installed; `make lint` holds the same rules everywhere but for licences."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = ["launch", "setup.py", "test", "tools", "training", "vloc_msgs", "vloc_ros"]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_ament_copyright_finds_a_licence_in_every_file() -> None:
    linter = pytest.importorskip("ament_copyright.main", reason="ament_copyright is not installed")
    assert linter.main(argv=[*CODE, "CONTRIBUTING.md", "LICENSE"]) == 0


def test_ament_flake8_finds_no_mistakes() -> None:
    linter = pytest.importorskip("ament_flake8.main", reason="ament_flake8 is not installed")
    found, mistakes = linter.main_with_errors(argv=["--config", "setup.cfg", *CODE])
    assert found == 0, "\n".join(mistakes)


def test_ament_pep257_accepts_the_docstrings() -> None:
    """Those that are missing are ruff's matter, and so is which words are names (D403)."""
    linter = pytest.importorskip("ament_pep257.main", reason="ament_pep257 is not installed")
    left_out = [f"D10{number}" for number in range(8)]
    assert linter.main(argv=["--convention", "google", "--add-ignore", *left_out, "D403", "--", *CODE]) == 0


def test_every_python_file_has_a_licence_header() -> None:
    code = [path for name in CODE for path in [ROOT / name, *(ROOT / name).rglob("*.py")] if path.suffix == ".py"]
    texts = {path: path.read_text() for path in code}
    assert len(texts) > 500
    bare = [path for path, text in texts.items() if text and "Licensed under the Apache License" not in text[:200]]
    assert not [path for path in bare if not {"build", "__pycache__"} & set(path.parts)]
