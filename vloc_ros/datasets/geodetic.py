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

"""A local frame of east, north and up (REP 103) at a place on Earth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pymap3d

from vloc_ros.core.geometry.pose import Array

GRAVITY_M_S2 = 9.81


@dataclass(frozen=True, slots=True)
class Datum:
    """The origin: WGS 84 degrees, and metres above the ellipsoid."""

    latitude: float
    longitude: float
    altitude_m: float

    def local(self, latitude: float, longitude: float, altitude_m: float) -> Array:
        """(3,) metres east, north and up of the origin."""
        return np.array(
            pymap3d.geodetic2enu(latitude, longitude, altitude_m, self.latitude, self.longitude, self.altitude_m)
        )

    def geodetic(self, position: Array) -> tuple[float, float, float]:
        """Latitude, longitude and altitude of (3,) metres east, north and up of the origin."""
        found = pymap3d.enu2geodetic(*position, self.latitude, self.longitude, self.altitude_m)
        latitude, longitude, altitude_m = (float(value) for value in found)
        return latitude, longitude, altitude_m


SIMULATED_DATUM = Datum(47.4, 8.55, 450.0)
