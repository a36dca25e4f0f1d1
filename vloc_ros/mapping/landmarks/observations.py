"""What keypoints of images with known poses are taken for, beside the landmarks that they really show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.landmark_candidates import LandmarkRecognizer, landmark_numbers
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.maps.shown_points import NONE, points_shown

# (N,) landmark that each of an image's N keypoints is taken for, -1 for none
LandmarkNamer = Callable[[Features, Camera], Array]


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkObservations:
    """Keypoints that show a landmark, of images with known poses.

    Attributes:
        images: (N,) int64 number of the image of each.
        shown: (N,) int64 landmark that it really shows.
        named: (N,) int64 landmark that it was taken for, -1 for none.
    """

    images: Array
    shown: Array
    named: Array

    def __len__(self) -> int:
        return len(self.shown)


@dataclass(frozen=True, slots=True, eq=False)
class PosedFeatures:
    """An image with known pose, of which only the keypoints are looked at."""

    features: Features
    camera: Camera
    map_from_camera: Pose


def observe_landmarks(
    landmark_map: LandmarkMap,
    images: Iterable[PosedFeatures],
    namer: LandmarkNamer,
    *,
    frame_id: str = "",
    keypoints: int,
) -> LandmarkObservations:
    """What the strongest keypoints of images show, and what they are taken for.

    Args:
        landmark_map: the map.
        images: of one of its scenes.
        namer: `voted` or `recognized`.
        frame_id: the scene; empty where there is one.
        keypoints: of each image.

    Raises:
        InputError: no image shows anything of the map.
    """
    scene = landmark_map.scene(frame_id).points
    points, found = np.arange(scene.start, scene.stop), []
    for number, image in enumerate(images):
        strongest = image.features.strongest(keypoints)
        seen = points_shown(
            strongest.xy,
            strongest.descriptors,
            landmark_map=landmark_map,
            points=points,
            camera=image.camera,
            map_from_camera=image.map_from_camera,
        )
        known = np.flatnonzero(seen != NONE)
        if len(known):
            named = namer(strongest, image.camera)[known]
            found.append((np.full(len(known), number), landmark_map.landmark_ids[seen[known]], named))
    if not found:
        raise InputError("no keypoint shows a point of the map; expected poses map_from_camera in the map's frame")
    return LandmarkObservations(*(np.concatenate(part).astype(np.int64) for part in zip(*found, strict=True)))


def name_by_voting(landmark_map: LandmarkMap, matcher: NearestNeighbourMatcher) -> LandmarkNamer:
    """A keypoint is taken for the landmark of the map's point that looks most like it."""

    def name(features: Features, _: Camera) -> Array:
        nearest = matcher.neighbours((features,), Candidate("")).point_indices[:, 0]
        return np.where(nearest >= 0, landmark_map.landmark_ids[nearest], NONE).astype(np.int64)

    return name


def name_by_recognizer(landmark_map: LandmarkMap, recognizer: LandmarkRecognizer) -> LandmarkNamer:
    """A keypoint is taken for what a trained model says.

    Raises:
        ModelError: the recogniser was trained on landmarks that the map does not hold.
    """
    numbers = landmark_numbers(landmark_map, recognizer.landmark_keys)

    def name(features: Features, camera: Camera) -> Array:
        named = np.full(len(features), NONE, np.int64)
        asked = min(len(features), recognizer.max_keypoints)
        if not asked:
            return named
        strongest = features.strongest(asked)
        rays = camera.unproject(strongest.xy)[:, :2].astype(np.float32)
        shown = recognizer.recognize(rays, strongest.descriptors)
        best = numbers[shown.landmarks[shown.probabilities.argmax(axis=1)]]
        named[:asked] = np.where(shown.background > 0.5, NONE, best)
        return named

    return name
