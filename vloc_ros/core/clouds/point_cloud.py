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

"""Point clouds of a LiDAR, and what is done to one before anything is matched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose

# of points that are moved together: a sensor that turns by 1 rad/s turns by 1 mrad meanwhile
_SLICE_NS = 1_000_000
_GROUND_SAMPLE, _GROUND_ROUNDS, _GROUND_TOLERANCE_M, _LEVEL = 1000, 300, 0.12, 0.966


@dataclass(frozen=True, slots=True, eq=False)
class PointCloud:
    """One scan of a sensor on the rig.

    Attributes:
        points: (N, 3) float32 metres in the sensor's frame.
        rig_from_sensor: where the sensor sits on the rig.
        stamp_ns: time of the scan, integer nanoseconds; a cloud need not be of the images' moment.
        frame_id: name of the sensor's frame; empty where it is not known.
        intensity: (N,) float32 as the sensor gives it, or None.
        offsets_ns: (N,) int64 time of each point after `stamp_ns`, may be negative, or None where the points are of
            one moment.
    """

    points: Array
    rig_from_sensor: Pose = field(default_factory=Pose.identity)
    stamp_ns: int = 0
    frame_id: str = ""
    intensity: Array | None = None
    offsets_ns: Array | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.points.shape, self.points.dtype
        if len(shape) != 2 or shape[1] != 3 or not shape[0] or dtype != np.float32:
            raise InputError(f"a point cloud has shape {shape} of {dtype}, expected (N, 3) float32 with N above 0")
        if not np.isfinite(self.points).all():
            raise InputError("a point cloud holds a point that is not finite; leave such points out")
        for name in ("intensity", "offsets_ns"):
            values = getattr(self, name)
            if values is not None and values.shape != (shape[0],):
                raise InputError(f"a point cloud of {shape[0]} points has {name} of shape {values.shape}")

    def __len__(self) -> int:
        return len(self.points)


def deskew(cloud: PointCloud, fixed_from_sensor: Callable[[int], Pose | None]) -> PointCloud:
    """The cloud as if all of its points were of its stamp: moved by the sensor's motion meanwhile.

    Args:
        cloud: with times of its points; one without is given back as it is.
        fixed_from_sensor: pose of the sensor at a time, integer nanoseconds, in a frame that does not move; None where
            it is not known.

    Raises:
        InputError: the motion is not known while the scan was taken.
    """
    if cloud.offsets_ns is None:
        return cloud
    reference = fixed_from_sensor(cloud.stamp_ns)
    slices, which = np.unique(np.round(cloud.offsets_ns / _SLICE_NS).astype(np.int64), return_inverse=True)
    # a slice's middle may be after the last point, or before the first one, where nobody waited for odometry
    times_ns = np.clip(slices * _SLICE_NS, cloud.offsets_ns.min(), cloud.offsets_ns.max())
    poses = [fixed_from_sensor(cloud.stamp_ns + int(time_ns)) for time_ns in times_ns]
    if reference is None or any(pose is None for pose in poses):
        span_s = np.ptp(cloud.offsets_ns) * 1e-9
        raise InputError(
            f"odometry does not cover the {span_s:.3f} s of the scan at {cloud.stamp_ns} ns, expected poses before and "
            "after it; or declare the recording compensated"
        )
    moved = np.empty_like(cloud.points)
    for number, pose in enumerate(poses):
        assert pose is not None
        mine = which == number
        moved[mine] = (reference.inverse() @ pose).apply(cloud.points[mine])
    return replace(cloud, points=moved, offsets_ns=None)


def downsample(points: Array, voxel_m: float) -> Array:
    """(M, 3) float32 means of the points in each cube of a grid, in no particular order."""
    cells = np.floor(points / voxel_m).astype(np.int64)
    cells -= cells.min(axis=0)
    sizes = cells.max(axis=0) + 1
    keys = (cells[:, 0] * sizes[1] + cells[:, 1]) * sizes[2] + cells[:, 2]
    _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
    means = [np.bincount(which, points[:, axis]) / counts for axis in range(3)]
    return np.column_stack(means).astype(np.float32)


def level_ground_share(points: Array, *, seed: int = 0) -> float:
    """Share of (N, 3) points on the largest level plane, 0 to 1; little where the z axis does not point up or down.

    Planes within about 15 degrees of level count, by RANSAC (Fischler and Bolles 1981).
    """
    rng = np.random.default_rng(seed)
    sample = points[rng.choice(len(points), min(len(points), _GROUND_SAMPLE), replace=False)].astype(float)
    if len(sample) < 3:
        return 0.0
    a, b, c = sample[rng.integers(0, len(sample), (3, _GROUND_ROUNDS))]
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1)
    planes = (lengths > 1e-6) & (np.abs(normals[:, 2]) >= _LEVEL * lengths)
    units = normals[planes] / lengths[planes, None]
    distances = np.abs(sample @ units.T - np.sum(a[planes] * units, axis=1))
    return float((distances < _GROUND_TOLERANCE_M).mean(axis=0).max(initial=0.0))
