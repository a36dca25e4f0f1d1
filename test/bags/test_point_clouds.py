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

"""PointCloud2 of every layout that drivers write."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vloc_ros.bags.point_clouds import point_cloud_message, point_cloud_of
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.errors import InputError

STAMP_NS = 1_700_000_000_250_000_000
POINTS = np.array([[1.0, 2.0, 3.0], [-4.5, 0.25, 1.0], [7.0, 8.0, -9.0], [0.5, 0.5, 0.5]], np.float32)
_NUMBERS = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


def _message(columns: dict[str, Any], *, order: str = "<", gap: int = 0, rows: int = 1, padding: int = 0) -> Any:
    """Fields with bytes between them, in rows with bytes after them."""
    offsets, at = [], gap
    for values in columns.values():
        offsets.append(at)
        at += values.dtype.itemsize + gap
    kinds = [order + values.dtype.str[1:] for values in columns.values()]
    dtype = np.dtype({"names": list(columns), "formats": kinds, "offsets": offsets, "itemsize": at})
    records = np.zeros(len(next(iter(columns.values()))), dtype)
    for name, values in columns.items():
        records[name] = values
    width = len(records) // rows
    data = b"".join(records[k * width : (k + 1) * width].tobytes() + b"\xff" * padding for k in range(rows))
    fields = [
        SimpleNamespace(name=name, offset=offset, datatype=_NUMBERS[values.dtype.str[1:]], count=1)
        for (name, values), offset in zip(columns.items(), offsets, strict=True)
    ]
    stamp = SimpleNamespace(sec=STAMP_NS // 10**9, nanosec=STAMP_NS % 10**9)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id="/lidar"), height=rows, width=width, fields=fields,
        is_bigendian=order == ">", point_step=at, row_step=width * at + padding, data=np.frombuffer(data, np.uint8),
    )  # fmt: skip


def _xyz(kind: str = "f4", points: Any = POINTS) -> dict[str, Any]:
    return {name: points[:, k].astype(kind) for k, name in enumerate("xyz")}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize(("gap", "rows", "padding"), [(0, 1, 0), (4, 2, 0), (1, 2, 12), (0, 4, 3)])
def test_every_layout_gives_the_points(order: str, kind: str, gap: int, rows: int, padding: int) -> None:
    cloud = point_cloud_of(_message(_xyz(kind), order=order, gap=gap, rows=rows, padding=padding))
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert (cloud.frame_id, cloud.stamp_ns, cloud.intensity, cloud.offsets_ns) == ("lidar", STAMP_NS, None, None)


def test_fields_that_are_not_used_may_have_one_name() -> None:
    message = _message({**_xyz(), "_": np.zeros(4, "f4"), "-": np.zeros(4, "f4")})
    message.fields[-1].name = "_"
    np.testing.assert_array_equal(point_cloud_of(message).points, POINTS)
    message.fields[-1].name = "x"
    with pytest.raises(InputError, match="one of them twice"):
        point_cloud_of(message)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "f8"])
def test_intensity_of_any_type(kind: str) -> None:
    intensity = np.array([1, 20, 130, 255]).astype(kind)
    cloud = point_cloud_of(_message({**_xyz(), "intensity": intensity}))
    assert cloud.intensity is not None
    np.testing.assert_array_equal(cloud.intensity, [1, 20, 130, 255])


OFFSETS_NS = np.array([0, 25_000_000, 50_000_000, 99_000_000])


@pytest.mark.parametrize(
    ("name", "values", "tolerance_ns"),
    [
        ("t", OFFSETS_NS.astype("u4"), 0),
        ("offset_time", OFFSETS_NS.astype("u4"), 0),
        ("time", (OFFSETS_NS * 1e-9).astype("f4"), 10),
        ("timestamp", STAMP_NS * 1e-9 + OFFSETS_NS * 1e-9, 500),
        ("timestamp", (STAMP_NS + OFFSETS_NS).astype("f8"), 500),
    ],
)
def test_times_of_points_in_every_unit(name: str, values: Any, tolerance_ns: int) -> None:
    cloud = point_cloud_of(_message({**_xyz(), name: values}, order=">"))
    assert cloud.offsets_ns is not None
    assert np.abs(cloud.offsets_ns - OFFSETS_NS).max() <= tolerance_ns


def test_points_that_met_nothing_are_left_out() -> None:
    points = np.array([[np.nan, 0, 0], [0, 0, 0], [1, 2, 3], [np.inf, 1, 1]], np.float32)
    cloud = point_cloud_of(_message({**_xyz(points=points), "intensity": np.array([1, 2, 3, 4], "u1")}))
    np.testing.assert_array_equal(cloud.points, [[1, 2, 3]])
    assert cloud.intensity is not None
    np.testing.assert_array_equal(cloud.intensity, [3])


def test_a_message_and_back() -> None:
    cloud = PointCloud(
        POINTS, stamp_ns=STAMP_NS, frame_id="lidar", intensity=np.arange(4, dtype=np.float32), offsets_ns=OFFSETS_NS
    )
    again = point_cloud_of(point_cloud_message(cloud))
    np.testing.assert_array_equal(again.points, cloud.points)
    np.testing.assert_array_equal(again.intensity, cloud.intensity)
    np.testing.assert_array_equal(again.offsets_ns, cloud.offsets_ns)
    assert (again.frame_id, again.stamp_ns) == ("lidar", STAMP_NS)


def test_clouds_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(InputError, match="expected floating-point x, y and z; z is missing"):
        point_cloud_of(_message({"x": POINTS[:, 0], "y": POINTS[:, 1]}))
    with pytest.raises(InputError, match="x, y, z is missing or of another type"):
        point_cloud_of(_message(_xyz("i2")))
    with pytest.raises(InputError, match="none that is finite"):
        point_cloud_of(_message(_xyz(points=np.full((4, 3), np.nan))))
    with pytest.raises(InputError, match="none that is finite"):
        point_cloud_of(_message(_xyz(points=np.zeros((0, 3)))))
    short = _message(_xyz())
    short.data = short.data[:-1]
    with pytest.raises(InputError, match="expected at least 48"):
        point_cloud_of(short)
    with pytest.raises(InputError, match="declare the recording compensated"):
        point_cloud_of(_message({**_xyz(), "timestamp": np.full(4, 1_600_000_000.0)}))


def test_times_that_are_not_finite_are_refused_where_they_are_read() -> None:
    message = _message(_xyz() | {"time": np.full(len(POINTS), np.nan, np.float32)})
    with pytest.raises(InputError, match="not finite"):
        point_cloud_of(message)
    assert point_cloud_of(message, with_times=False).offsets_ns is None
