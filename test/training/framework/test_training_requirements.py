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

"""Commands of training where PyTorch is not installed; these tests need none either."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in (ROOT / "training").rglob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


def run_without(missing: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python, with a library that cannot be found."""
    (folder / "sitecustomize.py").write_text(f"import sys; sys.modules[{missing!r}] = None")
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    return subprocess.run(
        [sys.executable, *words], check=False, capture_output=True, text=True, env=environment, timeout=300
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_its_libraries_says_how_to_get_them(command: str, tmp_path: Path) -> None:
    missing = "matplotlib" if command == "training.acceptance" else "torch"
    done = run_without(missing, tmp_path, "-m", command, "--help")
    assert done.returncode == 1
    assert re.fullmatch(rf"{command.removeprefix('training.')}: (\w+, )*{missing}.* not installed; .*\n", done.stderr)
    assert "make training" in done.stderr


def test_other_processes_may_import_what_needs_no_pytorch(tmp_path: Path) -> None:
    done = run_without("torch", tmp_path, "-c", "import training.acceptance.leaders")
    assert done.returncode == 0, done.stderr
