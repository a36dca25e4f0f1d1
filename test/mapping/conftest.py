"""Fixtures of the tests of mapping."""

from learned_wall import learned_wall
from plane_scene import scene_folder

__all__ = ["learned_wall", "scene_folder"]
