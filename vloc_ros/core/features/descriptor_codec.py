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

"""Compact descriptors: PCA and 8 bits (product of a linear projection and a per-axis uniform quantiser)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

_LEVELS = 255.0
_SPREAD = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class DescriptorCodec:
    """Projects descriptors onto their principal axes and quantises them to 8 bits.

    All axes share one step, so that distances in code space are distances in descriptor space.

    Attributes:
        mean: (D,) float32, subtracted first.
        basis: (D, d) float32, orthonormal columns.
        step: size of one of the 256 levels.
    """

    mean: Array
    basis: Array
    step: float

    @staticmethod
    def fit(descriptors: Array, dimension: int) -> DescriptorCodec:
        """Learn the projection from (N, D) descriptors; keeps at most D axes."""
        if len(descriptors) < 2:
            raise InputError(
                f"{len(descriptors)} points are too few for a map; the images show no texture, or the poses are "
                "not map_from_camera of optical frames, or of other images"
            )
        mean = descriptors.mean(axis=0, dtype=np.float64)
        centred = descriptors - mean
        variances, axes = np.linalg.eigh(centred.T @ centred / len(descriptors))
        basis = axes[:, ::-1][:, : min(dimension, descriptors.shape[1])]
        largest = float(np.sqrt(max(variances[-1], 1e-12)))
        return DescriptorCodec(mean.astype(np.float32), basis.astype(np.float32), 2 * _SPREAD * largest / _LEVELS)

    @property
    def dimension(self) -> int:
        """Number of axes kept."""
        return int(self.basis.shape[1])

    def project(self, descriptors: Array) -> Array:
        """(N, D) descriptors to (N, d) float32, not quantised: what a query is compared with."""
        return np.asarray((descriptors - self.mean) @ self.basis, dtype=np.float32)

    def encode(self, descriptors: Array) -> Array:
        """(N, D) descriptors to (N, d) uint8 codes."""
        return self.quantised(self.project(descriptors))

    def quantised(self, projected: Array) -> Array:
        """(N, d) float32 in the space of `project` to (N, d) uint8 codes."""
        levels = np.rint(projected / self.step + _LEVELS / 2)
        return np.clip(levels, 0, _LEVELS).astype(np.uint8)

    def restore(self, projected: Array) -> Array:
        """(N, d) float32 in the space of `project` to the (N, D) descriptors nearest to them."""
        return np.asarray(projected @ self.basis.T + self.mean, dtype=np.float32)

    def decode(self, codes: Array) -> Array:
        """(N, d) uint8 codes to (N, d) float32 in the space of `project`."""
        values = codes.astype(np.float32)
        values -= np.float32(_LEVELS / 2)
        values *= np.float32(self.step)
        return np.asarray(values)
