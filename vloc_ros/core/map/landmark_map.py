"""The map: 3D points with compact descriptors, grouped into landmarks, and the keyframes that saw them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from vloc_ros.core.config import ExtractorConfig
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.integer_arrays import expand_ranges
from vloc_ros.core.retrieval.descriptor_search import DescriptorSearch


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
        cameras: K calibrations; none where they are not known.
    """

    names: tuple[str, ...]
    rotations: Array
    translations: Array
    point_offsets: Array
    point_indices: Array
    cameras: tuple[Camera, ...] = ()

    def __post_init__(self) -> None:
        k = len(self.names)
        if k == 0:
            raise MapError("a map has no keyframes; build it again")
        if self.rotations.shape != (k, 3, 3) or self.translations.shape != (k, 3):
            raise MapError(f"a map lists {k} keyframes but poses of shapes {self.rotations.shape}; build it again")
        if self.point_offsets.shape != (k + 1,) or self.point_offsets[-1] != len(self.point_indices):
            raise MapError("a map's keyframe observations do not fit its keyframes; build it again")
        if len(self.cameras) not in (0, k):
            raise MapError(f"a map has {len(self.cameras)} cameras for {k} keyframes; build it again")

    def __len__(self) -> int:
        return len(self.names)

    def pose(self, k: int) -> Pose:
        """map_from_camera of keyframe k."""
        return Pose(self.rotations[k], self.translations[k])

    def visible(self, k: int) -> Array:
        """(V,) int32 indices of the map points that keyframe k saw."""
        return np.asarray(self.point_indices[self.point_offsets[k] : self.point_offsets[k + 1]])

    def part(self, some: slice, *, first_point: int) -> Keyframes:
        """Some keyframes, with the points that they saw counted from the first of them on."""
        first, last = self.point_offsets[some.start], self.point_offsets[some.stop]
        return Keyframes(
            self.names[some],
            self.rotations[some],
            self.translations[some],
            self.point_offsets[some.start : some.stop + 1] - first,
            self.point_indices[first:last] - np.int32(first_point),
            self.cameras[some],
        )


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
class Scene:
    """A part of the map in a metric frame of its own; two scenes have no metric relation.

    Attributes:
        frame_id: ROS frame of its poses and points, usually `map`; names the scene.
        points: which of the map's points are its own, contiguous.
        keyframes: which of the map's keyframes are its own, contiguous.
        calibration: of the covariance.
    """

    frame_id: str
    points: range
    keyframes: range
    calibration: CovarianceCalibration = field(default_factory=CovarianceCalibration)

    def __post_init__(self) -> None:
        frame_id = self.frame_id
        # TF takes /map for map
        if not isinstance(frame_id, str) or not frame_id or frame_id.startswith("/") or frame_id.split() != [frame_id]:
            raise MapError(f"the frame is {frame_id!r}, expected the name of a ROS frame such as map or kitchen")


def number_consecutively(scenes: Iterable[Scene]) -> tuple[Scene, ...]:
    """Scenes with as many points and keyframes as they have, one after the other."""
    placed, point, keyframe = list[Scene](), 0, 0
    for scene in scenes:
        points = range(point, point + len(scene.points))
        keyframes = range(keyframe, keyframe + len(scene.keyframes))
        placed.append(replace(scene, points=points, keyframes=keyframes))
        point, keyframe = points.stop, keyframes.stop
    return tuple(placed)


@dataclass(frozen=True, eq=False)
class RetrievalIndex:
    """One global descriptor per keyframe.

    Attributes:
        encoder: hash of the encoder that made it; a query must be encoded by the same one.
        descriptors: (K, D) float32, L2-normalised.
        encoder_arrays: what the encoder itself needs, by name (the visual vocabulary of VLAD).
    """

    encoder: str
    descriptors: Array
    encoder_arrays: Mapping[str, Array] = field(default_factory=dict)

    @cached_property
    def search(self) -> DescriptorSearch:
        """For the keyframes most alike; made once, for all who ask the map."""
        return DescriptorSearch(self.descriptors)


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkTable:
    """The landmarks of a map, in two levels: coarse ones of about an image's view, and the fine ones that they are of.

    Append-only: a map that grows keeps its landmarks, their numbers and their keys, and adds new ones behind them.

    Attributes:
        keys: (L,) int64, the name of each landmark, which stays with it wherever the map is moved or merged.
        parents: (L,) int32, the coarse landmark that each is a part of, 0 to C - 1.
    """

    keys: Array
    parents: Array

    def __post_init__(self) -> None:
        if self.keys.ndim != 1 or self.keys.shape != self.parents.shape:
            raise MapError(
                f"a map's landmarks have {self.keys.shape} keys, {self.parents.shape} parents; build it again"
            )
        if len(np.unique(self.keys)) != len(self.keys):
            raise MapError("two of a map's landmarks have the same key; build it again")
        if len(self.parents) and self.parents.min() < 0:
            raise MapError("a map's landmarks have negative parents; build it again")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def coarse_count(self) -> int:
        """Number of coarse landmarks."""
        return int(self.parents.max(initial=-1)) + 1

    @staticmethod
    def numbered(count: int) -> LandmarkTable:
        """Landmarks of one coarse one, with their numbers as keys: for what was never clustered."""
        return LandmarkTable(np.arange(count, dtype=np.int64), np.zeros(count, np.int32))


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """A map of one scene or of several.

    Attributes:
        name: for people.
        scenes: in the order of their points and keyframes, all of which they hold.
        points: (P, 3) float32 metres in the frame of their scene.
        landmark_ids: (P,) int32: the landmark that each point belongs to, 0 to L - 1.
        landmarks: the L landmarks; a compressed map keeps those that have no points left.
        codes: (P, d) uint8 compact descriptors, one per point.
        codec: turns descriptors into codes' space and back.
        keyframes: where the images were taken and what each saw.
        extractor: what found the keypoints; queries use the same.
        places: place indices by name (`vlad`, `student`).
        metric: True when lengths are metres; False when the scale is unknown.
        provenance: how it was built; readable, JSON only.
    """

    name: str
    scenes: tuple[Scene, ...]
    points: Array
    landmark_ids: Array
    landmarks: LandmarkTable
    codes: Array
    codec: DescriptorCodec
    keyframes: Keyframes
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    places: Mapping[str, RetrievalIndex] = field(default_factory=dict)
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
        if self.landmark_ids.min() < 0 or self.landmark_ids.max() >= len(self.landmarks):
            raise MapError(f"a map's points name landmarks beyond its {len(self.landmarks)}; build it again")
        if not np.isfinite(self.points).all():
            raise MapError("a map holds points that are not finite; build it again")
        indices = self.keyframes.point_indices
        if len(indices) and (indices.min() < 0 or indices.max() >= p):
            raise MapError("a map's keyframes name points that it does not hold; build it again")
        self._check_scenes()

    def _check_scenes(self) -> None:
        frame_ids = self.frame_ids
        if len(set(frame_ids)) != len(frame_ids):
            raise MapError(f"a map's scenes have the frames {', '.join(frame_ids)}, expected every frame once")
        for ranges, count in (
            ([scene.points for scene in self.scenes], len(self.points)),
            ([scene.keyframes for scene in self.scenes], len(self.keyframes)),
        ):
            ends = [0, *(r.stop for r in ranges)]
            if any(r != range(start, r.stop) or not len(r) for r, start in zip(ranges, ends, strict=False)):
                raise MapError("a map's scenes do not follow each other; build it again")
            if ends[-1] != count:
                raise MapError(f"a map's scenes hold {ends[-1]} of {count} points or keyframes; build it again")
        offsets, indices = self.keyframes.point_offsets, self.keyframes.point_indices
        for scene in self.scenes:
            seen = indices[offsets[scene.keyframes.start] : offsets[scene.keyframes.stop]]
            if len(seen) and (seen.min() < scene.points.start or seen.max() >= scene.points.stop):
                raise MapError(f"keyframes of the scene {scene.frame_id} saw points of another; build it again")

    @property
    def frame_ids(self) -> tuple[str, ...]:
        """The frame of every scene."""
        return tuple(scene.frame_id for scene in self.scenes)

    def scene(self, frame_id: str = "") -> Scene:
        """The scene of a frame; an empty one takes the only scene.

        Raises:
            InputError: the map has no such scene, or several.
        """
        if not frame_id and len(self.scenes) == 1:
            return self.scenes[0]
        for scene in self.scenes:
            if scene.frame_id == frame_id:
                return scene
        found = f"the frame is {frame_id!r}" if frame_id else f"the map has {len(self.scenes)} scenes"
        raise InputError(f"{found}, expected one scene named by its frame: {', '.join(self.frame_ids)}")

    def scene_of(self, points: Array) -> Scene:
        """The scene of (N,) points of one scene, N >= 1."""
        return self.scenes[int(self.scene_of_point[points[0]])]

    def with_calibration(self, calibration: CovarianceCalibration) -> LandmarkMap:
        """The same map of one scene with another calibration."""
        return replace(self, scenes=(replace(self.scene(), calibration=calibration),))

    def part(self, frame_id: str = "") -> LandmarkMap:
        """A map of one scene alone; an empty frame takes the only one.

        Raises:
            InputError: the map has no such scene, or several.
        """
        scene = self.scene(frame_id)
        if len(self.scenes) == 1:
            return self
        points = slice(scene.points.start, scene.points.stop)
        keyframes = slice(scene.keyframes.start, scene.keyframes.stop)
        mine, ids = np.unique(self.landmark_ids[points], return_inverse=True)
        parents = np.unique(self.landmarks.parents[mine], return_inverse=True)[1].astype(np.int32)
        return replace(
            self,
            scenes=number_consecutively([scene]),
            points=self.points[points],
            landmark_ids=ids.astype(np.int32),
            landmarks=LandmarkTable(self.landmarks.keys[mine], parents),
            codes=self.codes[points],
            keyframes=self.keyframes.part(keyframes, first_point=scene.points.start),
            places={name: replace(p, descriptors=p.descriptors[keyframes]) for name, p in self.places.items()},
        )

    @cached_property
    def scene_of_point(self) -> Array:
        """(P,) int32 index of the scene of every point."""
        return np.repeat(np.arange(len(self.scenes), dtype=np.int32), [len(scene.points) for scene in self.scenes])

    def seen_by(self, points: Array) -> Array:
        """(K,) int64 how many of (N,) points each keyframe saw; one that is named twice counts twice.

        Takes time by the points asked for, not by the size of the map.
        """
        offsets, keyframes = self._observers
        rows = expand_ranges(offsets[points], self.observations_of(points))
        return np.bincount(keyframes[rows], minlength=len(self.keyframes))

    def observations_of(self, points: Array) -> Array:
        """(N,) int64 how many keyframes saw each of (N,) points."""
        offsets, _ = self._observers
        return np.asarray(offsets[points + 1] - offsets[points])

    @cached_property
    def _observers(self) -> tuple[Array, Array]:
        """The keyframes that saw point p are `[1][[0][p]:[0][p + 1]]`, int32."""
        seen = self.keyframes.point_indices
        keyframe = np.repeat(np.arange(len(self.keyframes), dtype=np.int32), np.diff(self.keyframes.point_offsets))
        counts = np.bincount(seen, minlength=len(self.points))
        return np.concatenate([[0], np.cumsum(counts)]), keyframe[np.argsort(seen, kind="stable")]

    @cached_property
    def descriptors(self) -> Array:
        """(P, d) float32 descriptors, decoded from the codes: four times their memory, kept."""
        return self.codec.decode(self.codes)

    def descriptors_of(self, points: Array) -> Array:
        """(N, d) float32 descriptors of (N,) points."""
        return self.codec.decode(self.codes[points])
