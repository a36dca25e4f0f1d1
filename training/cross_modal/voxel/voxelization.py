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

"""Clouds as voxels, and where a camera sees each cell of their coarse grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.cross_modal.records import FORWARD_FROM_OPTICAL
from training.cross_modal.voxel.config import VoxelConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array

# of a point: its place, its intensity, and its place relative to the mean of its voxel
POINT_FEATURES = 7
# the network halves the grid twice
REDUCTIONS = 2


class VoxelCloud(NamedTuple):
    """The occupied voxels of a cloud.

    Attributes:
        points: (M, P, 7) float32 features of the points of each voxel, zero beyond their number.
        counts: (M,) int64 points of each voxel, 1 to P.
        indices: (M, 3) int64 voxel along x, y and z.
    """

    points: Array
    counts: Array
    indices: Array


def voxelize(points: Array, intensity: Array | None, config: VoxelConfig, *, seed: int = 0) -> VoxelCloud:
    """The voxels of a cloud, the nearest ones where there are too many.

    Args:
        points: (N, 3) metres from the camera, x along its axis and z up.
        intensity: (N,), or None where the sensor has none: then that feature is 0.
        config: of the voxels.
        seed: of which points of a full voxel are used.

    Raises:
        InputError: no point lies in the grid.
    """
    lower = np.array([0.0, -config.aside_m, config.lowest_m])
    cells = np.floor((points - lower) / [config.side_m, config.side_m, config.height_m]).astype(np.int64)
    inside = np.flatnonzero(((cells >= 0) & (cells < config.shape)).all(axis=1))
    if not len(inside):
        raise InputError(
            f"none of {len(points)} points is within {config.ahead_m:g} m ahead of the camera, expected some; check "
            "camera_from_lidar"
        )
    inside = np.random.default_rng(seed).permutation(inside)
    found, which = np.unique(cells[inside], axis=0, return_inverse=True)
    nearest = np.argsort(np.linalg.norm(found * [config.side_m, config.side_m, config.height_m] + lower, axis=1))
    number = np.full(len(found), -1)
    number[nearest[: config.most]] = np.arange(min(config.most, len(found)))
    voxel = number[which.ravel()]
    inside, voxel = inside[voxel >= 0], voxel[voxel >= 0]
    order = np.argsort(voxel, kind="stable")
    inside, voxel = inside[order], voxel[order]
    place = np.arange(len(voxel)) - np.searchsorted(voxel, voxel)
    inside, voxel, place = (part[place < config.points] for part in (inside, voxel, place))
    counts = np.bincount(voxel)
    means = np.stack([np.bincount(voxel, points[inside, axis]) for axis in range(3)], axis=1) / counts[:, None]
    rows = np.zeros((len(counts), config.points, POINT_FEATURES), np.float32)
    rows[voxel, place, :3] = points[inside]
    rows[voxel, place, 3] = 0.0 if intensity is None else _normalize(intensity)[inside]
    rows[voxel, place, 4:] = points[inside] - means[voxel]
    return VoxelCloud(rows, counts.astype(np.int64), found[nearest[: config.most]])


def project_grid(config: VoxelConfig, camera: Camera) -> tuple[Array, Array]:
    """Where a camera sees the middles of the coarse cells: (X, Y, Z, 2) share of the image, NaN outside it, and depth.

    The grid is the camera's, so that extrinsics are part of the points already.
    """
    step = 1 << REDUCTIONS
    counts = [-(-size // step) for size in config.shape]
    sizes = np.array([config.side_m, config.side_m, config.height_m])
    axes = [(np.arange(count) * step + 0.5) * size for count, size in zip(counts, sizes, strict=True)]
    lower = np.array([0.0, -config.aside_m, config.lowest_m])
    middles = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) + lower
    pixels = camera.project(middles.reshape(-1, 3) @ FORWARD_FROM_OPTICAL)
    pixels[~camera.contains(np.nan_to_num(pixels, nan=-1.0))] = np.nan
    shares = (pixels / [camera.width, camera.height]).reshape(*counts, 2)
    return shares.astype(np.float32), middles[..., 0].astype(np.float32)


def _normalize(intensity: Array) -> Array:
    brightest = float(intensity.max())
    return intensity / brightest if brightest > 0 else intensity
