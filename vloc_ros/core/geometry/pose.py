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

"""Rigid transforms between named frames.

Variables are named `target_from_source`, so that products chain by name:
`map_from_base = map_from_camera @ camera_from_base`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from transforms3d.quaternions import mat2quat, quat2mat

from vloc_ros.core.errors import InputError
from vloc_ros.core.integer_arrays import Array as Array

_ORTHONORMAL_TOLERANCE = 1e-5
_NEAR_HALF_TURN = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A rigid transform of SE(3) that maps points of the source frame into the target frame.

    Attributes:
        rotation: (3, 3) float64 rotation matrix.
        translation: (3,) float64, metres.

    Raises:
        InputError: a shape is wrong, a value is not finite, or `rotation` is not a rotation.
    """

    rotation: Array
    translation: Array

    def __post_init__(self) -> None:
        rotation = np.array(self.rotation, dtype=np.float64)
        translation = np.array(self.translation, dtype=np.float64)
        if rotation.shape != (3, 3) or translation.shape != (3,):
            raise InputError(
                f"a pose has shapes {rotation.shape} and {translation.shape}, expected a (3, 3) rotation "
                "and a (3,) translation"
            )
        if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
            raise InputError("a pose holds a value that is not finite")
        error, determinant = _orthonormality(rotation)
        if error > _ORTHONORMAL_TOLERANCE or determinant < 0:
            raise InputError(f"a pose's matrix is not a rotation: R·Rᵀ differs from the identity by {error:.2g}")
        rotation.flags.writeable = False
        translation.flags.writeable = False
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    @staticmethod
    def identity() -> Pose:
        """The transform that changes nothing."""
        return Pose(np.eye(3), np.zeros(3))

    @staticmethod
    def from_quaternion(quaternion: npt.ArrayLike, translation: npt.ArrayLike) -> Pose:
        """A pose from a quaternion x y z w (normalised here; its sign does not matter) and a translation in metres."""
        xyzw = np.asarray(quaternion, dtype=np.float64)
        if xyzw.shape != (4,) or not np.isfinite(xyzw).all():
            raise InputError(f"a quaternion needs four finite numbers x y z w, found {xyzw.tolist()}")
        norm = float(np.linalg.norm(xyzw))
        if not 0.5 < norm < 2.0:
            raise InputError(f"a quaternion has length {norm:.3g}, expected 1")
        return Pose(quat2mat(np.roll(xyzw / norm, 1)), np.asarray(translation, dtype=np.float64))

    @staticmethod
    def from_rotation_vector(rotation_vector: npt.ArrayLike, translation: npt.ArrayLike) -> Pose:
        """A pose from a rotation vector (axis times angle in radians) and a translation in metres."""
        vector = np.asarray(rotation_vector, dtype=np.float64).reshape(3)
        return Pose(cv2.Rodrigues(vector)[0], np.asarray(translation, dtype=np.float64))

    @property
    def quaternion(self) -> Array:
        """(4,) unit quaternion x y z w with w >= 0."""
        return np.asarray(np.roll(mat2quat(self.rotation), -1))

    @property
    def rotation_vector(self) -> Array:
        """(3,) rotation vector, axis times angle in radians."""
        return _rotation_vector(self.rotation)

    @property
    def matrix(self) -> Array:
        """(4, 4) homogeneous matrix."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.translation
        return matrix

    def __matmul__(self, other: Pose) -> Pose:
        """`a_from_b @ b_from_c` is `a_from_c`."""
        translation = self.rotation @ other.translation + self.translation
        return _unchecked(_orthonormal(self.rotation @ other.rotation), translation)

    def inverse(self) -> Pose:
        """`b_from_a` of `a_from_b`."""
        return _unchecked(self.rotation.T, -self.rotation.T @ self.translation)

    def apply(self, points: npt.ArrayLike) -> Array:
        """Map (..., 3) points of the source frame into the target frame."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def error_to(self, truth: Pose) -> Array:
        """(6,) error of this pose: translation difference, then the left rotation vector, both in target axes.

        Order x y z rx ry rz (metres, radians), the order and the axes of ROS pose covariances.
        """
        rotation = _rotation_vector(self.rotation @ truth.rotation.T)
        return np.concatenate([self.translation - truth.translation, rotation])

    def distance_to(self, other: Pose) -> tuple[float, float]:
        """Translation in metres and rotation angle in radians between two poses of the same frames."""
        error = self.error_to(other)
        return float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))


def _unchecked(rotation: Array, translation: Array) -> Pose:
    """A pose made of valid ones. A query makes some sixty, and the checks take longer than the products."""
    pose = object.__new__(Pose)
    rotation.flags.writeable = translation.flags.writeable = False
    object.__setattr__(pose, "rotation", rotation)
    object.__setattr__(pose, "translation", translation)
    return pose


def _orthonormality(rotation: Array) -> tuple[float, float]:
    """Largest difference of R·Rᵀ from the identity, and the determinant.

    Spelled out: poses are made some sixty times a query, and NumPy takes ten times as long for nine numbers.
    """
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()
    lengths = (a * a + b * b + c * c, d * d + e * e + f * f, g * g + h * h + i * i)
    products = (a * d + b * e + c * f, a * g + b * h + c * i, d * g + e * h + f * i)
    error = max(*(abs(length - 1.0) for length in lengths), *map(abs, products))
    return error, a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _orthonormal(rotation: Array) -> Array:
    """One Newton step towards the nearest rotation: long chains of products stay orthonormal."""
    return np.asarray(1.5 * rotation - 0.5 * rotation @ rotation.T @ rotation)


def _rotation_vector(rotation: Array) -> Array:
    """(3,) axis times angle. OpenCV gives zero below 1e-5 radians, so it only serves near half turns."""
    sine_axis = 0.5 * np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine, cosine = float(np.linalg.norm(sine_axis)), 0.5 * (float(np.trace(rotation)) - 1.0)
    if cosine < 0 and sine < _NEAR_HALF_TURN:
        return np.asarray(cv2.Rodrigues(rotation)[0]).reshape(3)
    return np.asarray(sine_axis * (np.arctan2(sine, cosine) / sine if sine > 0 else 1.0))


def skew(vectors: Array) -> Array:
    """(..., 3) vectors to the (..., 3, 3) matrices that `@ b` multiplies as `cross(a, b)` does."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vectors.shape[:-1], 3, 3)
