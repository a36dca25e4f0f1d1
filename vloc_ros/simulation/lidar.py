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

"""Scans of a LiDAR in a world: the surfaces that a camera sees too, hit by its beams.

A scan is cut into four sectors of 90 degrees, whose beams meet the nearest surfaces as a camera's rays do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.render import find_nearest_hits
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.textures import get_mip_map

_SECTORS = 4
_RANGE_M, _NOISE_M = 80.0, 0.02
# z forward, x right, y down from x forward, y left, z up
_SECTOR_FROM_LIDAR = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
_ROSETTE_RATE, _ROSETTE_PETALS = 2.399963, 7.3


@dataclass(frozen=True, slots=True)
class Spinning:
    """Rings of a head that turns about its z axis, such as those of 16 to 64 lasers.

    Attributes:
        rings: number of lasers.
        lowest_rad: elevation of the lowest.
        highest_rad: elevation of the highest.
        columns: firings in one turn.
    """

    rings: int = 64
    lowest_rad: float = -0.43
    highest_rad: float = 0.035
    columns: int = 1800

    def directions(self, scan: int) -> Array:
        """(M, 3) beams of length 1, the same in every scan: x forward, y left, z up."""
        azimuth = np.linspace(-np.pi, np.pi, self.columns, endpoint=False)
        elevation = np.linspace(self.lowest_rad, self.highest_rad, self.rings)
        azimuth, elevation = (values.ravel() for values in np.meshgrid(azimuth, elevation))
        return np.column_stack(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )


@dataclass(frozen=True, slots=True)
class Rosette:
    """A pattern that does not repeat, in a cone ahead, such as that of two prisms that turn at unlike rates.

    Attributes:
        points: beams of a scan.
        half_angle_rad: of the cone.
    """

    points: int = 20_000
    half_angle_rad: float = 0.6

    def directions(self, scan: int) -> Array:
        """(M, 3) beams of length 1, other ones in every scan: x forward, y left, z up."""
        turn = (np.arange(self.points) + scan * self.points) * _ROSETTE_RATE / 100.0
        off = self.half_angle_rad * np.abs(np.sin(_ROSETTE_PETALS * turn))
        return np.column_stack([np.cos(off), np.sin(off) * np.cos(turn), np.sin(off) * np.sin(turn)])


LidarPattern = Spinning | Rosette


@dataclass(frozen=True, slots=True, eq=False)
class LidarScan:
    """What came back.

    Attributes:
        points: (N, 3) float32 metres in the sensor's frame, x forward, y left, z up.
        intensity: (N,) uint8, by the surface's brightness and how squarely it is met.
    """

    points: Array
    intensity: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Echoes:
    """Beams that came back: their (N, 3) directions, (N,) measured distances, and (N,) surfaces that they met."""

    beams: Array
    measured: Array
    surface: Array

    @property
    def points(self) -> Array:
        return np.asarray((self.beams * self.measured[:, None]).astype(np.float32))


def scan_world(
    world: World,
    map_from_lidar: Pose,
    pattern: LidarPattern,
    *,
    seed: int = 0,
    scan: int = 0,
    range_m: float = _RANGE_M,
    noise_m: float = _NOISE_M,
) -> LidarScan:
    """Scan a world from a place.

    Args:
        world: the surfaces; the sky gives no echo.
        map_from_lidar: pose of the sensor.
        pattern: its beams.
        seed: of the noise.
        scan: number of the scan, for patterns that do not repeat.
        range_m: how far it sees.
        noise_m: standard deviation of a distance.
    """
    echoes = _meet(world, map_from_lidar, pattern, seed, scan, range_m, noise_m)
    hit, which = np.unique(echoes.surface, return_inverse=True)
    brightness, normals = _surface_properties(world, hit)
    squarely = np.abs(np.einsum("ij,ij->i", echoes.beams @ map_from_lidar.rotation.T, normals[which]))
    intensity = np.clip(brightness[which] * (0.3 + 0.7 * squarely), 1, 255).astype(np.uint8)
    return LidarScan(echoes.points, intensity)


def scan_points(world: World, map_from_lidar: Pose, pattern: LidarPattern, *, seed: int = 0, scan: int = 0) -> Array:
    """(N, 3) float32 points of `scan_world`; without intensities no texture has to be painted."""
    return _meet(world, map_from_lidar, pattern, seed, scan).points


def _meet(
    world: World,
    map_from_lidar: Pose,
    pattern: LidarPattern,
    seed: int,
    scan: int,
    range_m: float = _RANGE_M,
    noise_m: float = _NOISE_M,
) -> _Echoes:
    """See `scan_world`."""
    rng, beams = np.random.default_rng([seed, scan, 11]), pattern.directions(scan)
    sector_of_beam = np.round(np.arctan2(beams[:, 1], beams[:, 0]) / (np.pi / 2)).astype(int) % _SECTORS
    distance, surface = np.full(len(beams), np.inf), np.full(len(beams), -1)
    for sector in range(_SECTORS):
        mine = np.flatnonzero(sector_of_beam == sector)
        if not len(mine):
            continue
        lidar_from_sector = _turn(sector * np.pi / 2) @ _SECTOR_FROM_LIDAR.T
        rays = beams[mine] @ lidar_from_sector
        depth, hit = find_nearest_hits(
            world, Pose(map_from_lidar.rotation @ lidar_from_sector, map_from_lidar.translation), rays / rays[:, 2:]
        )
        distance[mine], surface[mine] = depth * np.linalg.norm(rays / rays[:, 2:], axis=1), hit
    sky = np.array([one.texture.pattern == "sky" for one in world.rectangles])
    echo = np.flatnonzero((surface >= 0) & (distance < range_m))
    echo = echo[~sky[surface[echo]]]
    return _Echoes(beams[echo], distance[echo] + rng.normal(0.0, noise_m, len(echo)), surface[echo])


def _surface_properties(world: World, surfaces: Array) -> tuple[Array, Array]:
    """(N,) mean brightness of surfaces, by their smallest image, and (N, 3) their normals."""
    chosen = [world.rectangles[k] for k in surfaces]
    brightness = np.array([float(get_mip_map(one.texture).image[-4:, :4].mean()) for one in chosen])
    edges = np.array([[one.edge_v, one.edge_u] for one in chosen]).reshape(-1, 2, 3)
    normals = np.cross(edges[:, 0], edges[:, 1])
    return brightness, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _turn(yaw: float) -> Array:
    return Pose.from_rotation_vector([0.0, 0.0, yaw], np.zeros(3)).rotation
