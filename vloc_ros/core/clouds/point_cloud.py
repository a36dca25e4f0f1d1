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
        shape, dtype = self.points.shape, self.points.dtype
        if len(shape) != 2 or shape[1] != 3 or not shape[0] or dtype != np.float32:
            raise InputError(f"a point cloud has shape {shape} of {dtype}, expected (N, 3) float32 with N above 0")
        if not np.isfinite(self.points).all():
            raise InputError("a point cloud holds a point that is not finite; leave such points out")

    def __len__(self) -> int:
        return len(self.points)
