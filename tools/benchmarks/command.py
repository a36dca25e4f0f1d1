"""Run the package's own commands, as a user would."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def vloc(*words: str | Path) -> float:
    """Run `vloc WORDS`; seconds of wall time it took.

    Raises:
        subprocess.CalledProcessError: the command failed; its output has been shown.
    """
    print("   $ vloc " + shlex.join(map(str, words)), flush=True)
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "vloc_ros.cli.main", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def evaluated(json_path: Path, *words: str | Path) -> dict[str, Any]:
    """Run `vloc evaluate WORDS --json json_path` and read what it measured."""
    vloc("evaluate", *words, "--json", json_path)
    return dict(json.loads(json_path.read_text()))
