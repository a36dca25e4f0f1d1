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

"""Which 3D points images see, and where: known of maps, unknown of geo-localization sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import expand_ranges


@dataclass(frozen=True, slots=True, eq=False)
class Visibility:
    """The points that each of N images sees; images of different scenes share none.

    Attributes:
        points: (P, 3) float64, metres from the origin of their scene.
        offsets: (N + 1,) int64; the observations of image i are the rows `offsets[i]:offsets[i + 1]` of `indices`,
            `uv`.
        indices: (V,) int64 point of each observation.
        uv: (V, 2) float32 position of each observation, as shares of the image's width and height.
    """

    points: Array
    offsets: Array
    indices: Array
    uv: Array

    def __post_init__(self) -> None:
        assert self.offsets.ndim == 1
        assert self.uv.shape == (len(self.indices), 2)
        assert self.offsets[-1] == len(self.indices)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @staticmethod
    def unknown(count: int) -> Visibility:
        """Of images without 3D points."""
        return Visibility(
            np.zeros((0, 3)), np.zeros(count + 1, np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.float32)
        )

    @property
    def is_known(self) -> bool:
        """Whether any image sees a point."""
        return len(self.indices) > 0

    def observations(self, i: int) -> slice:
        """The rows of `indices` and `uv` of image i."""
        return slice(int(self.offsets[i]), int(self.offsets[i + 1]))

    def points_of(self, i: int) -> Array:
        """(V, 3) points that image i sees."""
        return self.points[self.indices[self.observations(i)]]

    def matrix(self) -> csr_matrix:
        """(N, P) int32, 1 where an image sees a point."""
        ones = np.ones(len(self.indices), np.int32)
        return csr_matrix((ones, self.indices, self.offsets), shape=(len(self), len(self.points)))

    def select(self, kept: Array) -> Visibility:
        """Of some images; all points are kept."""
        counts = np.diff(self.offsets)[kept]
        rows = expand_ranges(self.offsets[kept], counts)
        return Visibility(self.points, np.concatenate([[0], np.cumsum(counts)]), self.indices[rows], self.uv[rows])

    def mask_points(self, masks: Sequence[Array]) -> Visibility:
        """Each image reduced to the points of a (V,) bool mask."""
        mask = np.concatenate(masks)
        offsets = np.concatenate([[0], np.cumsum([int(part.sum()) for part in masks])])
        return Visibility(self.points, offsets, self.indices[mask], self.uv[mask])

    def extent(self, scenes: Array) -> float:
        """Length of the largest scene's diagonal, from the 1st to the 99th percentile of its points' coordinates.

        Args:
            scenes: (N,) scene of each image.
        """
        lengths = []
        for scene in np.unique(scenes):
            rows = expand_ranges(self.offsets[:-1][scenes == scene], np.diff(self.offsets)[scenes == scene])
            of_scene = self.points[np.unique(self.indices[rows])]
            if len(of_scene):
                lengths.append(float(np.linalg.norm(np.diff(np.percentile(of_scene, [1, 99], axis=0), axis=0))))
        return max(lengths, default=0.0)


def join_visibility(parts: Sequence[Visibility]) -> Visibility:
    """The visibility of several maps as one; their points are renumbered."""
    first_points = np.cumsum([0, *(len(part.points) for part in parts)])
    first_rows = np.cumsum([0, *(len(part.indices) for part in parts)])
    return Visibility(
        np.concatenate([part.points for part in parts]),
        np.concatenate([[0], *(part.offsets[1:] + first for part, first in zip(parts, first_rows, strict=False))]),
        np.concatenate([part.indices + first for part, first in zip(parts, first_points, strict=False)]),
        np.concatenate([part.uv for part in parts]),
    )
