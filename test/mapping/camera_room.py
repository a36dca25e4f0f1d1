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

"""A room with a camera's clouds in it, for tests of moving cameras in maps of LiDAR places."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.clouds.scan_context import ScanContext
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedScan
from vloc_ros.mapping.maps.lidar_places import make_lidar_map

LEVEL_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
TRUTH = Pose(Pose.from_rotation_vector([0.0, 0.0, 0.7], np.zeros(3)).rotation @ LEVEL_FROM_OPTICAL, [2.3, 2.6, 1.1])


def box(low: tuple[float, ...], high: tuple[float, ...]) -> Array:
    """(N, 3) points 5 cm apart on the six sides."""
    axes = [np.arange(a, b + 1e-6, 0.05) for a, b in zip(low, high, strict=True)]
    sides = []
    for axis in range(3):
        for end in (low[axis], high[axis]):
            sides.append(np.stack(np.meshgrid(*(axes[k] if k != axis else [end] for k in range(3))), -1).reshape(-1, 3))
    return np.concatenate(sides)


ROOM = np.concatenate([box((0, 0, 0), (6, 5, 2.5)), box((4.5, 3.5, 0), (5.5, 5, 1.5)), box((0, 3, 0), (0.6, 4, 2))])


def make_room_map() -> LandmarkMap:
    """One place in the room."""
    place = Pose(np.eye(3), np.array([2.0, 2.5, 1.0]))
    cloud = PointCloud(place.inverse().apply(ROOM).astype(np.float32))
    return make_lidar_map([PosedScan("0", lambda: cloud, place)], name="room", context=ScanContext(10.0))


def see(points: Array, truth: Pose = TRUTH) -> CameraCloud:
    """The cloud of a camera that sees some surfaces."""
    seen = truth.inverse().apply(points)
    seen = seen[(seen[:, 2] > 0.3) & (np.abs(seen[:, :2]) < 0.8 * seen[:, 2:]).all(axis=1)]
    seen = seen[_is_unhidden(seen)][::4]
    seen += np.random.default_rng(0).normal(0.0, 0.02, seen.shape)
    return CameraCloud(
        seen, np.full(len(seen), 0.03), seen / np.linalg.norm(seen, axis=1, keepdims=True), np.zeros_like(seen)
    )


def _is_unhidden(points: Array) -> Array:
    """Whether each point in the optical frame has no nearer one in its direction."""
    distance = np.linalg.norm(points, axis=1)
    cell = np.round(points[:, :2] / points[:, 2:] / 0.05).astype(int) @ [1000, 1]
    _, which = np.unique(cell, return_inverse=True)
    nearest = np.full(which.max() + 1, np.inf)
    np.minimum.at(nearest, which, distance)
    return np.asarray(distance < 1.1 * nearest[which])
