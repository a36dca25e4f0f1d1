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

"""Images in, landmark map out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np

from vloc_ros.assembly import build_extractor
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import MIN_POINTS_SEEN, Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedImage, Progress, silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.alignment import check_image_extent
from vloc_ros.mapping.maps.frame import (
    choose_map_origin,
    distances_from_measurements,
    frame_uncertainty,
    relative_to_origin,
)
from vloc_ros.mapping.maps.structure_calibration import calibrate_structure
from vloc_ros.mapping.maps.structure_description import describe_structure
from vloc_ros.mapping.sfm.anchors import Anchors
from vloc_ros.mapping.sfm.colmap import triangulate
from vloc_ros.mapping.sfm.extracted_images import (
    ExtractedImage,
    extract_images,
    focal_lengths_px,
    make_keyframes,
    match_posed_images,
)
from vloc_ros.mapping.sfm.intrinsics_refinement import (
    RefinedCamera,
    follow_refinement,
    refine_placed_images,
    unchanged_matches,
)
from vloc_ros.mapping.sfm.measured_placement import place_by_measurements
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.sfm.placement import Placement, place_by_images
from vloc_ros.mapping.sfm.scale import (
    UNKNOWN_SCALE,
    GivenPoses,
    KnownDistance,
    MeasuredPositions,
    ScaleSource,
    UnknownScale,
    relative_to,
)
from vloc_ros.mapping.sfm.structure import Structure, refine_points
from vloc_ros.mapping.workers import THIS_PROCESS, Workers

_MIN_IMAGES = 3
# cameras that moved less triangulate nothing
_LEAST_DISTANCE_M = 0.05
# times that calibrations are refined at most
_REFINEMENTS = 5


def build_map(
    images: Sequence[PosedImage],
    *,
    name: str,
    config: MappingConfig,
    keypoint_model: KeypointModel | None = None,
    frame_id: str = "map",
    scale: ScaleSource | None = None,
    progress: Progress = silent,
    workers: Workers = THIS_PROCESS,
) -> LandmarkMap:
    """Build a map.

    Args:
        images: in the order they were taken.
        name: of the map, for people.
        config: parameters.
        keypoint_model: of an extractor that is a network; the map carries it.
        frame_id: ROS frame of the map.
        scale: None keeps the images' poses exactly and triangulates; otherwise poses come from structure from motion,
            and this is the source of their scale and frame. Given poses are then measurements, which the images
            correct.
        progress: shows the progress.
        workers: do what falls into parts: keypoints, matches, calibration; points and poses do not depend on them.

    Raises:
        ClusterError: workers cannot be used any more.
        InputError: an image cannot be used, or poses are missing where they are needed.
        MapError: the images share too little to make a map, or the extractor's model is missing.
        ModelError: the extractor's model cannot be used.
    """
    _check(images, scale)
    extractor = build_extractor(config.extractor, keypoint_model, inference=config.inference)
    return build_map_of_extracted(
        extract_images(images, extractor, progress, workers),
        name=name,
        config=config,
        extractor=extractor,
        keypoint_model=keypoint_model,
        frame_id=frame_id,
        scale=scale,
        progress=progress,
        workers=workers,
    )


def build_map_of_extracted(
    extracted: Sequence[ExtractedImage],
    *,
    name: str,
    config: MappingConfig,
    extractor: Extractor,
    keypoint_model: KeypointModel | None = None,
    frame_id: str = "map",
    scale: ScaleSource | None = None,
    progress: Progress = silent,
    workers: Workers = THIS_PROCESS,
) -> LandmarkMap:
    """Build a map of images whose keypoints are known, see `build_map`; the extractor is the one that found them."""
    images = [view.image for view in extracted]
    _check(images, scale)
    origin = choose_map_origin(images, scale)
    local = [replace(view, image=relative_to_origin(origin, view.image)) for view in extracted]
    placed, placement, refined = _place_and_refine(
        local, scale and relative_to(origin, scale), config, progress, workers
    )
    matches = _match(placed, placement, config, progress, workers)
    posed = any(image.map_from_camera is not None for image in images)
    structure = _triangulate(placed, matches, config, posed=posed)
    keyframes = make_keyframes(placed, structure)
    _check_placed(keyframes, len(images), config, posed=posed)
    bare = describe_structure(structure, placed, keyframes, keypoint_model, name=name, frame_id=frame_id, config=config)
    calibration, alike = calibrate_structure(bare, structure, placed, config, extractor, progress, workers)
    scene = replace(
        bare.scene(),
        calibration=calibration,
        origin=origin,
        self_similarity=alike,
        frame_uncertainty=frame_uncertainty(bare, placement, scale),
        frame_is_arbitrary=isinstance(scale, UnknownScale | KnownDistance),
    )
    return replace(
        bare,
        scenes=(scene,),
        metric=scale is not UNKNOWN_SCALE,
        provenance={
            **bare.provenance,
            **distances_from_measurements(placement, scale),
            **_left_out(images, placed),
            **_calibrations(refined),
        },
    )


def _check(images: Sequence[PosedImage], scale: ScaleSource | None) -> None:
    if len(images) < _MIN_IMAGES:
        raise InputError(f"{len(images)} images are too few for a map, expected at least {_MIN_IMAGES}")
    names = {image.name for image in images}
    if len(names) != len(images):
        raise InputError(f"{len(images)} images have {len(names)} different names, expected every name once")
    without = next((image.name for image in images if image.map_from_camera is None), None)
    if scale is None and without is not None:
        raise InputError(f"{without} has no pose; give poses for all images, or build from images alone")
    # positions and poses that do not drift have a frame each, of which nothing says that it is the same
    drifting = isinstance(scale, GivenPoses) and scale.drifting
    posed = any(image.map_from_camera is not None for image in images)
    if posed and not drifting and any(image.position is not None for image in images):
        raise InputError(
            "found poses that do not drift and positions, expected one of them to give the frame of the map; leave the "
            "positions out, or give the poses as odometry (--poses-drift)"
        )
    if scale is None or isinstance(scale, GivenPoses | MeasuredPositions):  # else the map has a frame of its own
        origin = choose_map_origin(images, scale)
        check_image_extent([relative_to_origin(origin, image) for image in images])


def _place_and_refine(
    images: Sequence[ExtractedImage],
    scale: ScaleSource | None,
    config: MappingConfig,
    progress: Progress,
    workers: Workers,
) -> tuple[Sequence[ExtractedImage], Placement, list[RefinedCamera]]:
    """The images that could be placed, and how their calibrations were refined, where that is wanted.

    Poses by a wrong calibration are wrong, and so is what is refined by them: both in turn, until nothing moves.
    """
    placed, placement = _place(images, scale, config, progress, workers)
    refined = list[RefinedCamera]()
    for _ in range(_REFINEMENTS if config.refine_calibration else 0):
        views, now = refine_placed_images(images, placement, config, progress, workers)
        known = unchanged_matches(placement.matches, images, views)
        refined, images = follow_refinement(refined, now), views
        placed, placement = _place(images, scale, config, progress, workers, known)
        if all(one.has_converged for one in now):
            break
    return placed, placement, refined


def _place(
    images: Sequence[ExtractedImage],
    scale: ScaleSource | None,
    config: MappingConfig,
    progress: Progress,
    workers: Workers,
    known: Mapping[Pair, Array] | None = None,
) -> tuple[Sequence[ExtractedImage], Placement]:
    """The images that could be placed, with the given or found poses; known are matches of before."""
    given = [view.image.map_from_camera for view in images]
    if scale is None:
        return images, Placement(given, known or {}, given, Anchors(), is_exact=True)
    if isinstance(scale, GivenPoses) and all(given):
        placement = place_by_measurements(images, scale, config, progress, workers, matched=known)
    else:
        placement = place_by_images(images, scale, config, progress, workers, matched=known)
    posed = [
        replace(view, image=replace(view.image, map_from_camera=pose))
        for view, pose in zip(images, placement.poses, strict=True)
        if pose is not None
    ]
    return posed, placement


def _match(
    placed: Sequence[ExtractedImage],
    placement: Placement,
    config: MappingConfig,
    progress: Progress,
    workers: Workers,
) -> dict[Pair, Array]:
    """Matches that are checked against the poses; those of before serve where all images are placed."""
    all_placed = len(placed) == len(placement.poses)
    known = placement.matches if all_placed else None
    return match_posed_images(placed, config, progress, matches=known, workers=workers)


def _triangulate(
    views: Sequence[ExtractedImage], matches: Mapping[Pair, Array], config: MappingConfig, *, posed: bool
) -> Structure:
    """The points that enough images observe."""
    centres = np.array([view.image.map_from_camera.translation for view in views if view.image.map_from_camera])
    why = _why_few_points(centres, posed=posed)
    if not matches:
        raise MapError(
            f"no two of the {len(views)} images share {config.min_pair_matches} matches that fit their poses: {why}"
        )
    built = triangulate([view.image for view in views], [view.features for view in views], matches)
    structure = built.with_tracks_of_at_least(config.min_track_length)
    if not len(structure.points):
        raise MapError(f"no point is seen by {config.min_track_length} images: {why}")
    return refine_points(structure, [view.rays for view in views], focal_lengths_px(views))


def _check_placed(keyframes: Keyframes, images: int, config: MappingConfig, *, posed: bool) -> None:
    """Raise where too few of so many images see enough of the map to be localized in it."""
    seeing = int((~keyframes.see_few_points).sum())
    least = max(ceil(config.min_placed_share * images), 1)
    if seeing < least:
        why = _why_few_points(keyframes.translations, posed=posed)
        raise MapError(
            f"{seeing} of {images} images see at least {MIN_POINTS_SEEN} points of the map, expected of at least "
            f"{least}: {why}; a smaller min_placed_share accepts fewer"
        )


def _why_few_points(centres: Array, *, posed: bool) -> str:
    if not posed:
        return "take the images closer together, and with less blur"
    distance_m = float(np.linalg.norm(np.ptp(centres, axis=0)))
    if distance_m < _LEAST_DISTANCE_M:
        return f"the camera moved by {1000 * distance_m:.0f} mm in all; points need to be seen from several places"
    return (
        "take the images closer together, or check that the poses are map_from_camera of optical frames and belong to "
        "these images"
    )


def _left_out(images: Sequence[PosedImage], placed: Sequence[ExtractedImage]) -> dict[str, Any]:
    names = {view.image.name for view in placed}
    left_out = [image.name for image in images if image.name not in names]
    return {"images_left_out": left_out} if left_out else {}


def _calibrations(refined: Sequence[RefinedCamera]) -> dict[str, Any]:
    described = [
        {
            "model": one.after.model,
            "given": list(one.before.parameters),
            "refined": list(one.after.parameters),
            "focal_std_px": round(one.focal_std_px, 3),
            "centre_std_px": round(one.centre_std_px, 3),
            "largest_shift_px": round(one.largest_shift_px, 2),
            "last_shift_px": round(one.last_shift_px, 2),
            "converged": one.has_converged,
        }
        for one in refined
    ]
    return {"refined_calibrations": described} if described else {}
