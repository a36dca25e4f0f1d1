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

"""Georeferencing: the datum of a map by positions on Earth of places in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import MOST_FROM_DATUM_M, MOST_MOVED_M, Datum, mean_position
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.tile_encoder import AERIAL
from vloc_ros.geo.position_tables import EarthPositions
from vloc_ros.mapping.maps.alignment import transform_map

# the positions have to say where north is, and what is up, to so much
_MOST_YAW_STD_RAD, _MOST_LEAN_STD_RAD = np.radians(5.0), np.radians(5.0)
_LEAST_PAIRS, _LEAST_LEVEL_PAIRS = 3, 2
_PAIRS_TRIED, _SIGMAS, _REFITS = 2000, 2.5, 5
# positions by satellites without corrections; what two positions alone cannot tell
_LEAST_STD_M = 0.01
# fits around the map's origin; the first of them has it to a millimetre
_CENTRED = 2
# of normal errors: standard deviation over median deviation, and of the median over that of the mean
_STD_OF_MAD, _STD_OF_MEDIAN = 1.4826, 1.2533
_MOST_SCALE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class GeoreferencedMap:
    """A map with a datum.

    Attributes:
        landmark_map: the map; turned level, and brought to metres, where the positions say so.
        residuals: (N,) metres between each position and where the map has it; horizontal ones where the map's z axis
            was taken to point up.
        agreeing: (N,) bool, the positions that the datum was fitted to.
        lean_rad: by how much the map's z axis leaned.
        scale: that its lengths were multiplied by.
        measured_scale: that the positions suggest for a map in metres, whose scale is kept; 1 for others.
    """

    landmark_map: LandmarkMap
    residuals: Array
    agreeing: Array
    lean_rad: float
    scale: float
    measured_scale: float


def georeference_map(
    landmark_map: LandmarkMap, points: Array, positions: EarthPositions, *, level: bool, std_m: float = 0.0
) -> GeoreferencedMap:
    """Give a map of one scene a datum.

    With heights the positions also say what is up, and the map is turned level. Without them, or with `level`, its z
    axis has to point up already.

    Args:
        landmark_map: of one scene.
        points: (N, 3) places in the map frame, and
        positions: N positions of them on Earth.
        level: the map's z axis points up; heights give the height of the datum alone.
        std_m: what all positions may be off by together, as those of one receiver are; it adds to the datum's.

    Raises:
        InputError: the positions are too few, lie on a line, contradict each other, do not fit the map's lengths, or
            are far from the map's origin; what is up is not known; or the map has aerial tiles beside its landmarks.
    """
    _check_tiles(landmark_map)
    altitude = positions.altitude_m
    if altitude is None and not level and landmark_map.scene().frame_is_arbitrary:
        raise InputError(
            f"images alone chose the frame of the map {landmark_map.name}, so that its z axis points anywhere, and the "
            "positions have no heights; give --height-column and --height-reference, or --level where the z axis "
            "points up"
        )
    middle = mean_position(positions.latitude, positions.longitude)
    local = Datum(*middle, None if altitude is None else float(np.median(altitude)))
    target = local.local(positions.latitude, positions.longitude, altitude)
    _check(points, target)
    level = level or altitude is None
    measured = _measured_scale(points, target, level=level) if landmark_map.metric else 1.0
    enu_from_map, agreeing = _fit(points, target, level=level, with_scale=not landmark_map.metric)
    for _ in range(_CENTRED):  # what is east, and what is up, is said of the map's origin
        local = _centre(enu_from_map, local, target[agreeing])
        target = local.local(positions.latitude, positions.longitude, altitude)
        enu_from_map, agreeing = _fit(points, target, level=level, with_scale=not landmark_map.metric)
    errors = enu_from_map.apply(points) - target
    residuals = np.linalg.norm(errors[:, : 2 if level else 3], axis=1)
    rms = max(float(np.sqrt((residuals[agreeing] ** 2).mean())), _LEAST_STD_M)
    datum, level_from_map = _datum_of(enu_from_map, local, points[agreeing], rms, std_m)
    if level and altitude is not None:
        datum = _with_height(datum, errors[agreeing, 2], std_m)
    if positions.relative:
        datum = replace(datum, altitude_m=None, altitude_std_m=0.0)
    _check_determined(enu_from_map.scale * points[agreeing], rms, datum, level=level)
    moved = _without_datum(landmark_map)
    lean = float(np.arccos(np.clip(level_from_map.rotation[2, 2], -1.0, 1.0)))
    if lean > 0.0 or level_from_map.scale != 1.0:
        moved = transform_map(moved, level_from_map, metric=True)
    moved = replace(moved, scenes=(replace(moved.scene(), datum=datum, frame_is_arbitrary=False),))
    return GeoreferencedMap(moved, residuals, agreeing, lean, level_from_map.scale, measured)


def _check_tiles(landmark_map: LandmarkMap) -> None:
    if len(landmark_map.points) and landmark_map.item_count(AERIAL):
        raise InputError(
            f"the aerial tiles of the map {landmark_map.name} lie where its datum says, expected none of another one; "
            "georeference the map that they were added to, and add them again with `vloc map aerial add`"
        )


def _without_datum(landmark_map: LandmarkMap) -> LandmarkMap:
    """The map without a former datum, which maps of earlier versions note in their provenance."""
    provenance = {name: value for name, value in landmark_map.provenance.items() if name != "datum"}
    return replace(landmark_map, scenes=(replace(landmark_map.scene(), datum=None),), provenance=provenance)


def _check(points: Array, target: Array) -> None:
    if len(points) != len(target) or not np.isfinite(points).all():
        raise InputError(f"{len(points)} points of the map and {len(target)} positions, expected finite pairs")
    if len(points) < _LEAST_PAIRS:
        raise InputError(f"{len(points)} positions belong to the map, expected {_LEAST_PAIRS} at least; add some")
    away_m = float(np.abs(target[:, :2]).max())
    if away_m > MOST_FROM_DATUM_M:
        raise InputError(
            f"the positions lie up to {away_m / 1000:.0f} km from their middle, expected at most "
            f"{MOST_FROM_DATUM_M / 1000:g} km; is a latitude wrong, or are zones mixed?"
        )


def _centre(enu_from_map: Similarity, local: Datum, target: Array) -> Datum:
    """The tangent plane at the map's origin, given a fit to (N, 3) positions in another.

    Raises:
        InputError: the origin is too far from all positions.
    """
    origin = enu_from_map.translation
    away_m = float(np.linalg.norm((target - origin)[:, :2], axis=1).min())
    if away_m > MOST_MOVED_M:
        raise InputError(
            f"the map's origin is {away_m / 1000:.1f} km from the nearest position, expected at most "
            f"{MOST_MOVED_M / 1000:g} km, since its frame becomes the tangent plane there; bring the map near its "
            "origin with `vloc map align --pairs`, then georeference it"
        )
    latitude, longitude, height = local.geodetic(origin)
    return Datum(latitude, longitude, None if local.altitude_m is None else height)


def _with_height(datum: Datum, errors: Array, std_m: float) -> Datum:
    """The datum with its height by the median of (N,) vertical errors, map less position: a few do not count."""
    assert datum.altitude_m is not None
    median = float(np.median(errors))
    spread = max(_STD_OF_MAD * float(np.median(np.abs(errors - median))), _LEAST_STD_M)
    std = float(np.hypot(_STD_OF_MEDIAN * spread / np.sqrt(len(errors)), std_m))
    return replace(datum, altitude_m=datum.altitude_m - median, altitude_std_m=std)


def _datum_of(
    enu_from_map: Similarity, local: Datum, points: Array, rms: float, std_m: float
) -> tuple[Datum, Similarity]:
    """The datum of the map when it is level, and level_from_map, a turn and a scale about the map's origin."""
    yaw = float(np.arctan2(enu_from_map.rotation[1, 0], enu_from_map.rotation[0, 0]))
    unturn = Pose.from_rotation_vector([0.0, 0.0, -yaw], np.zeros(3)).rotation
    latitude, longitude, height = local.geodetic(enu_from_map.translation)
    scaled = enu_from_map.scale * (points - points.mean(axis=0))
    spread = float(np.sqrt((scaled[:, :2] ** 2).sum()))
    yaw_std = rms / max(spread, 1e-9)
    lever = enu_from_map.scale * float(np.linalg.norm(points.mean(axis=0)[:2]))
    std = float(np.sqrt(rms**2 / len(points) + (yaw_std * lever) ** 2 + std_m**2))
    datum = Datum(
        latitude,
        longitude,
        None if local.altitude_m is None else height,
        yaw,
        position_std_m=std,
        altitude_std_m=std if local.altitude_m is not None else 0.0,
        yaw_std_rad=yaw_std,
    )
    return datum, Similarity(enu_from_map.scale, unturn @ enu_from_map.rotation, np.zeros(3))


def _check_determined(points: Array, rms: float, datum: Datum, *, level: bool) -> None:
    """Refuse positions whose errors decide the heading, or what is up."""
    if datum.yaw_std_rad > _MOST_YAW_STD_RAD:
        raise InputError(
            f"{len(points)} positions that agree to {rms:.2g} m give the heading to "
            f"{np.degrees(datum.yaw_std_rad):.0f} deg only, expected {np.degrees(_MOST_YAW_STD_RAD):.0f} deg; "
            "add positions further apart; where they agree badly, are latitude and longitude swapped?"
        )
    across = float(np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[1])
    if not level and rms / max(across, 1e-9) > _MOST_LEAN_STD_RAD:
        raise InputError(
            f"the positions lie within {across:.2g} m of a line and agree to {rms:.2g} m, which leaves open what is "
            "up; add positions beside the line, or give --level where the map's z axis points up"
        )


def _fit(points: Array, target: Array, *, level: bool, with_scale: bool) -> tuple[Similarity, Array]:
    """enu_from_map, and which (N, 3) pairs agree with it."""
    if level:
        return _fit_level(points, target, with_scale=with_scale)
    fitted = Similarity.fit(points, target, with_scale=with_scale)
    return fitted, fitted.agreeing(points, target)


def _measured_scale(points: Array, target: Array, *, level: bool) -> float:
    """The scale of the positions over that of a map in metres.

    Raises:
        InputError: they differ beyond their errors.
    """
    fitted, agreeing = _fit(points, target, level=level, with_scale=True)
    rms = float(np.sqrt((_horizontal(fitted, points, target)[agreeing] ** 2).mean()))
    spread = float(np.linalg.norm(points[agreeing] - points[agreeing].mean(axis=0)))
    if abs(fitted.scale - 1.0) > max(_MOST_SCALE, 5 * rms / max(spread, 1e-9)):
        raise InputError(
            f"the positions are {fitted.scale:.3g} times as far apart as in the map, whose lengths are metres, "
            "expected 1; do they belong to this map, in this order?"
        )
    return fitted.scale


def _fit_level(source: Array, target: Array, *, with_scale: bool) -> tuple[Similarity, Array]:
    """target_from_source of level frames, and which (N, 3) pairs agree: least median over pairs, then least squares."""
    count = len(source)
    if count * (count - 1) // 2 <= _PAIRS_TRIED:
        chosen = list(combinations(range(count), 2))
    else:
        drawn = np.random.default_rng(0).integers(0, count, (_PAIRS_TRIED, 2))
        chosen = [(int(first), int(second)) for first, second in drawn if first != second]
    candidates = [found for pair in chosen if (found := _level(source, target, list(pair), with_scale))]
    if not candidates:
        raise InputError("all positions lie at one place of the map, expected some apart from each other")
    best = min(candidates, key=lambda one: float(np.median(_horizontal(one, source, target))))
    for _ in range(_REFITS):
        errors = _horizontal(best, source, target)
        limit = max(_SIGMAS * _STD_OF_MAD * float(np.median(errors)), 1e-6 * float(np.abs(target).max() + 1.0))
        agreeing = errors <= limit
        if agreeing.sum() < _LEAST_LEVEL_PAIRS:
            break
        best = _level(source, target, np.flatnonzero(agreeing), with_scale) or best
    return best, agreeing


def _horizontal(one: Similarity, source: Array, target: Array) -> Array:
    return np.asarray(np.linalg.norm((one.apply(source) - target)[:, :2], axis=1))


def _level(source: Array, target: Array, rows: Sequence[int] | Array, with_scale: bool) -> Similarity | None:
    """The least-squares turn about z, shift and scale of some pairs; None where they lie at one place."""
    source_mean, target_mean = source[rows].mean(axis=0), target[rows].mean(axis=0)
    at, there = (source[rows] - source_mean)[:, :2] @ [1, 1j], (target[rows] - target_mean)[:, :2] @ [1, 1j]
    length = float((np.abs(at) ** 2).sum())
    if length <= 0.0:
        return None
    turn = (np.conj(at) @ there) / length
    scale = float(np.abs(turn)) if with_scale else 1.0
    if not scale > 0.0:
        return None
    rotation = Pose.from_rotation_vector([0.0, 0.0, float(np.angle(turn))], np.zeros(3)).rotation
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)
