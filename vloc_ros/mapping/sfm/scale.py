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

"""Scale and frame of a map built from images alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.sources import PosedImage
from vloc_ros.mapping.sfm.structure import Structure

_MIN_POSES = 3
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class GivenPoses:
    """The images' own poses, where they have any.

    Attributes:
        drifting: they are of odometry, good over short ways only; not of a survey or another localizer.
        camera_path: map_from_camera at any time in nanoseconds, None outside the recording; with it the offset of its
            clock from the images' is estimated.
    """

    drifting: bool = False
    camera_path: Callable[[int], Pose | None] | None = None


@dataclass(frozen=True, slots=True)
class KnownDistance:
    """The distance between the cameras of two images.

    Attributes:
        first: name of an image.
        second: name of another image.
        metres: measured distance between their cameras.
    """

    first: str
    second: str
    metres: float


@dataclass(frozen=True, slots=True)
class MeasuredPositions:
    """The images' measured positions, of at least three of them."""


@dataclass(frozen=True, slots=True)
class UnknownScale:
    """No scale is known; lengths are not metres, and the map records that."""


ScaleSource = GivenPoses | KnownDistance | MeasuredPositions | UnknownScale
UNKNOWN_SCALE = UnknownScale()


def relative_to(origin: Array, source: ScaleSource) -> ScaleSource:
    """The same source in a frame that is shifted to a (3,) origin."""
    if not isinstance(source, GivenPoses) or source.camera_path is None:
        return source
    path = source.camera_path

    def shifted(stamp_ns: int) -> Pose | None:
        pose = path(stamp_ns)
        return pose and Pose(pose.rotation, pose.translation - origin)

    return replace(source, camera_path=shifted)


def apply_scale(structure: Structure, images: Sequence[PosedImage], source: ScaleSource) -> list[Pose | None]:
    """The reconstructed poses in the frame and scale of a source.

    Raises:
        InputError: too few placed images have poses, or the two images of a known distance were not placed.
    """
    if isinstance(source, GivenPoses):
        return _aligned_to_poses(structure.poses, [image.map_from_camera for image in images])
    if isinstance(source, KnownDistance):
        scale = _scale_of(structure, [image.name for image in images], source)
        return [pose and Pose(pose.rotation, scale * pose.translation) for pose in structure.poses]
    return list(structure.poses)


def _scale_of(structure: Structure, names: Sequence[str], source: KnownDistance) -> float:
    centres = []
    for name in (source.first, source.second):
        pose = structure.poses[names.index(name)] if name in names else None
        if pose is None:
            raise InputError(f"{name} is not among the images that could be placed; choose another for the distance")
        centres.append(pose.translation)
    distance = float(np.linalg.norm(centres[1] - centres[0]))
    if distance <= _ROUNDING or source.metres <= 0:
        raise InputError(f"the cameras of {source.first} and {source.second} are at one place; choose others")
    return source.metres / distance


def _aligned_to_poses(built: Sequence[Pose | None], given: Sequence[Pose | None]) -> list[Pose | None]:
    both = [(b, g) for b, g in zip(built, given, strict=True) if b is not None and g is not None]
    if len(both) < _MIN_POSES:
        raise InputError(f"{len(both)} of the placed images have poses, at least {_MIN_POSES} are needed for the scale")
    map_from_built = Similarity.fit_poses([b for b, _ in both], [g for _, g in both], with_scale=True)
    return [b and map_from_built.apply_to_pose(b) for b in built]
