"""Point clouds of a LiDAR."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose


@dataclass(frozen=True, slots=True, eq=False)
class PointCloud:
    """One scan of a sensor on the rig.

    Attributes:
        points: (N, 3) float32 metres in the sensor's frame.
        rig_from_sensor: where the sensor sits on the rig.
        stamp_ns: time of the scan, integer nanoseconds; a cloud need not be of the images' moment.
    """

    points: Array
    rig_from_sensor: Pose = field(default_factory=Pose.identity)
    stamp_ns: int = 0

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1:] != (3,) or not len(self.points):
            raise InputError(f"a point cloud has shape {self.points.shape}, expected (N, 3) with at least one point")
        if not np.isfinite(self.points).all():
            raise InputError("a point cloud holds a point that is not finite; leave such points out")

    def __len__(self) -> int:
        return len(self.points)
