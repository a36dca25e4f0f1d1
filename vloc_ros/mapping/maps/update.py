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

"""Updating a map by another visit: what it holds stays as it is, and what is new is appended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vloc_ros.assembly import build_localizer, build_map_extractor
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_statistics import DescriptorLimit
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.encoders import GlobalDescriptorEncoder
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary
from vloc_ros.core.sources import PosedImage, Progress, silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.indexing.global_descriptors import encode_rows, require_index_of_encoder
from vloc_ros.mapping.indexing.vlad_index import ensure_searchable
from vloc_ros.mapping.landmarks.definition import viewing_distances
from vloc_ros.mapping.landmarks.growth import grow_landmarks
from vloc_ros.mapping.maps.alignment import check_image_extent
from vloc_ros.mapping.maps.duplicate_points import NEAR_RAD, DescribedPoints, find_duplicate_points
from vloc_ros.mapping.maps.guided_matching import match_by_pose
from vloc_ros.mapping.maps.image_registration import RegisteredImages, drop_repeated_images, register_images
from vloc_ros.mapping.maps.map_growth import MapAddition, append_to_scene
from vloc_ros.mapping.sfm.colmap import triangulate
from vloc_ros.mapping.sfm.extracted_images import (
    ExtractedImage,
    extract_images,
    make_keyframes,
    match_posed_images,
)
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.sfm.structure import Structure, mean_descriptors


@dataclass(frozen=True, slots=True, eq=False)
class MapUpdate:
    """A map that was updated by a visit.

    Attributes:
        landmark_map: the map.
        images: number of images of the visit.
        localized: number of them that the map itself localized.
        left_out: reason for each image that was left out, by name.
        repeated: number of those that were in the map already.
        new_points: number of points added to the map.
    """

    landmark_map: LandmarkMap
    images: int
    localized: int
    left_out: Mapping[str, str]
    repeated: int
    new_points: int


def update_map(
    landmark_map: LandmarkMap,
    images: Sequence[PosedImage],
    *,
    config: MappingConfig,
    encoder: GlobalDescriptorEncoder | None = None,
    frame_id: str = "",
    progress: Progress = silent,
) -> MapUpdate:
    """Add a visit to a scene of a map; nothing that the map holds is moved, described or numbered anew.

    Images without a pose are localized in the map first, and those that the map holds already are left out. The points
    that images show are recorded as observed by them; from the rest of their keypoints points are triangulated, among
    these images only, since a map keeps no keypoints. The covariance's calibration stays that of the map before.

    Args:
        landmark_map: the map.
        images: of the visit, in the order they were taken; poses map_from_camera in the scene's frame, or None.
        config: parameters, as the map was built with.
        encoder: of a retrieval index of the map, which gets rows for the new keyframes; other indices of models keep
            their rows, and the new keyframes have none.
        frame_id: the scene; empty for the only one.
        progress: shows the progress.

    Raises:
        InputError: images cannot be used, are of another place, are all in the map already, or have poses that
            contradict it.
        MapError: an encoder is given, and the map has no retrieval index of a model.
        ModelError: another encoder made the map's retrieval index, or the map's keypoint model cannot be used.
    """
    _check(images)
    if encoder is not None:
        require_index_of_encoder(landmark_map, encoder)  # before the work
    scene_map = ensure_searchable(landmark_map.part(frame_id), config)
    extractor = build_map_extractor(landmark_map, inference=config.inference)
    extracted = extract_images(_in_scene(scene_map, images), extractor, progress)
    localizer = build_localizer(LocalizerConfig(), scene_map, extractor=extractor)
    registered = register_images(scene_map, extracted, localizer, progress)
    shown = [
        match_by_pose(scene_map, image.features, image.image.camera, _pose(image))
        for image in progress(registered.images, description="known points")
    ]
    new, shown = drop_repeated_images(registered, shown, scene_map)
    structure = _remaining_structure(new.images, shown, config, progress)
    addition = _addition(landmark_map, scene_map, new.images, shown, structure, config, encoder)
    grown = append_to_scene(landmark_map, scene_map.scene().frame_id, addition)
    new_points = len(addition.points)
    provenance = _provenance(landmark_map, scene_map.scene().frame_id, new, new_points)
    whole = ensure_searchable(replace(grown, provenance=provenance), config)
    repeated = len(registered.images) - len(new.images)
    return MapUpdate(whole, len(images), new.localized, new.left_out, repeated, new_points)


def _in_scene(scene_map: LandmarkMap, images: Sequence[PosedImage]) -> list[PosedImage]:
    """The images with poses relative to the origin of a map of one scene."""
    only = scene_map.scene()
    in_scene = [
        image if (pose := image.map_from_camera) is None else replace(image, map_from_camera=only.scene_from(pose))
        for image in images
    ]
    check_image_extent(in_scene)
    return in_scene


def _pose(image: ExtractedImage) -> Pose:
    assert image.image.map_from_camera is not None
    return image.image.map_from_camera


def _check(images: Sequence[PosedImage]) -> None:
    if not images:
        raise InputError("a visit has no images, expected at least one")
    if len({image.name for image in images}) != len(images):
        raise InputError("two images of a visit have the same name, expected every name once")


def _remaining_structure(
    images: Sequence[ExtractedImage], shown: Sequence[Array], config: MappingConfig, progress: Progress
) -> Structure:
    """Points of keypoints that show nothing of the map; none where images share too little else."""
    matches: dict[Pair, Array] = {}
    if len(images) >= config.min_track_length:
        for (i, j), found in match_posed_images(images, config, progress).items():
            unknown = (shown[i][found[:, 0]] < 0) & (shown[j][found[:, 1]] < 0)
            if unknown.any():
                matches[i, j] = found[unknown]
    if matches:
        built = triangulate([image.image for image in images], [image.features for image in images], matches)
        return built.with_tracks_of_at_least(config.min_track_length)
    none, poses = np.zeros(0, np.int64), tuple(image.image.map_from_camera for image in images)
    return Structure(np.zeros((0, 3)), none, none, none, poses, 0.0)


def _addition(
    landmark_map: LandmarkMap,
    scene_map: LandmarkMap,
    images: Sequence[ExtractedImage],
    shown: Sequence[Array],
    structure: Structure,
    config: MappingConfig,
    encoder: GlobalDescriptorEncoder | None,
) -> MapAddition:
    """What the visit adds; a triangulated point that duplicates an old one is recorded as that."""
    described = mean_descriptors(structure, [image.features.descriptors for image in images])
    projected = scene_map.codec.project(described)
    seen = make_keyframes(images, structure)
    distances = viewing_distances(structure.points, seen)
    duplicate = find_duplicate_points(
        DescribedPoints(structure.points, projected.__getitem__),
        DescribedPoints(scene_map.points, scene_map.descriptors_of),
        radius_m=NEAR_RAD * distances,
        max_distance=scene_map.descriptor_limit(DescriptorLimit.STRICT),
    )
    new = duplicate < 0
    number = np.where(new, len(scene_map.points) + np.cumsum(new) - 1, duplicate)
    landmark_ids, landmarks = grow_landmarks(
        landmark_map, scene_map.scene().frame_id, structure.points[new], distances[new], config
    )
    return MapAddition(
        points=structure.points[new],
        codes=scene_map.codec.encode(described[new]),
        landmark_ids=landmark_ids,
        landmarks=landmarks,
        keyframes=_keyframes(seen, number, shown, prefix=_prefix(landmark_map, scene_map)),
        rows=_rows(landmark_map, images, encoder),
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


def _prefix(landmark_map: LandmarkMap, scene_map: LandmarkMap) -> str:
    """Of the names of a visit's keyframes, since two visits may well have a 0001.png: visit2/, below its scene."""
    number = 2
    within = f"{scene_map.scene().frame_id}/" if len(landmark_map.scenes) > 1 else ""
    while any(name.startswith(f"{within}visit{number}/") for name in landmark_map.keyframes.names):
        number += 1
    return f"{within}visit{number}/"


def _rows(
    landmark_map: LandmarkMap, images: Sequence[ExtractedImage], encoder: GlobalDescriptorEncoder | None
) -> dict[str, RetrievalIndex]:
    """Rows of the visit's images for the map's VLAD index, and for that of an encoder."""
    rows = {} if encoder is None else encode_rows(landmark_map, [image.image for image in images], encoder)
    if VLAD in landmark_map.retrieval:
        vocabulary = Vocabulary.from_arrays(landmark_map.retrieval[VLAD].encoder_arrays)
        described = (landmark_map.codec.project(image.features.descriptors) for image in images)
        rows[VLAD] = vocabulary.index(np.stack([vocabulary.encode(descriptors) for descriptors in described]))
    return rows


def _provenance(
    landmark_map: LandmarkMap, frame_id: str, registered: RegisteredImages, new_points: int
) -> dict[str, Any]:
    update = {
        "scene": frame_id,
        "images": len(registered.images),
        "left_out": len(registered.left_out),
        "localized": registered.localized,
        "new_points": new_points,
        "calibration": "of before this update",
    }
    updates = [*landmark_map.provenance.get("updates", []), update]
    return {**landmark_map.provenance, "updates": updates}
