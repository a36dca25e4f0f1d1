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

"""The right calibration is not doubted, whatever the map's images were taken with.

That a wrong one is said is tested on redkitchen: a wall shows the same with any focal length.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from plane_scene import CAMERA, SceneFolder

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.query import Query
from vloc_ros.core.sources import QuerySource
from vloc_ros.evaluation.calibration_doubt import doubt_calibration


def _localizer(scene_folder: SceneFolder, *cameras: Camera) -> Localizer:
    wall = scene_folder.scene.landmark_map
    known = cameras and (*cameras, *cameras[:1] * (len(wall.keyframes.names) - len(cameras)))
    return build_localizer(LocalizerConfig(), replace(wall, keyframes=replace(wall.keyframes, cameras=known)))


def _sources(scene_folder: SceneFolder, camera: Camera) -> list[QuerySource]:
    images = [scene_folder.scene.image(pose) for pose in scene_folder.truth]
    return [QuerySource(f"{i}", partial(Query.single, image, camera)) for i, image in enumerate(images)]


def _with_focal_length(factor: float) -> Camera:
    fx, fy, *rest = CAMERA.parameters
    return replace(CAMERA, parameters=(factor * fx, factor * fy, *rest))


@pytest.mark.parametrize(
    "cameras",
    [
        (),
        (CAMERA,),
        (_with_focal_length(0.6),),
        (_with_focal_length(1.3), CAMERA),
        (CAMERA.scaled(2 * CAMERA.width, 2 * CAMERA.height),),
    ],
)
def test_the_right_calibration_is_not_doubted(scene_folder: SceneFolder, cameras: tuple[Camera, ...]) -> None:
    """Whether the map's images were taken by that camera, by others, by one of another size, or by an unknown one."""
    assert doubt_calibration(_localizer(scene_folder, *cameras), _sources(scene_folder, CAMERA)) == ""


def test_a_few_images_give_no_doubt(scene_folder: SceneFolder) -> None:
    sources = _sources(scene_folder, _with_focal_length(0.5))
    assert doubt_calibration(_localizer(scene_folder, CAMERA), sources[:2]) == ""
    assert doubt_calibration(_localizer(scene_folder, CAMERA), []) == ""
