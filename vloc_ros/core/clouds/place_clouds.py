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

"""Clouds of places: how they are stored, and how a scan is turned to compare with them."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.geometry.pose import Array, Pose

# the payload of LiDAR places: int16 centimetres in the place's frame
POINTS_CM = "points_cm"
# beyond, centimetres do not fit int16
FARTHEST_M = 327.0


def encode_points(points: Array) -> Array:
    """(M, 3) int16 centimetres of (N, 3) metres; what is too far away is left out."""
    near = (np.abs(points) < FARTHEST_M).all(axis=1)
    return np.round(points[near] * 100.0).astype(np.int16)


def decode_points(centimetres: Array) -> Array:
    """(N, 3) float32 metres."""
    return centimetres.astype(np.float32) / np.float32(100.0)


def level(cloud: PointCloud) -> tuple[Array, Pose]:
    """A cloud along the axes of its rig, whose z points up, from where its sensor is.

    Returns:
        (N, 3) float32 points, and rig_from_levelled.
    """
    points = cloud.points @ cloud.rig_from_sensor.rotation.T
    return points.astype(np.float32), Pose(np.eye(3), cloud.rig_from_sensor.translation)


def keep_heading(rotation: Array) -> Array:
    """(3, 3) turn about z of a rotation, by where its x axis points; by its y axis where that one is upright."""
    x_axis = rotation[:, 0] if np.hypot(*rotation[:2, 0]) > 0.1 else np.array([rotation[1, 1], -rotation[0, 1], 0.0])
    yaw = np.arctan2(x_axis[1], x_axis[0])
    return np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
