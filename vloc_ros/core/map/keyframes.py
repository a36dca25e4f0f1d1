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

"""The keyframes of a map: where its images were taken, and which points each observes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

# a keyframe that sees fewer points was placed, if at all, by what else is known of its pose
MIN_POINTS_SEEN = 25


@dataclass(frozen=True, slots=True, eq=False)
class Keyframes:
    """The images that the map was built from, without their pixels.

    Attributes:
        names: K image names.
        rotations: (K, 3, 3) float64 rotations of scene_from_camera.
        translations: (K, 3) float64 translations of scene_from_camera, metres from the origin of the scene.
        point_offsets: (K + 1,) int64 offsets of each keyframe into `point_indices`.
        point_indices: (O,) int32 map points that the keyframes observe: those of keyframe k are
            `point_indices[point_offsets[k]:point_offsets[k + 1]]`.
        cameras: K calibrations; empty where they are not known.
    """

    names: tuple[str, ...]
    rotations: Array
    translations: Array
    point_offsets: Array
    point_indices: Array
    cameras: tuple[Camera, ...] = ()

    def __post_init__(self) -> None:
        k = len(self.names)
        if self.rotations.shape != (k, 3, 3) or self.translations.shape != (k, 3):
            raise MapError(f"a map lists {k} keyframes but poses of shapes {self.rotations.shape}; build it again")
        if self.point_offsets.shape != (k + 1,) or self.point_offsets[-1] != len(self.point_indices):
            raise MapError("a map's keyframe observations do not fit its keyframes; build it again")
        if len(self.cameras) not in (0, k):
            raise MapError(f"a map has {len(self.cameras)} cameras for {k} keyframes; build it again")

    @staticmethod
    def empty() -> Keyframes:
        """No keyframes, of a map of places alone."""
        return Keyframes((), np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros(1, np.int64), np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.names)

    def pose(self, k: int) -> Pose:
        """scene_from_camera of keyframe k."""
        return Pose(self.rotations[k], self.translations[k])

    def visible(self, k: int) -> Array:
        """(V,) int32 indices of the map points that keyframe k observes."""
        return np.asarray(self.point_indices[self.point_offsets[k] : self.point_offsets[k + 1]])

    @property
    def see_few_points(self) -> Array:
        """(K,) bool: those of which the map knows hardly more than the pose."""
        return np.asarray(np.diff(self.point_offsets) < MIN_POINTS_SEEN)

    @property
    def keyframe_of_observation(self) -> Array:
        """(O,) int32 keyframe of each entry of `point_indices`."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.point_offsets))

    def part(self, some: slice, *, first_point: int) -> Keyframes:
        """A range of keyframes, whose points are counted from `first_point`."""
        first, last = self.point_offsets[some.start], self.point_offsets[some.stop]
        return Keyframes(
            self.names[some],
            self.rotations[some],
            self.translations[some],
            self.point_offsets[some.start : some.stop + 1] - first,
            self.point_indices[first:last] - np.int32(first_point),
            self.cameras[some],
        )
