"""What files and figures were made of, by its content: of anything else they are made again."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vloc_ros.storage.atomic import write_bytes_atomically

ROOT = Path(__file__).resolve().parent.parent.parent
# what was measured: it is part of the repository, so that a page of it can be written anywhere
FIGURES = ROOT / "docs" / "figures"


# what decides on figures, beside the machine
_CODE = ("vloc_ros", "vloc_msgs", "training", "tools", "config")


def revision() -> str | None:
    """The commit that is measured, with `-dirty` where its code was changed; None outside a checkout."""
    try:
        asked = [
            subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "--", *_CODE))
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    commit, changes = asked
    return f"{commit}-dirty" if changes else commit


def keep_figures(section: str, figures: Mapping[str, Any], *, of: str | None) -> None:
    """Write what a section measured, the revision and the kind of machine with it."""
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    text = json.dumps({**figures, "revision": of, "machine": machine}, indent=1) + "\n"
    FIGURES.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(FIGURES / f"{section}.json", text.encode())


def fingerprint(of: Any) -> str:
    """Of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]


def source_hash(*patterns: str) -> str:
    """Of all files of the repository that fit, such as `vloc_ros/core/*.py`."""
    found = [sorted(ROOT.glob(pattern)) for pattern in patterns]
    assert all(found), f"nothing fits one of {patterns}"
    return fingerprint({path.relative_to(ROOT).as_posix(): content_hash(path) for paths in found for path in paths})


def content_hash(path: Path) -> str:
    """Of a file, or of all in a folder with their names."""
    if path.is_dir():
        within = sorted(p for p in path.rglob("*") if p.is_file())
        return fingerprint({p.relative_to(path).as_posix(): content_hash(p) for p in within})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_once(folders: tuple[Path, ...], *, of: Mapping[str, Any], make: Callable[[], object]) -> None:
    """Make folders together, unless they were made of the same before.

    What they were made of is written last, beside the first of them: those of a run that was cut off are made again.
    """
    note, text = folders[0].with_name(f"{folders[0].name}.made_of.json"), json.dumps(of, indent=1)
    if note.is_file() and note.read_text() == text and all(folder.is_dir() for folder in folders):
        return
    note.unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    make()
    note.write_text(text)


@dataclass(frozen=True, slots=True)
class Rows:
    """What was measured for a section, kept one by one from run to run; what it was measured of decides on its use."""

    path: Path
    kept: dict[str, dict[str, Any]]

    @staticmethod
    def of(section: str) -> Rows:
        """Those of earlier runs, one that was cut off among them."""
        path = FIGURES / "rows" / f"{section}.json"
        return Rows(path, json.loads(path.read_text()) if path.is_file() else {})

    def once(self, name: str, *, of: str, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What is kept by this name, measured where there is nothing or it was measured of something else."""
        if self.kept.get(name, {}).get("of") != of:
            self.kept[name] = {"of": of, "found": dict(measure())}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps(self.kept, indent=1))
            part.replace(self.path)
        found: dict[str, Any] = self.kept[name]["found"]
        return found
