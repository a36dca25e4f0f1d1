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

"""What a training of cross-modal place recognition learns from: images with the scans of the same moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

# x forward, y left, z up from an optical frame: z forward, x right, y down
FORWARD_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """An image and a scan of one moment.

    Attributes:
        name: for messages.
        load_image: reads (H, W) or (H, W, 3) uint8.
        camera: calibration of the image.
        load_cloud: reads the scan.
        map_from_lidar: pose of the scan in a map whose z axis points up.
        camera_from_lidar: extrinsics, of the optical frame.
        stamp_ns: of the record.
    """

    name: str
    load_image: Callable[[], Array]
    camera: Camera
    load_cloud: Callable[[], PointCloud]
    map_from_lidar: Pose
    camera_from_lidar: Pose
    stamp_ns: int

    def load_forward_cloud(self) -> tuple[Array, Array | None]:
        """(N, 3) points from the camera, x along its optical axis and z up from it, and (N,) intensity where known."""
        cloud = self.load_cloud()
        points = self.camera_from_lidar.apply(cloud.points) @ FORWARD_FROM_OPTICAL.T
        return points.astype(np.float32), cloud.intensity

    def load_view_cloud(self) -> tuple[Array, Array | None]:
        """The forward cloud, x along the middle of the image's horizontal angle, which may differ from its axis."""
        points, intensity = self.load_forward_cloud()
        left, right = self._edges_rad()
        turned = Pose.from_rotation_vector([0.0, 0.0, (left + right) / 2], np.zeros(3)).apply(points)
        return turned.astype(np.float32), intensity

    def field_of_view_rad(self) -> float:
        """Horizontal angle of the image."""
        left, right = self._edges_rad()
        return right - left

    def _edges_rad(self) -> tuple[float, float]:
        """Angles of the left and the right edge from the optical axis, to the right."""
        camera = self.camera
        rays = camera.unproject([[0.0, camera.height / 2], [camera.width, camera.height / 2]])
        if not np.isfinite(rays).all():
            raise InputError(f"{self.name}: the camera sees 180 degrees or more, expected less; use undistorted images")
        return math.atan(rays[0, 0]), math.atan(rays[1, 0])


@dataclass(frozen=True, slots=True, eq=False)
class RecordSet:
    """The records of several sequences, of which those of one world share a frame.

    Attributes:
        records: N records.
        worlds: (N,) int64 number of each one's world.
        sequences: (N,) int64 number of each one's sequence; the first sequence of a world is its database.
        positions: (N, 2) float64 x and y of the LiDAR, metres.
        headings: (N,) float64 direction of the optical axis, radians from x to y.
        stamps_ns: (N,) int64.
    """

    records: tuple[Record, ...]
    worlds: Array
    sequences: Array
    positions: Array
    headings: Array
    stamps_ns: Array

    @staticmethod
    def join(worlds: Sequence[Sequence[Sequence[Record]]]) -> RecordSet:
        """The records of worlds, each of sequences in one frame.

        Raises:
            InputError: there is no record.
        """
        rows = [
            (record, number, (number, k))
            for number, world in enumerate(worlds)
            for k, sequence in enumerate(world)
            for record in sequence
        ]
        if not rows:
            raise InputError("there is no image with a scan, expected some; name recordings that have both")
        records = tuple(record for record, _, _ in rows)
        names = sorted({pair for _, _, pair in rows})
        axes = [(record.map_from_lidar @ record.camera_from_lidar.inverse()).rotation[:, 2] for record in records]
        return RecordSet(
            records,
            np.array([number for _, number, _ in rows], np.int64),
            np.array([names.index(pair) for _, _, pair in rows], np.int64),
            np.array([record.map_from_lidar.translation[:2] for record in records]),
            np.array([math.atan2(axis[1], axis[0]) for axis in axes]),
            np.array([record.stamp_ns for record in records], np.int64),
        )

    def __len__(self) -> int:
        return len(self.records)

    def select(self, which: Array) -> RecordSet:
        """Some records, by number or by (N,) bool."""
        numbers = np.arange(len(self))[which]
        parts = (self.worlds, self.sequences, self.positions, self.headings, self.stamps_ns)
        return RecordSet(tuple(self.records[k] for k in numbers), *(part[numbers] for part in parts))

    def thin(self, spacing_m: float) -> RecordSet:
        """The first record of each sequence, and each that was so far from the last one that was kept."""
        kept, last = list[int](), dict[int, Array]()
        for k, (sequence, position) in enumerate(zip(self.sequences.tolist(), self.positions, strict=True)):
            if sequence not in last or np.linalg.norm(position - last[sequence]) >= spacing_m:
                kept.append(k)
                last[sequence] = position
        return self.select(np.array(kept, np.int64))

    def distances(self, other: RecordSet) -> Array:
        """(N, M) metres to the records of another set of the same worlds; infinite between worlds."""
        metres = np.linalg.norm(self.positions[:, None] - other.positions[None], axis=2)
        return np.where(self.worlds[:, None] == other.worlds[None], metres, np.inf)

    def angles(self, other: RecordSet) -> Array:
        """(N, M) radians, 0 to pi, between the headings."""
        turns = self.headings[:, None] - other.headings[None]
        return np.abs(turns - 2 * np.pi * np.round(turns / (2 * np.pi)))
