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

"""Point clouds as binary PLY files, which MeshLab, CloudCompare, Open3D and Blender read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.atomic import write_bytes_atomically

# beyond it a float is off by more than a millimetre
_FLOAT_RANGE_M = 1e4


def write_ply(path: Path, points: Array, colours: Array) -> None:
    """Write (P, 3) points with (P, 3) uint8 red, green, blue; coordinates beyond 10 km are of double precision.

    Raises:
        StorageError: the file cannot be written.
    """
    far = np.abs(points).max(initial=0.0) > _FLOAT_RANGE_M
    kind, name = ("<f8", "double") if far else ("<f4", "float")
    axes, channels = ("x", "y", "z"), ("red", "green", "blue")
    rows = np.zeros(len(points), [*((axis, kind) for axis in axes), *((channel, "u1") for channel in channels)])
    for column, (axis, channel) in enumerate(zip(axes, channels, strict=True)):
        rows[axis], rows[channel] = points[:, column], colours[:, column]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    lines += [f"property {name} {axis}" for axis in axes] + [f"property uchar {channel}" for channel in channels]
    write_bytes_atomically(path, "\n".join([*lines, "end_header", ""]).encode() + rows.tobytes())
