"""Hashes of what files and figures were made from. They are made again when these change."""

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
# part of the repository, so that the page can be written on any machine
FIGURES = ROOT / "docs" / "figures"


# what figures depend on, beside the machine
_CODE = ("vloc_ros", "vloc_msgs", "training", "tools", "config")


def revision() -> str | None:
    """The commit that is measured, with `-dirty` where its code was changed; None outside a checkout."""
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "--", *_CODE))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit


def keep_figures(section: str, figures: Mapping[str, Any], *, measured_at: str | None) -> None:
    """Write the figures of a section, with the revision and the kind of machine."""
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    text = json.dumps({**figures, "revision": measured_at, "machine": machine}, indent=1) + "\n"
    FIGURES.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(FIGURES / f"{section}.json", text.encode())


def fingerprint(content: Any) -> str:
    """Hash anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def source_hash(*patterns: str) -> str:
    """Hash all files of the repository that match a pattern, such as `vloc_ros/core/**/*.py`."""
    found = [sorted(ROOT.glob(pattern)) for pattern in patterns]
    assert all(found), f"no file matches one of {patterns}"
    return fingerprint({path.relative_to(ROOT).as_posix(): content_hash(path) for paths in found for path in paths})


def content_hash(path: Path) -> str:
    """Hash a file, or all files of a folder with their names."""
    if path.is_dir():
        within = sorted(p for p in path.rglob("*") if p.is_file())
        return fingerprint({p.relative_to(path).as_posix(): content_hash(p) for p in within})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_once(folders: tuple[Path, ...], *, of: Mapping[str, Any], make: Callable[[], object]) -> None:
    """Make folders together, unless they were made of the same before.

    A note beside the first folder says what they were made of. It is written last: the folders of an interrupted run
    are made again.
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
    """Measured rows of a section, kept from run to run. A row is used again while its fingerprint is the same."""

    path: Path
    kept: dict[str, dict[str, Any]]

    @staticmethod
    def of(section: str) -> Rows:
        """The rows of earlier runs of a section, interrupted ones included."""
        path = FIGURES / "rows" / f"{section}.json"
        return Rows(path, json.loads(path.read_text()) if path.is_file() else {})

    def once(self, name: str, *, of: str, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The row of this name. It is measured where there is none, or where its fingerprint is another."""
        if self.kept.get(name, {}).get("of") != of:
            self.kept[name] = {"of": of, "found": dict(measure())}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps(self.kept, indent=1))
            part.replace(self.path)
        found: dict[str, Any] = self.kept[name]["found"]
        return found
