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

"""Images with positions, and orientations where they are known: all that geo-localization sets have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose


@dataclass(frozen=True, slots=True, eq=False)
class PosedImages:
    """Images of one scene or of several, along their trajectories.

    Attributes:
        paths: N image files.
        positions: (N, 3) float64, metres from the origin of each image's scene.
        rotations: (N, 3, 3) float64 rotation of scene_from_camera; None where only positions are known, as in UTM.
        scenes: (N,) int64 number of each image's scene.
    """

    paths: tuple[Path, ...]
    positions: Array
    rotations: Array | None
    scenes: Array

    def __post_init__(self) -> None:
        n = len(self.paths)
        assert self.positions.shape == (n, 3)
        assert self.rotations is None or self.rotations.shape == (n, 3, 3)
        assert self.scenes.shape == (n,)

    def __len__(self) -> int:
        return len(self.paths)

    @staticmethod
    def from_poses(paths: Sequence[Path], poses: Sequence[Pose], scenes: Array) -> PosedImages:
        """Images with poses scene_from_camera."""
        positions = np.array([pose.translation for pose in poses]).reshape(-1, 3)
        rotations = np.array([pose.rotation for pose in poses]).reshape(-1, 3, 3)
        return PosedImages(tuple(paths), positions, rotations, np.asarray(scenes, np.int64))

    def select(self, kept: Array) -> PosedImages:
        """Some of them."""
        rotations = None if self.rotations is None else self.rotations[kept]
        return PosedImages(tuple(self.paths[i] for i in kept), self.positions[kept], rotations, self.scenes[kept])


def join_posed_images(parts: Sequence[PosedImages]) -> PosedImages:
    """Images of several maps as one; their scenes are renumbered. Orientations are those of all, or of none."""
    first_scenes = np.cumsum([0, *(int(part.scenes.max(initial=-1)) + 1 for part in parts)])
    rotations = [part.rotations for part in parts if part.rotations is not None]
    return PosedImages(
        tuple(path for part in parts for path in part.paths),
        np.concatenate([part.positions for part in parts]),
        np.concatenate(rotations) if len(rotations) == len(parts) else None,
        np.concatenate([part.scenes + first for part, first in zip(parts, first_scenes, strict=False)]),
    )
