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

"""A rigid transform in plain Python: single transforms are too small for arrays to be faster."""

from __future__ import annotations

import math
from typing import NamedTuple

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


class Rigid(NamedTuple):
    """Rotation (unit quaternion x y z w) and translation (metres): point in parent = rotation · point + translation."""

    translation: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = (0.0, 0.0, 0.0, 1.0)

    def then(self, other: Rigid) -> Rigid:
        """Return the transform that applies this one first and `other` to its result."""
        x, y, z = rotate(other.rotation, self.translation)
        dx, dy, dz = other.translation
        return Rigid((x + dx, y + dy, z + dz), multiply(other.rotation, self.rotation))

    def inverse(self) -> Rigid:
        """Return the transform the other way round."""
        x, y, z, w = self.rotation
        back = (-x, -y, -z, w)
        tx, ty, tz = rotate(back, self.translation)
        return Rigid((-tx, -ty, -tz), back)


def normalize(rotation: Quaternion) -> Quaternion:
    """Return the rotation with unit length; NaN where it has no length."""
    length = math.sqrt(sum(number * number for number in rotation))
    x, y, z, w = (number / length if length else math.nan for number in rotation)
    return x, y, z, w


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """Return the rotation that applies b first, then a."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def rotate(rotation: Quaternion, point: Vector) -> Vector:
    """Return the point turned by the rotation."""
    x, y, z, w = rotation
    px, py, pz = point
    # twice the cross product of the axis part with the point, then Rodrigues' formula
    cx, cy, cz = 2 * (y * pz - z * py), 2 * (z * px - x * pz), 2 * (x * py - y * px)
    return (
        px + w * cx + y * cz - z * cy,
        py + w * cy + z * cx - x * cz,
        pz + w * cz + x * cy - y * cx,
    )


def interpolate(older: Rigid, newer: Rigid, ratio: float) -> Rigid:
    """Return what lies between: translation in a straight line, rotation at constant speed along the shorter arc."""
    x, y, z = (a + ratio * (b - a) for a, b in zip(older.translation, newer.translation, strict=True))
    cosine = sum(a * b for a, b in zip(older.rotation, newer.rotation, strict=True))
    sign = -1.0 if cosine < 0 else 1.0
    angle = math.acos(min(1.0, abs(cosine)))
    if math.sin(angle) < 1e-9:
        return Rigid((x, y, z), older.rotation)
    from_older = math.sin((1 - ratio) * angle) / math.sin(angle)
    from_newer = sign * math.sin(ratio * angle) / math.sin(angle)
    qx, qy, qz, qw = (from_older * a + from_newer * b for a, b in zip(older.rotation, newer.rotation, strict=True))
    return Rigid((x, y, z), (qx, qy, qz, qw))
