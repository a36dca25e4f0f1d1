"""Fixtures: a wall with queries."""

from __future__ import annotations

import pytest
from benchmarks.descriptor_scenes import Place
from plane_scene import SceneFolder


@pytest.fixture
def place(scene_folder: SceneFolder) -> Place:
    """A wall, its map and queries with known poses."""
    posed = ("--poses", scene_folder.poses, "--camera", scene_folder.camera)
    return Place(scene_folder.map, scene_folder.images, scene_folder.images, posed, posed)
