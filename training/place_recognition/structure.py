"""The 3D structure that an image sees, patch by patch: what a teacher's spatial branch is given.

A patch is described by the median of the points in it, by how far they lie from it, and by their number. A mirrored
image shows a mirrored world, and a crop shows a part of it; both are done to the pixels and points, not to the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from vloc_ros.core.geometry.pose import Array

# median x y z, spread, count
NUMBERS = 5


@dataclass(frozen=True, slots=True)
class ImageCrop:
    """The part of an image that is shown, and whether it is mirrored.

    Attributes:
        left, top, right, bottom: as shares of width and height, 0 to 1.
        mirrored: left and right exchanged, after cropping.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0
    mirrored: bool = False

    def shown(self, image: Array) -> Array:
        """The part of an (H, W) or (H, W, 3) image."""
        height, width = image.shape[:2]
        rows = slice(round(self.top * height), max(round(self.bottom * height), round(self.top * height) + 1))
        columns = slice(round(self.left * width), max(round(self.right * width), round(self.left * width) + 1))
        part = image[rows, columns]
        return np.ascontiguousarray(part[:, ::-1] if self.mirrored else part)

    def holds(self, uv: Array) -> Array:
        """(V,) bool, which of (V, 2) places in the image it shows."""
        there = self.carried(uv)
        return np.asarray(((there >= 0) & (there < 1)).all(axis=1))

    def carried(self, uv: Array) -> Array:
        """(V, 2) places in the image to places in the window; those outside lie outside 0 to 1."""
        there = (uv - [self.left, self.top]) / [self.right - self.left, self.bottom - self.top]
        return np.column_stack([1 - there[:, 0], there[:, 1]]) if self.mirrored else np.asarray(there)


@dataclass(frozen=True, slots=True, eq=False)
class StructureCrop:
    """A frame that nobody can know: how points are turned, mirrored and moved before they are encoded.

    Attributes:
        matrix: (3, 3) orthonormal; with determinant -1 it mirrors.
        origin: (3,) where the middle of the points comes to lie.
    """

    matrix: Array
    origin: Array

    @staticmethod
    def identity() -> StructureCrop:
        """The map's own axes."""
        return StructureCrop(np.eye(3), np.zeros(3))

    @staticmethod
    def drawn(rng: np.random.Generator, extent: float, *, mirrored: bool) -> StructureCrop:
        """Any rotation, and an origin within the extent."""
        turn = Rotation.random(random_state=np.random.RandomState(int(rng.integers(2**31)))).as_matrix()
        mirror = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
        return StructureCrop(turn @ mirror, rng.uniform(-extent, extent, 3))

    def carried(self, points: Array) -> Array:
        """(V, 3) points, their middle at the origin: float32 holds centimetres there, wherever the map has its own."""
        if not len(points):
            return points
        return np.asarray((points - np.median(points, axis=0)) @ self.matrix.T + self.origin)


def structure_tokens(uv: Array, points: Array, *, grid: int) -> Array:
    """(grid * grid, 5) float32, row by row: median point, spread and count of every patch; zeros where it sees nothing.

    Args:
        uv: (V, 2) where points appear, 0 to 1; those outside are left out.
        points: (V, 3) in a frame whose origin is not far.
        grid: patches along each side.
    """
    tokens = np.zeros((grid * grid, NUMBERS), np.float32)
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
    """(count,) median of the values of every group, 0 for an empty one."""
    order = np.lexsort([values, groups])
    sizes = np.bincount(groups, minlength=count)
    first = np.cumsum(sizes) - sizes
    ordered = np.append(values[order], 0.0)
    low, high = (np.where(sizes > 0, first + middle, len(values)) for middle in ((sizes - 1) // 2, sizes // 2))
    return np.asarray((ordered[low] + ordered[high]) / 2)
