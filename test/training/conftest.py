# Copyright 2026 vloc_ros maintainers
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Fixtures: a small scene with exact truth on disk."""

import pytest

pytest.importorskip("lightning", reason="no torch and lightning: `make training` installs them")

import torch
from learned_wall import learned_wall
from plane_scene import scene_folder

__all__ = ["learned_wall", "scene_folder"]

torch.set_num_threads(1)  # the networks of these tests are too small for several threads
