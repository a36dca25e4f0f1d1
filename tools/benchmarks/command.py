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

"""Run the package's own commands, as a user would."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent.parent


def vloc(*words: str | Path) -> float:
    """Run `vloc WORDS`; seconds of wall time it took.

    Raises:
        subprocess.CalledProcessError: the command failed; its output has been shown.
    """
    print("   $ vloc " + shlex.join(map(str, words)), flush=True)
    return _run_timed("vloc_ros.cli.main", *words)


def vloc_command(*words: str | Path) -> list[str]:
    """The command `vloc WORDS`, which is shown, for who runs it another way."""
    print("   $ vloc " + shlex.join(map(str, words)), flush=True)
    return _command("vloc_ros.cli.main", *words)


def training(module: str, *words: str | Path) -> float:
    """Run `python -m training.MODULE WORDS`; seconds of wall time it took.

    Raises:
        subprocess.CalledProcessError: the command failed; its output has been shown.
    """
    print(f"   $ python -m training.{module} " + shlex.join(map(str, words)), flush=True)
    return _run_timed(f"training.{module}", *words)


def run_tool(name: str, *words: str | Path, codes: Collection[int] = (0,)) -> None:
    """Run a script of tools/, which may end with one of the exit codes.

    Raises:
        RuntimeError: it ended with another one.
    """
    print(f"   $ python tools/{name} " + shlex.join(map(str, words)), flush=True)
    code = subprocess.run([sys.executable, _ROOT / "tools" / name, *words], check=False, cwd=_ROOT).returncode
    if code not in codes:
        raise RuntimeError(f"tools/{name} ended with {code}, expected one of {', '.join(map(str, codes))}")


def refusal(*words: str | Path) -> str:
    """Run `vloc WORDS`, which must fail with an error; its message."""
    print("   $ vloc " + shlex.join(map(str, words)) + "    # is refused", flush=True)
    command = [sys.executable, "-m", "vloc_ros.cli.main", *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=_ROOT)
    if done.returncode != 1:
        raise RuntimeError(f"vloc {words[0]} ended with {done.returncode}, expected a refusal: {done.stderr[-500:]}")
    return done.stderr.strip().splitlines()[-1]


def interrupt(module: str, *words: str | Path, when: Callable[[], bool]) -> None:
    """Run `python -m training.MODULE WORDS` and kill it as soon as a condition holds.

    Raises:
        RuntimeError: it ended before.
    """
    print(f"   $ python -m training.{module} " + shlex.join(map(str, words)) + "    # is killed", flush=True)
    with subprocess.Popen(_command(f"training.{module}", *words), stdout=subprocess.DEVNULL, cwd=_ROOT) as process:
        while not when():
            if process.poll() is not None:
                raise RuntimeError(f"training.{module} ended with {process.returncode} before it could be interrupted")
            time.sleep(0.05)
        process.kill()


def _run_timed(module: str, *words: str | Path) -> float:
    start = time.monotonic()
    subprocess.run(
        _command(module, *words), check=True, stdout=subprocess.DEVNULL, cwd=_ROOT
    )  # training is not installed
    return time.monotonic() - start


def _command(module: str, *words: str | Path) -> list[str]:
    return [sys.executable, "-m", module, *(str(w.absolute()) if isinstance(w, Path) else w for w in words)]


def evaluate(json_path: Path, *words: str | Path) -> dict[str, Any]:
    """Run `vloc evaluate WORDS --json json_path` and read its scores; no rows of images, nor the run's settings."""
    vloc("evaluate", *words, "--json", json_path)
    scores = json.loads(json_path.read_text())
    return {name: value for name, value in scores.items() if name not in ("images", "run")}
