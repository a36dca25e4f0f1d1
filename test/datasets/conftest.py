"""Fixtures: a small scene with exact truth on disk."""

from plane_scene import scene_folder

__all__ = ["scene_folder"]
