"""A map that takes in another visit: what it held stays as it was, and what is new is added behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.map.landmark_map import Keyframes, LandmarkMap, RetrievalIndex
from vloc_ros.core.retrieval.vlad import Vocabulary
from vloc_ros.core.sources import PosedImage, Progress, silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.indexing.global_descriptors import drop_model_indices
from vloc_ros.mapping.indexing.vlad_index import ensure_searchable
from vloc_ros.mapping.landmarks.definition import viewing_distances
from vloc_ros.mapping.landmarks.growth import grow_landmarks
from vloc_ros.mapping.maps.duplicate_points import NEAR_RAD, DescribedPoints, find_duplicate_points
from vloc_ros.mapping.maps.image_registration import (
    RegisteredImages,
    drop_repeated_images,
    observed_points,
    register_images,
)
from vloc_ros.mapping.maps.map_growth import MapAddition, append_to_scene
from vloc_ros.mapping.sfm.colmap import triangulate
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage, extract_images, make_keyframes, match_posed_images
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.sfm.structure import Structure, mean_descriptors


@dataclass(frozen=True, slots=True, eq=False)
class MapUpdate:
    """A map that took in a visit.

    Attributes:
        landmark_map: the map.
        images: how many there were,
        recognised: how many of them the map could place by itself,
        left_out: and why some were left out, by name,
        repeated: among them so many that were in the map already.
        new_points: added to the map.
    """

    landmark_map: LandmarkMap
    images: int
    recognised: int
    left_out: Mapping[str, str]
    repeated: int
    new_points: int


def update_map(
    landmark_map: LandmarkMap,
    images: Sequence[PosedImage],
    *,
    config: MappingConfig,
    extractor: Extractor,
    localizer_factory: Callable[[LandmarkMap], Localizer],
    frame_id: str = "",
    progress: Progress = silent,
) -> MapUpdate:
    """Add a visit to a scene of a map; nothing that the map held is moved, described or numbered anew.

    Images without a pose are localized in the map first, and those that the map holds already are left out. What
    images show of the map is listed with them; from the rest of their keypoints points are triangulated, among these
    images only, since a map keeps no keypoints. The covariance's calibration stays that of the map before, and the
    index of a learned encoder is dropped.

    Args:
        landmark_map: the map.
        images: of the visit, in the order they were taken; poses map_from_camera in the scene's frame, or None.
        config: parameters, as the map was built with.
        extractor: the map's.
        localizer_factory: asks a map.
        frame_id: the scene; empty for the only one.
        progress: shows how far it has come.

    Raises:
        InputError: images cannot be used, are of another place, are all in the map already, or have poses that
            contradict it.
    """
    _check(images)
    landmark_map = drop_model_indices(landmark_map)
    scene = ensure_searchable(landmark_map.part(frame_id), config)
    views = extract_images(images, extractor, progress)
    placed = register_images(scene, views, localizer_factory(scene), progress)
    shown = [observed_points(view, scene) for view in progress(placed.views, description="known points")]
    placement, shown = drop_repeated_images(placed, shown, scene)
    whole, new_points = _extended(landmark_map, scene, placement, shown, config, progress)
    repeated = len(placed.views) - len(placement.views)
    return MapUpdate(whole, len(images), placement.recognised, placement.left_out, repeated, new_points)


def _extended(
    landmark_map: LandmarkMap,
    scene: LandmarkMap,
    placement: RegisteredImages,
    shown: Sequence[Array],
    config: MappingConfig,
    progress: Progress,
) -> tuple[LandmarkMap, int]:
    """The map with what placed images show, and how many points they add."""
    structure = _remaining_structure(placement.views, shown, config, progress)
    addition = _addition(landmark_map, scene, placement.views, shown, structure, config)
    new_points = len(addition.points)
    whole = append_to_scene(landmark_map, scene.scene().frame_id, addition)
    provenance = _provenance(landmark_map, scene.scene().frame_id, placement, new_points)
    return ensure_searchable(replace(whole, provenance=provenance), config), new_points


def _check(images: Sequence[PosedImage]) -> None:
    if not images:
        raise InputError("a visit has no images, expected at least one")
    if len({image.name for image in images}) != len(images):
        raise InputError("two images of a visit have the same name, expected every name once")


def _remaining_structure(
    views: Sequence[ExtractedImage], shown: Sequence[Array], config: MappingConfig, progress: Progress
) -> Structure:
    """Points of keypoints that show nothing of the map; none where images share too little else."""
    matches: dict[Pair, Array] = {}
    if len(views) >= config.min_track_length:
        for (i, j), found in match_posed_images(views, config, progress).items():
            unknown = (shown[i][found[:, 0]] < 0) & (shown[j][found[:, 1]] < 0)
            if unknown.any():
                matches[i, j] = found[unknown]
    if matches:
        built = triangulate([view.image for view in views], [view.features for view in views], matches)
        return built.with_tracks_of_at_least(config.min_track_length)
    none, poses = np.zeros(0, np.int64), tuple(view.image.map_from_camera for view in views)
    return Structure(np.zeros((0, 3)), none, none, none, poses, 0.0)


def _addition(
    landmark_map: LandmarkMap,
    scene: LandmarkMap,
    views: Sequence[ExtractedImage],
    shown: Sequence[Array],
    structure: Structure,
    config: MappingConfig,
) -> MapAddition:
    """What the visit adds; a triangulated point that is an old one once more is taken for that."""
    described = mean_descriptors(structure, [view.features.descriptors for view in views])
    projected = scene.codec.project(described)
    seen = make_keyframes(views, structure)
    distances = viewing_distances(structure.points, seen)
    twin = find_duplicate_points(
        DescribedPoints(structure.points, projected.__getitem__),
        DescribedPoints(scene.points, scene.descriptors_of),
        NEAR_RAD * distances,
    )
    new = twin < 0
    number = np.where(new, len(scene.points) + np.cumsum(new) - 1, twin)
    landmark_ids, landmarks = grow_landmarks(
        landmark_map, scene.scene().frame_id, structure.points[new], distances[new], config
    )
    return MapAddition(
        points=structure.points[new],
        codes=scene.codec.encode(described[new]),
        landmark_ids=landmark_ids,
        landmarks=landmarks,
        keyframes=_keyframes(seen, number, shown, prefix=_prefix(landmark_map, scene)),
        places={name: _encoded(name, index, scene, views) for name, index in landmark_map.places.items()},
    )


def _keyframes(seen: Keyframes, number: Array, shown: Sequence[Array], *, prefix: str) -> Keyframes:
    """The visit's keyframes with the old points that they show and the triangulated ones, in the scene's numbers."""
    visible = [np.unique(np.concatenate([old[old >= 0], number[seen.visible(k)]])) for k, old in enumerate(shown)]
    return replace(
        seen,
        names=tuple(prefix + name for name in seen.names),
        point_offsets=np.cumsum([0, *map(len, visible)]).astype(np.int64),
        point_indices=np.concatenate(visible).astype(np.int32),
    )


def _prefix(landmark_map: LandmarkMap, scene: LandmarkMap) -> str:
    """Of the names of a visit's keyframes, since two visits may well have a 0001.png: visit2/, below its scene."""
    number = 2
    within = f"{scene.scene().frame_id}/" if len(landmark_map.scenes) > 1 else ""
    while any(name.startswith(f"{within}visit{number}/") for name in landmark_map.keyframes.names):
        number += 1
    return f"{within}visit{number}/"


def _encoded(name: str, index: RetrievalIndex, scene: LandmarkMap, views: Sequence[ExtractedImage]) -> Array:
    """(V, D) float32 place descriptors by the map's own encoder."""
    if name != "vlad":
        raise MapError(f"the map has a place index {name!r}, which cannot be extended; this version knows vlad")
    vocabulary = Vocabulary.from_arrays(index.encoder_arrays)
    return np.stack([vocabulary.encode(scene.codec.project(view.features.descriptors)) for view in views])


def _provenance(
    landmark_map: LandmarkMap, frame_id: str, placement: RegisteredImages, new_points: int
) -> dict[str, Any]:
    update = {
        "scene": frame_id,
        "images": len(placement.views),
        "left_out": len(placement.left_out),
        "recognised": placement.recognised,
        "new_points": new_points,
        "calibration": "of before this update",
    }
    updates = [*landmark_map.provenance.get("updates", []), update]
    return {**landmark_map.provenance, "updates": updates}
