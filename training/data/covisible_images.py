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

"""Posed images together with the 3D points that each of them sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.data.posed_images import PosedImages, join_posed_images
from training.data.visibility import Visibility, join_visibility
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose


@dataclass(frozen=True, slots=True, eq=False)
class CovisibleImages:
    """Images with poses, and the points that each sees.

    Attributes:
        posed: N images.
        visibility: of the same.
    """

    posed: PosedImages
    visibility: Visibility

    def __post_init__(self) -> None:
        assert len(self.posed) == len(self.visibility)

    def __len__(self) -> int:
        return len(self.posed)

    @staticmethod
    def without_points(posed: PosedImages) -> CovisibleImages:
        """Images of which positions alone are known."""
        return CovisibleImages(posed, Visibility.unknown(len(posed)))

    def select(self, kept: Array) -> CovisibleImages:
        """Some images, which may be repeated; all points are kept."""
        return CovisibleImages(self.posed.select(kept), self.visibility.select(kept))

    def extent(self) -> float:
        """Extent of the largest scene, see `Visibility.extent`; 0 without points."""
        return self.visibility.extent(self.posed.scenes)


def join_images(parts: Sequence[CovisibleImages]) -> CovisibleImages:
    """Images of several maps as one; their scenes and points are renumbered."""
    return CovisibleImages(
        join_posed_images([part.posed for part in parts]), join_visibility([part.visibility for part in parts])
    )


def project_points(
    posed: PosedImages,
    cameras: Sequence[Camera],
    poses: Sequence[Pose],
    seen: Sequence[Array],
    *,
    points: Array,
) -> CovisibleImages:
    """Images that see points, which are projected; points outside the image are dropped.

    Args:
        posed: N images.
        cameras: of each.
        poses: of each, scene_from_camera.
        seen: (V,) points that each may see.
        points: (P, 3) of all.
    """
    indices, uvs = [], []
    for camera, pose, of_image in zip(cameras, poses, seen, strict=True):
        xy = camera.project(pose.inverse().apply(points[of_image]))
        inside = np.flatnonzero(camera.contains(xy))
        indices.append(of_image[inside])
        uvs.append((xy[inside] / [camera.width, camera.height]).astype(np.float32))
    offsets = np.cumsum([0, *map(len, indices)])
    return CovisibleImages(
        posed, Visibility(points, offsets, np.concatenate(indices).astype(np.int64), np.concatenate(uvs))
    )
