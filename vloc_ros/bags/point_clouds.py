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

"""Between PointCloud2 messages, of rosbags or of rclpy, and the core's clouds."""

from __future__ import annotations

from typing import Any

import numpy as np

from vloc_ros.bags.messages import POINT_CLOUD, TYPESTORE, header, stamp_ns_of
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose

# PointField's numbers of types
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_COORDINATES = ("x", "y", "z")
_INTENSITY = ("intensity", "intensities", "reflectivity")
# of a point's time: Ouster's, Velodyne's, Hesai's and RoboSense's, Livox's
_TIMES = ("t", "time", "timestamp", "time_stamp", "offset_time")
_LONGEST_SCAN_NS = 1_000_000_000
# larger numbers of seconds are times of day, not offsets; larger ones are nanoseconds
_ABSOLUTE_FROM_S, _NANOSECONDS_FROM = 1e6, 1e14


def point_cloud_of(message: Any, *, rig_from_sensor: Pose | None = None, with_times: bool = True) -> PointCloud:
    """The points of a PointCloud2 that are finite and not the sensor's origin, where nothing was met.

    Args:
        message: of any layout of its fields; rows may be padded, and bytes of either order.
        rig_from_sensor: where the sensor sits; the identity where it is the rig.
        with_times: read the times of the points; without, the cloud is taken as compensated.

    Raises:
        InputError: it has no coordinates, its data is cut short, none of its points is finite, or their times are
            not finite or do not fit the time of the message.
    """
    records = _records(message)
    names = records.dtype.names or ()
    if missing := [name for name in _COORDINATES if name not in names or records.dtype[name].kind != "f"]:
        there = ", ".join(field.name for field in message.fields)
        raise InputError(
            f"a point cloud has the fields {there or 'none'}, expected floating-point x, y and z; "
            f"{', '.join(missing)} is missing or of another type"
        )
    points = np.column_stack([records[name].astype(np.float32) for name in _COORDINATES])
    kept = np.isfinite(points).all(axis=1) & points.any(axis=1)
    if not kept.any():
        raise InputError(f"a point cloud of {len(points)} points has none that is finite and away from the sensor")
    stamp_ns = stamp_ns_of(message)
    intensity = next((records[name][kept].astype(np.float32) for name in _INTENSITY if name in names), None)
    time = next((name for name in _TIMES if name in names), None) if with_times else None
    return PointCloud(
        points[kept],
        rig_from_sensor or Pose.identity(),
        stamp_ns,
        str(message.header.frame_id).lstrip("/"),
        intensity,
        None if time is None else _offsets_ns(records[time][kept], stamp_ns, time),
    )


def point_cloud_message(cloud: PointCloud) -> Any:
    """A PointCloud2 of x, y, z, and where the cloud has them intensity and t, nanoseconds after the stamp."""
    columns = [("x", "<f4", cloud.points[:, 0]), ("y", "<f4", cloud.points[:, 1]), ("z", "<f4", cloud.points[:, 2])]
    if cloud.intensity is not None:
        columns.append(("intensity", "<f4", cloud.intensity))
    if cloud.offsets_ns is not None:
        columns.append(("t", "<i4", cloud.offsets_ns))
    records = np.zeros(len(cloud), [(name, kind) for name, kind, _ in columns])
    for name, _, values in columns:
        records[name] = values
    numbers = {kind: number for number, kind in _TYPES.items()}
    offsets = {name: records.dtype.fields[name][1] for name in records.dtype.names or ()}  # type: ignore[index]
    field = TYPESTORE.types["sensor_msgs/msg/PointField"]
    return TYPESTORE.types[POINT_CLOUD](
        header=header(cloud.stamp_ns, cloud.frame_id),
        height=1,
        width=len(cloud),
        fields=[field(name=n, offset=offsets[n], datatype=numbers[kind[1:]], count=1) for n, kind, _ in columns],
        is_bigendian=False,
        point_step=records.dtype.itemsize,
        row_step=records.nbytes,
        data=np.frombuffer(records.tobytes(), np.uint8),
        is_dense=True,
    )


def _records(message: Any) -> Array:
    """(N,) structured array of those of a message's fields that are used."""
    order, step = ">" if message.is_bigendian else "<", int(message.point_step)
    used = {*_COORDINATES, *_INTENSITY, *_TIMES}  # others may be padding, of one name
    fields = [one for one in message.fields if one.count == 1 and one.datatype in _TYPES and one.name in used]
    if len({field.name for field in fields}) < len(fields):
        raise InputError(f"a point cloud has the fields {', '.join(f.name for f in message.fields)}, one of them twice")
    kinds = [order + _TYPES[field.datatype] for field in fields]
    ends = [field.offset + np.dtype(kind).itemsize for field, kind in zip(fields, kinds, strict=True)]
    data, rows, width = np.frombuffer(message.data, np.uint8), int(message.height), int(message.width)
    row_step = int(message.row_step) or width * step
    needed = (rows - 1) * row_step + width * step if rows and width else 0
    if any(end > step for end in ends) or row_step < width * step or len(data) < needed:
        raise InputError(
            f"a point cloud of {width}x{rows} points of {step} bytes has {len(data)} bytes in rows of {row_step}, "
            f"expected at least {needed}; the driver or the bag is damaged"
        )
    dtype = np.dtype(
        {"names": [f.name for f in fields], "formats": kinds, "offsets": [f.offset for f in fields], "itemsize": step}
    )
    if not needed:
        return np.zeros(0, dtype)
    grid = np.ndarray((rows, width), dtype, np.ascontiguousarray(data), strides=(row_step, step))
    return np.asarray(grid.reshape(-1))


def _offsets_ns(values: Array, stamp_ns: int, name: str) -> Array:
    """(N,) int64 nanoseconds after the stamp, of a field of times of whatever unit.

    Integers are nanoseconds, floating-point numbers are seconds; large ones are times of day.
    """
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise InputError(f"a point cloud's field {name} has times that are not finite, expected seconds")
        largest = float(np.abs(values).max())
        if largest >= _NANOSECONDS_FROM:
            offsets = values.astype(np.int64) - stamp_ns
        elif largest >= _ABSOLUTE_FROM_S:
            whole = np.floor(values).astype(np.int64)
            fraction = ((values - whole) * 1e9).astype(np.int64)
            offsets = whole * 10**9 + fraction - stamp_ns
        else:
            offsets = np.round(values.astype(float) * 1e9).astype(np.int64)
    else:
        offsets = values.astype(np.int64)
        if offsets.size and np.abs(offsets).max() >= _NANOSECONDS_FROM:
            offsets = offsets - stamp_ns
    worst = int(np.abs(offsets).max(initial=0))
    if worst > _LONGEST_SCAN_NS:
        raise InputError(
            f"a point cloud's field {name} has times up to {worst * 1e-9:.3g} s from its stamp, expected a second at "
            "most; do the driver's clock and header.stamp differ? Have it stamp both alike, or declare the recording "
            "compensated"
        )
    return offsets
