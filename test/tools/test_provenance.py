"""What was made or measured once is used again, unless its sources changed or it was left unfinished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import provenance
from benchmarks.provenance import Rows, content_hash, make_once, source_hash


class Killed(BaseException):
    """The process ended here."""


def test_folders_are_made_again_when_their_sources_change(tmp_path: Path) -> None:
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


def test_rows_are_kept_and_measured_again_when_their_fingerprint_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "FIGURES", tmp_path)
    measured = []

    def measure() -> dict[str, int]:
        measured.append("measured")
        return {"hits": len(measured)}

    def hits(name: str, of: str) -> int:
        return Rows.of("section").once(name, of=of, measure=measure)["hits"]

    assert [hits("a", "x"), hits("a", "x"), hits("b", "x"), hits("a", "y"), hits("b", "x")] == [1, 1, 2, 3, 2]


def test_content_hashes_cover_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"one")
    first = content_hash(tmp_path)
    (tmp_path / "a" / "1.png").rename(tmp_path / "a" / "2.png")
    second = content_hash(tmp_path)
    (tmp_path / "a" / "2.png").write_bytes(b"two")
    assert len({first, second, content_hash(tmp_path)}) == 3


def test_source_hashes_cover_the_files_that_match(change: Callable[[str], None]) -> None:
    patterns = ("training/place_recognition/*.py", "training/framework/run.py")
    first = source_hash(*patterns)
    change("training/networks/rotary.py")
    assert source_hash(*patterns) == first
    change("training/place_recognition/loss.py")
    assert source_hash(*patterns) != first
    with pytest.raises(AssertionError, match="no file matches"):
        source_hash("training/absent.py")
