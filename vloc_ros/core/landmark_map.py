"""The map: 3D points with compact descriptors, grouped into landmarks, and the keyframes that saw them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from vloc_ros.core.config import ExtractorConfig
from vloc_ros.core.descriptors import DescriptorCodec
from vloc_ros.core.errors import MapError
from vloc_ros.core.pose import Array, Pose


@dataclass(frozen=True, slots=True, eq=False)
class Keyframes:
    """The images that the map was built from, without their pixels.

    Attributes:
        names: K image names.
        rotations: (K, 3, 3) float64 and
        translations: (K, 3) float64 metres: map_from_camera.
        point_offsets: (K + 1,) int64 and
        point_indices: (sum,) int32: keyframe k saw the map points
            `point_indices[point_offsets[k]:point_offsets[k + 1]]`.
    """

    names: tuple[str, ...]
    rotations: Array
    translations: Array
    point_offsets: Array
    point_indices: Array

    def __post_init__(self) -> None:
        k = len(self.names)
        if k == 0:
            raise MapError("a map has no keyframes; build it again")
        if self.rotations.shape != (k, 3, 3) or self.translations.shape != (k, 3):
            raise MapError(f"a map lists {k} keyframes but poses of shapes {self.rotations.shape}; build it again")
        if self.point_offsets.shape != (k + 1,) or self.point_offsets[-1] != len(self.point_indices):
            raise MapError("a map's keyframe observations do not fit its keyframes; build it again")

    def __len__(self) -> int:
        return len(self.names)

    def pose(self, k: int) -> Pose:
        """map_from_camera of keyframe k."""
        return Pose(self.rotations[k], self.translations[k])

    def visible(self, k: int) -> Array:
        """(V,) int32 indices of the map points that keyframe k saw."""
        return np.asarray(self.point_indices[self.point_offsets[k] : self.point_offsets[k + 1]])


@dataclass(frozen=True, slots=True, eq=False)
class CovarianceCalibration:
    """How much wider than the inliers' own Jacobian says the error really is.

    The published covariance is `scale² · Σ_J + diag(floor)`, fitted on contiguous segments of the trajectory that
    the map left out.

    Attributes:
        scale: factor on the standard deviations of Σ_J.
        floor: (6,) variances added, order x y z rx ry rz (metres², radians²).
        samples: number of left-out queries that it was fitted on; 0 means not calibrated on this map.
    """

    scale: float = 1.0
    floor: Array = field(default_factory=lambda: np.zeros(6))
    samples: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PlaceIndex:
    """One global descriptor per keyframe.

    Attributes:
        encoder: hash of the encoder that made it; a query must be encoded by the same one.
        descriptors: (K, D) float32, L2-normalised.
        encoder_arrays: what the encoder itself needs, by name (the visual vocabulary of VLAD).
    """

    encoder: str
    descriptors: Array
    encoder_arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """A map of one scene, in one metric frame.

    Attributes:
        name: for people.
        frame_id: ROS frame of all poses and points, usually `map`.
        points: (P, 3) float32 metres.
        landmark_ids: (P,) int32: the landmark that each point belongs to, 0 to L - 1.
        codes: (P, d) uint8 compact descriptors, one per point.
        codec: turns descriptors into codes' space and back.
        keyframes: where the images were taken and what each saw.
        extractor: what found the keypoints; queries use the same.
        places: place indices by name (`vlad`).
        calibration: of the covariance.
        metric: True when lengths are metres; False when the scale is unknown.
        provenance: how it was built; readable, JSON only.
    """

    name: str
    frame_id: str
    points: Array
    landmark_ids: Array
    codes: Array
    codec: DescriptorCodec
    keyframes: Keyframes
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    places: Mapping[str, PlaceIndex] = field(default_factory=dict)
    calibration: CovarianceCalibration = field(default_factory=CovarianceCalibration)
    metric: bool = True
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        p = len(self.points)
        if p == 0:
            raise MapError("a map has no points; its images share too little, take them closer together")
        if self.points.shape != (p, 3) or self.landmark_ids.shape != (p,) or self.codes.shape[:1] != (p,):
            raise MapError(
                f"a map's arrays do not fit together: points {self.points.shape}, landmark ids "
                f"{self.landmark_ids.shape}, codes {self.codes.shape}; build it again"
            )
        if not np.isfinite(self.points).all():
            raise MapError("a map holds points that are not finite; build it again")
        indices = self.keyframes.point_indices
        if len(indices) and (indices.min() < 0 or indices.max() >= p):
            raise MapError("a map's keyframes name points that it does not hold; build it again")

    @cached_property
    def descriptors(self) -> Array:
        """(P, d) float32 descriptors, decoded from the codes."""
        return self.codec.decode(self.codes)

    @property
    def landmark_count(self) -> int:
        """Number of landmarks."""
        return int(self.landmark_ids.max()) + 1
