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

"""The files of a map's keyframes, by their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from plane_scene import make_plane_scene

from vloc_ros.core.errors import InputError
from vloc_ros.datasets.keyframe_images import find_keyframe_images


def test_keyframes_of_a_bag_are_found_under_the_names_that_its_images_get(tmp_path: Path) -> None:
    landmark_map = make_plane_scene().landmark_map
    keyframes = landmark_map.keyframes
    names = ("second/0.png", *(f"{1_700_000_000_000_000_000 + k}" for k in range(1, len(keyframes))))
    named = replace(landmark_map, keyframes=replace(keyframes, names=names))
    files = [names[0], *(f"{name}.{'jpg' if k % 2 else 'png'}" for k, name in enumerate(names[1:]))]
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert find_keyframe_images(named, tmp_path) == [tmp_path / file for file in files]
    (tmp_path / files[2]).unlink()
    with pytest.raises(InputError, match=f"holds 7 of the map's 8 images, missing are {names[2]}"):
        find_keyframe_images(named, tmp_path)
