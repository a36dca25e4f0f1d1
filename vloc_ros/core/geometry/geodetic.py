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

"""A local tangent plane on the WGS 84 ellipsoid, and the datum that ties a map frame to it.

Latitude and longitude go through earth-centred coordinates, so that neither the date line nor a pole is a special case.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity

_EQUATOR_M, _FLATTENING = 6378137.0, 1.0 / 298.257223563
_ECCENTRICITY2 = _FLATTENING * (2.0 - _FLATTENING)
# of Bowring's iteration; below a nanometre within 100 km of the ellipsoid
_ITERATIONS = 3
# of the sphere that the ellipsoid is nearest to: how far the ground sinks below a tangent plane
_MEAN_RADIUS_M = 6_371_000.0
# a tangent plane describes the ground around its origin only: 20 km away that has sunk by 31 m
MOST_FROM_DATUM_M = 20_000.0
# a map whose z axis leans by more is not level
_LEVEL_RAD = 0.01
# the tangent plane at another origin leans against the first: at this distance by 0.02 degrees
MOST_MOVED_M = 2_000.0
# of frames whose lengths are the same
_SAME_SCALE = 1e-9
_DEEPEST_M, _HIGHEST_M = -12_000.0, 100_000.0


@dataclass(frozen=True, slots=True)
class Datum:
    """Where the origin of a map frame lies on Earth, and how the frame is turned.

    The frame is a tangent plane: z is up along the ellipsoid's normal at the origin. It is no UTM grid.

    Attributes:
        latitude: WGS 84 degrees, -90 to 90.
        longitude: WGS 84 degrees, -180 to 180.
        altitude_m: metres above the ellipsoid; None where the height is unknown.
        yaw_rad: of the map's x axis, counter-clockwise from east (REP 103); no compass bearing.
        position_std_m: standard deviation of the origin along each horizontal axis, metres; 0 where it defines the map.
        altitude_std_m: standard deviation of the height, metres.
        yaw_std_rad: standard deviation of the yaw.

    Raises:
        InputError: a value is not finite or out of range.
    """

    latitude: float
    longitude: float
    altitude_m: float | None = None
    yaw_rad: float = 0.0
    position_std_m: float = 0.0
    altitude_std_m: float = 0.0
    yaw_std_rad: float = 0.0

    def __post_init__(self) -> None:
        check_geodetic(self.latitude, self.longitude, self.altitude_m)
        stds = (self.position_std_m, self.altitude_std_m, self.yaw_std_rad)
        if not np.isfinite([self.yaw_rad, *stds]).all() or min(stds) < 0:
            raise InputError(
                f"a datum has yaw {self.yaw_rad} and standard deviations {stds}, expected finite values, none below 0"
            )

    def local(
        self, latitude: npt.ArrayLike, longitude: npt.ArrayLike, altitude_m: npt.ArrayLike | None = None
    ) -> Array:
        """(..., 3) metres in the map frame of WGS 84 degrees and heights above the ellipsoid.

        Args:
            latitude: (...) degrees.
            longitude: (...) degrees.
            altitude_m: (...) metres; None for the height of the datum.
        """
        height = (self.altitude_m or 0.0) if altitude_m is None else altitude_m
        if altitude_m is not None and self.altitude_m is None:
            raise InputError("the datum has no height, found heights of positions; give the datum's, or leave them out")
        away = _earth_centred(latitude, longitude, height) - self._origin()
        return np.asarray(away @ self._earth_from_map())

    def geodetic(self, position: Array) -> tuple[float, float, float]:
        """Latitude, longitude and height of (3,) metres in the map frame; NaN for the height where the datum has none.

        Where the height is unknown, positions are taken to be near the ellipsoid: 200 m above it a kilometre is 3 cm
        longer.
        """
        earth = self._origin() + self._earth_from_map() @ np.asarray(position, np.float64)
        latitude, longitude, height = (float(value) for value in _geodetic(earth))
        return latitude, longitude, height if self.altitude_m is not None else np.nan

    def geodetic_of_ground(self, xy: npt.ArrayLike) -> tuple[Array, Array]:
        """(...,) latitudes and longitudes of ground as high as the datum, below or above (..., 2) metres in the map.

        The inverse of `local`, to a millimetre within 20 km.
        """
        across = np.asarray(xy, np.float64)
        sunk = -(across**2).sum(axis=-1, keepdims=True) / (2 * _MEAN_RADIUS_M)
        earth = self._origin() + np.concatenate([across, sunk], axis=-1) @ self._earth_from_map().T
        latitude, longitude, _ = _geodetic(earth)
        return latitude, longitude

    def enu_from_map(self, latitude: float, longitude: float) -> Array:
        """(3, 3) rotation from the axes of the map to east, north and up of a place, in WGS 84 degrees.

        At the datum a turn by its yaw; 2 km from there up leans against the map's z axis by 0.02 degrees.
        """
        local = replace(self, latitude=latitude, longitude=longitude, yaw_rad=0.0)
        return np.asarray(local._earth_from_map().T @ self._earth_from_map())

    def heading_of(self, yaw_rad: float) -> float:
        """Compass bearing, clockwise from true north, 0 to 2 pi, of a yaw in the map frame."""
        return float((np.pi / 2 - self.yaw_rad - yaw_rad) % (2 * np.pi))

    def transform(self, target_from_map: Similarity) -> Datum:
        """The datum of the same map in another frame.

        Raises:
            InputError: the other frame is not level, has another scale, or its origin is too far from the map's for a
                tangent plane.
        """
        scale = target_from_map.scale
        lean = float(np.arccos(np.clip(target_from_map.rotation[2, 2], -1.0, 1.0)))
        origin = target_from_map.inverse().apply(np.zeros(3))
        away_m = float(np.linalg.norm(origin))
        if lean > _LEVEL_RAD or away_m > MOST_MOVED_M or abs(scale - 1.0) > _SAME_SCALE:
            raise InputError(
                f"the new frame of a georeferenced map leans by {np.degrees(lean):.1f} deg, has its origin "
                f"{away_m / 1000:.1f} km away and lengths multiplied by {scale:.6g}, expected a level frame of "
                f"the same scale within {MOST_MOVED_M / 1000:g} km; `vloc map georeference` the map in its new frame"
            )
        latitude, longitude, height = self.geodetic(origin)
        moved = replace(
            self,
            latitude=latitude,
            longitude=longitude,
            altitude_m=None if self.altitude_m is None else height,
            yaw_rad=0.0,
            position_std_m=float(np.hypot(self.position_std_m, self.yaw_std_rad * np.linalg.norm(origin[:2]))),
        )
        # meridians converge: east at the new origin is not parallel to east at the old one
        x_axis = moved._earth_from_map().T @ self._earth_from_map() @ target_from_map.rotation[0]
        return replace(moved, yaw_rad=float(np.arctan2(x_axis[1], x_axis[0])))

    def pose_of(self, other: Datum) -> Pose:
        """The frame of another datum in this one's; where either has no height, both origins lie on the ellipsoid."""
        has_heights = self.altitude_m is not None and other.altitude_m is not None
        own, its = (self, other) if has_heights else (replace(one, altitude_m=None) for one in (self, other))
        axes = own._earth_from_map()
        return Pose(axes.T @ its._earth_from_map(), (its._origin() - own._origin()) @ axes)

    def _origin(self) -> Array:
        return _earth_centred(self.latitude, self.longitude, self.altitude_m or 0.0)

    def _earth_from_map(self) -> Array:
        """(3, 3) columns: the axes of the map in earth-centred coordinates."""
        phi, lam = np.radians(self.latitude), np.radians(self.longitude)
        east = np.array([-np.sin(lam), np.cos(lam), 0.0])
        up = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
        north = np.cross(up, east)
        cosine, sine = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        return np.column_stack([cosine * east + sine * north, cosine * north - sine * east, up])


def check_geodetic(latitude: npt.ArrayLike, longitude: npt.ArrayLike, altitude_m: npt.ArrayLike | None = None) -> None:
    """Raise InputError unless all are finite, and a place on Earth.

    Args:
        latitude: (...) degrees.
        longitude: (...) degrees.
        altitude_m: (...) metres; None for none.
    """
    phi, lam = np.asarray(latitude, float), np.asarray(longitude, float)
    if not (np.isfinite(phi).all() and np.isfinite(lam).all()):
        raise InputError("a latitude or longitude is not finite, expected WGS 84 degrees; correct it or leave it out")
    if (np.abs(phi) > 90.0).any() or (np.abs(lam) > 180.0).any():
        swapped = (np.abs(lam) <= 90.0).all() and (np.abs(phi) <= 180.0).all()
        remedy = "are they swapped?" if swapped else "are they degrees?"
        raise InputError(
            f"latitudes reach {np.abs(phi).max():g} and longitudes {np.abs(lam).max():g}, expected degrees up to 90 "
            f"and 180; {remedy}"
        )
    if altitude_m is not None:
        height = np.asarray(altitude_m, float)
        if not np.isfinite(height).all() or (height < _DEEPEST_M).any() or (height > _HIGHEST_M).any():
            raise InputError(
                f"a height is not finite or no height on Earth, expected metres from {_DEEPEST_M:g} to {_HIGHEST_M:g}; "
                "correct it or leave it out"
            )


def mean_position(latitude: Array, longitude: Array) -> tuple[float, float]:
    """Latitude and longitude in the middle of (N,) degrees, across the date line too."""
    middle = _earth_centred(latitude, longitude, 0.0).mean(axis=0)
    found_latitude, found_longitude, _ = _geodetic(middle)
    return float(found_latitude), float(found_longitude)


def _earth_centred(latitude: npt.ArrayLike, longitude: npt.ArrayLike, height_m: npt.ArrayLike) -> Array:
    phi, lam = np.radians(np.asarray(latitude, float)), np.radians(np.asarray(longitude, float))
    height = np.asarray(height_m, float)
    normal = _EQUATOR_M / np.sqrt(1.0 - _ECCENTRICITY2 * np.sin(phi) ** 2)
    across = (normal + height) * np.cos(phi)
    polar = (normal * (1.0 - _ECCENTRICITY2) + height) * np.sin(phi)
    return np.stack(np.broadcast_arrays(across * np.cos(lam), across * np.sin(lam), polar), axis=-1)


def _geodetic(earth: Array) -> tuple[Array, Array, Array]:
    """(...,) latitude, longitude and height of (..., 3) earth-centred coordinates (Bowring 1976, iterated)."""
    across, polar = np.hypot(earth[..., 0], earth[..., 1]), earth[..., 2]
    polar_m = _EQUATOR_M * (1.0 - _FLATTENING)
    reduced = np.arctan2(polar * _EQUATOR_M, across * polar_m)
    second = _ECCENTRICITY2 / (1.0 - _ECCENTRICITY2)
    for _ in range(_ITERATIONS):
        phi = np.arctan2(
            polar + second * polar_m * np.sin(reduced) ** 3,
            across - _ECCENTRICITY2 * _EQUATOR_M * np.cos(reduced) ** 3,
        )
        reduced = np.arctan2((1.0 - _FLATTENING) * np.sin(phi), np.cos(phi))
    normal = _EQUATOR_M / np.sqrt(1.0 - _ECCENTRICITY2 * np.sin(phi) ** 2)
    height = across * np.cos(phi) + polar * np.sin(phi) - normal * (1.0 - _ECCENTRICITY2 * np.sin(phi) ** 2)
    return np.degrees(phi), np.degrees(np.arctan2(earth[..., 1], earth[..., 0])), height
