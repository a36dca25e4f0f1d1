"""Fixtures: a small scene with exact truth on disk, and its map by a keypoint model."""

from learned_wall import learned_wall
from plane_scene import scene_folder

__all__ = ["learned_wall", "scene_folder"]
