"""Fixtures: a small scene with exact truth on disk."""

import pytest

pytest.importorskip("lightning", reason="no torch and lightning: `make training` installs them")

import torch
from learned_wall import learned_wall
from plane_scene import scene_folder

__all__ = ["learned_wall", "scene_folder"]

torch.set_num_threads(1)  # the networks of these tests are too small for several threads
