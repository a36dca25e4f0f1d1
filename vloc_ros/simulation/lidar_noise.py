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

"""What makes scans of a LiDAR worse than geometry: noise, mixed pixels, drop-outs, dark surfaces, glass.

Data sheets of spinning sensors state 2 to 3 cm (HDL-64E, VLP-16, Ouster OS1), those of depth cameras errors that grow
with the square of the distance (Nguyen et al., 3DIMPVT 2012, of the Kinect: 0.0019 per metre).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.lidar import LidarScan
from vloc_ros.simulation.scene import World

# beams beside each other, and a step in distance that is an edge
_BESIDE_RAD, _EDGE_SHARE = np.radians(0.9), 0.05
_GLASS = "glass"


@dataclass(frozen=True, slots=True)
class ScanErrors:
    """Errors of a LiDAR.

    Attributes:
        range_std_m: standard deviation of a distance.
        range_std_per_m: of a distance of one metre; it grows with the square, as that of a depth camera.
        drop_out: share of the returns that are lost at random.
        dark: a surface of less brightness, 0 to 1, is lost at full range; what is needed falls with the square of the
            distance.
        mixed: share of the returns at edges that lie between the two surfaces.
    """

    range_std_m: float = 0.02
    range_std_per_m: float = 0.0
    drop_out: float = 0.0
    dark: float = 0.0
    mixed: float = 0.0


def degrade_scan(scan: LidarScan, errors: ScanErrors, *, range_m: float, rng: np.random.Generator) -> Array:
    """(N, 3) float32 points of a scan without noise as a sensor would return them.

    Args:
        scan: its points in the order of the beams.
        errors: of the sensor.
        range_m: how far it sees white.
        rng: of the draw.
    """
    points = scan.points.astype(float)
    if not len(points):
        return np.asarray(scan.points)
    distance = np.linalg.norm(points, axis=1)
    beams = points / distance[:, None]
    beside = np.einsum("ij,ij->i", beams[:-1], beams[1:]) > np.cos(_BESIDE_RAD)
    edges = np.flatnonzero(beside & (np.abs(np.diff(distance)) > _EDGE_SHARE * distance[:-1]))
    edges = edges[rng.random(len(edges)) < errors.mixed]
    measured = distance.copy()
    measured[edges] += rng.random(len(edges)) * (distance[edges + 1] - distance[edges])
    measured += (errors.range_std_m + errors.range_std_per_m * distance**2) * rng.standard_normal(len(distance))
    returned = scan.intensity / 255.0 >= errors.dark * (distance / range_m) ** 2
    returned &= rng.random(len(distance)) >= errors.drop_out
    return np.asarray((beams * measured[:, None])[returned], np.float32)


def without_glass(world: World) -> World:
    """The world as a LiDAR sees it through panes of glass, which return nothing."""
    kept = tuple(one for one in world.rectangles if one.texture.pattern != _GLASS)
    return replace(world, name=f"{world.name}-without-glass", rectangles=kept)
