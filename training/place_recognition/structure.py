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

"""The 3D structure that an image sees, patch by patch: the input of a teacher's spatial branch.

The token of a patch holds the median of its points, their spread about it, and their number. Crops and mirroring are
applied to pixels and points, not to tokens: a mirrored image shows a mirrored world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from vloc_ros.core.geometry.pose import Array

# median x y z, spread, count
TOKEN_LENGTH = 5


@dataclass(frozen=True, slots=True, eq=False)
class StructureTransform:
    """A random rigid transform of points before they are encoded, possibly mirroring.

    Attributes:
        matrix: (3, 3) orthonormal; with determinant -1 it mirrors.
        origin: (3,) position of the points' median after the transform.
    """

    matrix: Array
    origin: Array

    @staticmethod
    def identity() -> StructureTransform:
        """The map's own axes."""
        return StructureTransform(np.eye(3), np.zeros(3))

    @staticmethod
    def draw(rng: np.random.Generator, extent: float, *, mirrored: bool) -> StructureTransform:
        """A uniformly random rotation, and an origin within the extent."""
        turn = Rotation.random(random_state=np.random.RandomState(int(rng.integers(2**31)))).as_matrix()
        mirror = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
        return StructureTransform(turn @ mirror, rng.uniform(-extent, extent, 3))

    def apply(self, points: Array) -> Array:
        """(V, 3) transformed points, with their median at the origin, where float32 is precise."""
        if not len(points):
            return points
        return np.asarray((points - np.median(points, axis=0)) @ self.matrix.T + self.origin)


def structure_tokens(uv: Array, points: Array, *, grid: int) -> Array:
    """(grid * grid, 5) float32, row by row: median point, spread and count of every patch; zeros without points.

    Args:
        uv: (V, 2) positions of points in the image, 0 to 1; others are ignored.
        points: (V, 3) in a frame whose origin is not far.
        grid: patches along each side.
    """
    tokens = np.zeros((grid * grid, TOKEN_LENGTH), np.float32)
    inside = ((uv >= 0) & (uv < 1)).all(axis=1)
    columns, rows = np.floor(uv[inside] * grid).astype(np.int64).T
    patches, kept = rows * grid + columns, points[inside]
    if not len(kept):
        return tokens
    medians = np.column_stack([_medians(patches, kept[:, axis], grid * grid) for axis in range(3)])
    away = np.linalg.norm(kept - medians[patches], axis=1)
    tokens[:, :3] = medians
    tokens[:, 3] = _medians(patches, away, grid * grid)
    tokens[:, 4] = np.bincount(patches, minlength=grid * grid)
    return tokens


def _medians(groups: Array, values: Array, count: int) -> Array:
    """(count,) median of the values of every group, 0 for an empty group."""
    order = np.lexsort([values, groups])
    sizes = np.bincount(groups, minlength=count)
    first = np.cumsum(sizes) - sizes
    ordered = np.append(values[order], 0.0)
    low, high = (np.where(sizes > 0, first + middle, len(values)) for middle in ((sizes - 1) // 2, sizes // 2))
    return np.asarray((ordered[low] + ordered[high]) / 2)
