"""Fixtures: a copy of the sources that benchmarks hash; a wall with queries."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import provenance
from benchmarks.descriptor_scenes import Place
from plane_scene import SceneFolder


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that changes a source file in a copy, which is hashed instead of the repository."""
    copy = tmp_path / "sources"
    for part in ("training", "vloc_ros", "tools/benchmarks"):
        shutil.copytree(provenance.ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "ROOT", copy)

    def change_source(name: str) -> None:
        with (copy / name).open("a") as file:
            file.write("# changed\n")

    return change_source


@pytest.fixture
def place(scene_folder: SceneFolder) -> Place:
    """A wall, its map and queries with known poses."""
    posed = ("--poses", scene_folder.poses, "--camera", scene_folder.camera)
    return Place(scene_folder.map, scene_folder.images, scene_folder.images, posed, posed)
