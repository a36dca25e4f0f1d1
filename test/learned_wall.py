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

"""The wall of `plane_scene`, mapped by a tiny keypoint model in place of RootSIFT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from keypoint_graphs import write_keypoint_model
from plane_scene import CAMERA, PlaneScene, make_plane_scene, poses

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedImage
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.storage.maps import write_map

VIEWS = poses(6, seed=1)


@dataclass(frozen=True)
class LearnedWall:
    """Where the files are.

    Attributes:
        scene: its images are those of the wall; its own map is of RootSIFT.
        model, other_model: folders of two models of one extractor.
        map: of the wall, by the model.
    """

    scene: PlaneScene
    model: Path
    other_model: Path
    map: Path


def colour(grey: Array) -> Array:
    """(H, W, 3) BGR image of a grey one, whose channels differ."""
    red = cv2.convertScaleAbs(grey, alpha=0.9, beta=10)
    return np.stack([255 - grey, cv2.GaussianBlur(grey, (0, 0), 1.0), red], axis=-1)


def posed_images(scene: PlaneScene, views: Sequence[Pose], *, in_colour: bool = False) -> list[PosedImage]:
    """Images of a wall with their poses."""

    def load(pose: Pose) -> Array:
        return colour(scene.image(pose)) if in_colour else scene.image(pose)

    return [PosedImage(f"{k:02}.png", lambda pose=pose: load(pose), CAMERA, pose) for k, pose in enumerate(views)]


def build_learned_map(
    scene: PlaneScene, model: Path, views: Sequence[Pose], *, in_colour: bool = False, **options: Any
) -> LandmarkMap:
    """A map of a wall by a model folder; `calibration_gap_m` and what `build_map` has as options."""
    keypoint_model = read_keypoint_model(model)
    config = MappingConfig(
        extractor=keypoint_model_config(keypoint_model), calibration_gap_m=options.pop("calibration_gap_m", 0.0)
    )
    images = posed_images(scene, views, in_colour=in_colour)
    return build_map(images, config=config, keypoint_model=keypoint_model, **{"name": "wall", **options})


def write_learned_wall(folder: Path) -> LearnedWall:
    """The wall, and its map by a model."""
    scene = make_plane_scene()
    model, other = (write_keypoint_model(folder / f"model-{seed}", seed=seed) for seed in range(2))
    write_map(build_learned_map(scene, model, poses(14, seed=4)), folder / "map")
    return LearnedWall(scene, model, other, folder / "map")


@pytest.fixture(scope="session")
def learned_wall(tmp_path_factory: pytest.TempPathFactory) -> LearnedWall:
    """The wall, and its map by a model."""
    return write_learned_wall(tmp_path_factory.mktemp("learned"))
