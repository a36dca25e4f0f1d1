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

"""Universal Transverse Mercator: metres east and north in a zone, of WGS 84 latitude and longitude.

The series of Krüger to the third order in the third flattening, as Karney 2011 gives it: below a millimetre within a
zone and its neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vloc_ros.core.errors import InputError

_EQUATOR_M, _FLATTENING = 6378137.0, 1 / 298.257223563
_SCALE, _FALSE_EASTING_M, _FALSE_NORTHING_M = 0.9996, 500_000.0, 10_000_000.0
_N = _FLATTENING / (2 - _FLATTENING)
_RADIUS_M = _EQUATOR_M / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64)
_ALPHA = (
    _N / 2 - 2 / 3 * _N**2 + 5 / 16 * _N**3,
    13 / 48 * _N**2 - 3 / 5 * _N**3,
    61 / 240 * _N**3,
)
_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_LARGEST_LATITUDE, _SMALLEST_LATITUDE = 84.0, -80.0


@dataclass(frozen=True, slots=True)
class UtmPosition:
    """A position in a zone.

    Attributes:
        easting_m: metres east, 500 km at the zone's central meridian.
        northing_m: metres north of the equator; of the south 10 000 km more.
        zone: number of the zone, 1 to 60.
        letter: latitude band, C to X; those from N on are north of the equator.
    """

    easting_m: float
    northing_m: float
    zone: int
    letter: str


def to_utm(latitude: float, longitude: float, *, zone: int | None = None, northern: bool | None = None) -> UtmPosition:
    """A position in the zone of its longitude, or in a given one, so that positions on both sides of a border compare.

    Likewise `northern` gives the hemisphere whose northings these are; None takes that of the latitude.

    The exceptions of the zones around Norway and Svalbard are left out.

    Raises:
        InputError: a coordinate is not finite or out of range, or at a pole of the given zone's projection.
    """
    if not (_SMALLEST_LATITUDE <= latitude <= _LARGEST_LATITUDE and -180.0 <= longitude <= 180.0):
        raise InputError(
            f"found latitude {latitude:g} and longitude {longitude:g}, expected {_SMALLEST_LATITUDE:g} to "
            f"{_LARGEST_LATITUDE:g} and -180 to 180 degrees; correct them"
        )
    zone = zone or min(60, int((longitude + 180) // 6) + 1)
    offset = math.radians(degrees_from_zone(longitude, zone))
    sine, k = math.sin(math.radians(latitude)), 2 * math.sqrt(_N) / (1 + _N)
    t = math.sinh(math.atanh(sine) - k * math.atanh(k * sine))
    across = math.sin(offset) / math.hypot(1.0, t)
    if abs(across) >= 1.0:
        raise InputError(f"longitude {longitude:g} is at a pole of the projection of zone {zone}; correct the zone")
    xi, eta = math.atan2(t, math.cos(offset)), math.atanh(across)
    east = eta + sum(a * math.cos(2 * j * xi) * math.sinh(2 * j * eta) for j, a in enumerate(_ALPHA, start=1))
    north = xi + sum(a * math.sin(2 * j * xi) * math.cosh(2 * j * eta) for j, a in enumerate(_ALPHA, start=1))
    northern = latitude >= 0 if northern is None else northern
    northing = _SCALE * _RADIUS_M * north + (0.0 if northern else _FALSE_NORTHING_M)
    band = _BANDS[min(len(_BANDS) - 1, int((latitude - _SMALLEST_LATITUDE) // 8))]
    # across the equator the band that is nearest in that hemisphere
    band = max(band, "N") if northern else min(band, "M")
    return UtmPosition(_FALSE_EASTING_M + _SCALE * _RADIUS_M * east, northing, zone, band)


def degrees_from_zone(longitude: float, zone: int) -> float:
    """Degrees east of the central meridian of a zone, -180 to 180."""
    return (longitude - (6 * zone - 183) + 180.0) % 360.0 - 180.0
