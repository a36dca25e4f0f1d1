"""What gives a map built from images alone its scale and frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.pose import Array, Pose
from vloc_ros.mapping.images import MappingImage
from vloc_ros.mapping.structure import Structure

_TRIMMED_ROUNDS = 5
_KEPT_PART = 0.8
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class GivenPoses:
    """The images' own poses, as far as they have any: from a survey, or from odometry (which may drift)."""


@dataclass(frozen=True, slots=True)
class KnownDistance:
    """The distance between the cameras of two images.

    Attributes:
        first, second: names of the images.
        metres: measured between their cameras.
    """

    first: str
    second: str
    metres: float


@dataclass(frozen=True, slots=True)
class UnknownScale:
    """Nothing is known; lengths are not metres, and the map says so."""


ScaleSource = GivenPoses | KnownDistance | UnknownScale
UNKNOWN_SCALE = UnknownScale()


def placed(structure: Structure, images: Sequence[MappingImage], source: ScaleSource) -> list[Pose | None]:
    """The reconstructed poses in the frame and scale that the source gives.

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
    """Rotation from the orientations, scale and offset from the positions: works on a straight line too."""
    both = [(b, g) for b, g in zip(built, given, strict=True) if b is not None and g is not None]
    if len(both) < 3:
        raise InputError(f"{len(both)} of the placed images have poses, at least 3 are needed for the scale")
    rotation = _mean_rotation(np.stack([g.rotation @ b.rotation.T for b, g in both]))
    source = np.stack([b.translation for b, _ in both]) @ rotation.T
    target = np.stack([g.translation for _, g in both])
    scale, offset = _scale_and_offset(source, target)
    return [b and Pose(rotation @ b.rotation, scale * rotation @ b.translation + offset) for b in built]


def _mean_rotation(rotations: Array) -> Array:
    """(3, 3) rotation nearest to the mean of (N, 3, 3) ones (chordal mean, Hartley et al. 2013)."""
    u, _, vt = np.linalg.svd(rotations.mean(axis=0))
    return np.asarray(u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt)


def _scale_and_offset(source: Array, target: Array) -> tuple[float, Array]:
    """Least squares over the best-fitting four fifths of the positions."""
    kept = np.ones(len(source), bool)
    for _ in range(_TRIMMED_ROUNDS):
        centred = source[kept] - source[kept].mean(axis=0)
        spread = float((centred**2).sum())
        if spread <= len(source) * (_ROUNDING * max(float(np.abs(source).max()), 1.0)) ** 2:
            raise InputError("all images were taken at one place, which gives no scale; declare it unknown instead")
        scale = float((centred * (target[kept] - target[kept].mean(axis=0))).sum()) / spread
        offset = target[kept].mean(axis=0) - scale * source[kept].mean(axis=0)
        residuals = np.linalg.norm(scale * source + offset - target, axis=1)
        kept = residuals <= np.quantile(residuals, _KEPT_PART)
    if scale <= 0:
        raise InputError("the given poses contradict the images; are they map_from_camera of optical frames?")
    return scale, offset
