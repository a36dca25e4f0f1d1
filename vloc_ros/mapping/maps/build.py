"""Images in, landmark map out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np

from vloc_ros.assembly import build_extractor
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics, measure_descriptor_statistics
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.keyframes import MIN_POINTS_SEEN, Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.scene import Scene, SelfSimilarity
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary
from vloc_ros.core.sources import PosedImage, Progress, silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.landmarks.definition import define_landmarks
from vloc_ros.mapping.maps.alignment import check_image_extent, choose_origin
from vloc_ros.mapping.maps.calibration import calibrate
from vloc_ros.mapping.sfm.anchors import Anchors, position_distances, position_frame_variances
from vloc_ros.mapping.sfm.colmap import triangulate
from vloc_ros.mapping.sfm.extracted_images import (
    ExtractedImage,
    extract_images,
    make_keyframes,
    match_posed_images,
)
from vloc_ros.mapping.sfm.measured_placement import place_by_measurements
from vloc_ros.mapping.sfm.measurements import frame_variances
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.sfm.placement import Placement, place_by_images
from vloc_ros.mapping.sfm.scale import UNKNOWN_SCALE, GivenPoses, MeasuredPositions, ScaleSource, relative_to
from vloc_ros.mapping.sfm.structure import Structure, mean_descriptors, refine_points

_MIN_IMAGES = 3
# cameras that moved less triangulate nothing
_LEAST_DISTANCE_M = 0.05


def build_map(
    images: Sequence[PosedImage],
    *,
    name: str,
    config: MappingConfig,
    keypoint_model: KeypointModel | None = None,
    frame_id: str = "map",
    scale: ScaleSource | None = None,
    progress: Progress = silent,
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

    Raises:
        InputError: an image cannot be used, or poses are missing where they are needed.
        MapError: the images share too little to make a map, or the extractor's model is missing.
        ModelError: the extractor's model cannot be used.
    """
    _check(images, posed=scale is None)
    _check_one_frame(images, scale)
    extractor = build_extractor(config.extractor, keypoint_model, inference=config.inference)
    origin = _choose_origin(images, scale)
    local = [_relative_to(origin, image) for image in images]
    check_image_extent(local)
    extracted = extract_images(local, extractor, progress)
    placed, placement = _place(extracted, scale and relative_to(origin, scale), config, progress)
    matches = _match(placed, placement, config, progress)
    posed = any(image.map_from_camera is not None for image in images)
    structure = _triangulate(placed, matches, config, posed=posed)
    keyframes = make_keyframes(placed, structure)
    _check_placed(keyframes, len(images), config, posed=posed)
    bare = _describe(structure, placed, keyframes, keypoint_model, name=name, frame_id=frame_id, config=config)
    calibration, alike = _calibrate(bare, structure, placed, config, extractor, progress)
    calibration = replace(calibration, floor=calibration.floor + _frame_variances(bare, placement, scale))
    scene = replace(bare.scene(), calibration=calibration, origin=origin, self_similarity=alike)
    return replace(
        bare,
        scenes=(scene,),
        metric=scale is not UNKNOWN_SCALE,
        provenance={**bare.provenance, **_corrections(placed, placement, scale), **_left_out(images, placed)},
    )


def _choose_origin(images: Sequence[PosedImage], scale: ScaleSource | None) -> Array:
    """(3,) origin around the images' positions in the frame of the map; zero where that is not known before."""
    if isinstance(scale, MeasuredPositions) or _odometry_is_moved(images, scale):
        return choose_origin([image.position.position for image in images if image.position is not None])
    if scale is None or isinstance(scale, GivenPoses):
        return choose_origin([i.map_from_camera.translation for i in images if i.map_from_camera is not None])
    return np.zeros(3)


def _odometry_is_moved(images: Sequence[PosedImage], scale: ScaleSource | None) -> bool:
    """Whether positions give the frame, and odometry has one of its own."""
    drifting = isinstance(scale, GivenPoses) and scale.drifting
    return drifting and any(image.position is not None for image in images)


def _relative_to(origin: Array, image: PosedImage) -> PosedImage:
    """The image with its pose and position relative to the origin; odometry's pose too, whose frame is its own."""
    if not origin.any():
        return image
    pose, position = image.map_from_camera, image.position
    return replace(
        image,
        map_from_camera=pose and Pose(pose.rotation, pose.translation - origin),
        position=position and replace(position, position=position.position - origin),
    )


def _check(images: Sequence[PosedImage], *, posed: bool) -> None:
    if len(images) < _MIN_IMAGES:
        raise InputError(f"{len(images)} images are too few for a map, expected at least {_MIN_IMAGES}")
    names = {image.name for image in images}
    if len(names) != len(images):
        raise InputError(f"{len(images)} images have {len(names)} different names, expected every name once")
    without = next((image.name for image in images if image.map_from_camera is None), None)
    if posed and without is not None:
        raise InputError(f"{without} has no pose; give poses for all images, or build from images alone")


def _check_one_frame(images: Sequence[PosedImage], scale: ScaleSource | None) -> None:
    """Positions and poses that do not drift have a frame each, of which nothing says that it is the same."""
    drifting = isinstance(scale, GivenPoses) and scale.drifting
    posed = any(image.map_from_camera is not None for image in images)
    if posed and not drifting and any(image.position is not None for image in images):
        raise InputError(
            "found poses that do not drift and positions, expected one of them to give the frame of the map; leave the "
            "positions out, or give the poses as odometry (--poses-drift)"
        )


def _place(
    images: Sequence[ExtractedImage], scale: ScaleSource | None, config: MappingConfig, progress: Progress
) -> tuple[Sequence[ExtractedImage], Placement]:
    """The images that could be placed, with the given or found poses."""
    given = [view.image.map_from_camera for view in images]
    if scale is None:
        return images, Placement(given, {}, given, Anchors())
    if isinstance(scale, GivenPoses) and all(given):
        placement = place_by_measurements(images, scale, config, progress)
    else:
        placement = place_by_images(images, scale, config, progress)
    posed = [
        replace(view, image=replace(view.image, map_from_camera=pose))
        for view, pose in zip(images, placement.poses, strict=True)
        if pose is not None
    ]
    return posed, placement


def _match(
    placed: Sequence[ExtractedImage], placement: Placement, config: MappingConfig, progress: Progress
) -> dict[Pair, Array]:
    """Matches that are checked against the poses; those of before serve where all images are placed."""
    all_placed = len(placed) == len(placement.poses)
    return match_posed_images(placed, config, progress, matches=placement.matches if all_placed else None)


def _frame_variances(landmark_map: LandmarkMap, placement: Placement, scale: ScaleSource | None) -> Array:
    """(6,) variances of how the map lies in the frame of what was measured, by the images that see enough of it."""
    if scale is None:
        return np.zeros(6)
    seeing = ~landmark_map.keyframes.see_few_points
    if isinstance(scale, GivenPoses) and not scale.drifting:
        return frame_variances(*placement.measured_and_placed(seeing))
    if not placement.anchors.positions:
        return np.zeros(6)
    return position_frame_variances(placement.poses, placement.anchors)


def _corrections(placed: Sequence[ExtractedImage], placement: Placement, scale: ScaleSource | None) -> dict[str, float]:
    """Distances of the placed cameras from what was measured, and the offset of its clock."""
    found = dict[str, float]()
    if scale is None:
        return found
    if isinstance(scale, GivenPoses):
        both = zip(*placement.measured_and_placed([True] * len(placed)), strict=True)
        apart_m = [before.distance_to(after)[0] for before, after in both]
        what = "drift_of_odometry" if scale.drifting else "distance_from_given_poses"
        found.update(_median_and_largest(what, apart_m))
    if placement.anchors.positions:
        off_m = position_distances(placement.poses, placement.anchors)
        found.update(_median_and_largest("distance_from_positions", off_m))
    if placement.time_offset_s:
        found["time_offset_s"] = round(placement.time_offset_s, 4)
    return found


def _median_and_largest(what: str, lengths_m: Sequence[float] | Array) -> dict[str, float]:
    return {
        f"median_{what}_m": round(float(np.median(lengths_m)), 4),
        f"largest_{what}_m": round(float(np.max(lengths_m)), 4),
    }


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
    return refine_points(structure, [view.rays for view in views], _focal_lengths(views))


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


def _focal_lengths(images: Sequence[ExtractedImage]) -> Array:
    return np.array([image.image.camera.intrinsics[0] for image in images])


def _describe(
    structure: Structure,
    images: Sequence[ExtractedImage],
    keyframes: Keyframes,
    keypoint_model: KeypointModel | None,
    *,
    name: str,
    frame_id: str,
    config: MappingConfig,
) -> LandmarkMap:
    """The map of a structure and its keyframes: describe the points, group them into landmarks, index the keyframes."""
    descriptors = mean_descriptors(structure, [image.features.descriptors for image in images])
    codec = DescriptorCodec.fit(descriptors, config.descriptor_dimension)
    codes = codec.encode(descriptors)
    landmark_ids, landmarks = define_landmarks(structure.points, keyframes, config)
    recorded = config.extractor.recorded_statistics
    return LandmarkMap(
        name=name,
        scenes=(Scene(frame_id, range(len(structure.points)), range(len(images))),),
        points=structure.points.astype(np.float32),
        landmark_ids=landmark_ids,
        landmarks=landmarks,
        codes=codes,
        codec=codec,
        keyframes=keyframes,
        extractor=config.extractor,
        descriptor_statistics=recorded or _measure_statistics(structure, images, codec, codec.decode(codes)),
        retrieval={VLAD: _vlad_index(images, codec, config)},
        provenance=_provenance(structure),
        keypoint_model=keypoint_model,
    )


def _measure_statistics(
    structure: Structure, images: Sequence[ExtractedImage], codec: DescriptorCodec, descriptors: Array
) -> DescriptorStatistics:
    observed, points = [], []
    for number, image in enumerate(images):
        mine = structure.track_images == number
        observed.append(codec.project(image.features.descriptors[structure.track_keypoints[mine]]))
        points.append(structure.track_points[mine])
    return measure_descriptor_statistics(observed, points, descriptors)


def _calibrate(
    landmark_map: LandmarkMap,
    structure: Structure,
    images: Sequence[ExtractedImage],
    config: MappingConfig,
    extractor: Extractor,
    progress: Progress,
) -> tuple[CovarianceCalibration, SelfSimilarity]:
    """What segments of the trajectory tell that the map leaves out in turn."""
    return calibrate(
        [image.image for image in images],
        [image.features for image in images],
        gap_m=config.calibration_gap_m,
        extractor=extractor,
        map_without=lambda left_out: _map_without(left_out, landmark_map, structure, images, config),
        covisible_with=structure.covisible_with,
        progress=progress,
    )


def _map_without(
    left_out: Array,
    landmark_map: LandmarkMap,
    structure: Structure,
    images: Sequence[ExtractedImage],
    config: MappingConfig,
) -> LandmarkMap:
    """The map as if these images had not been taken: their observations move no point and describe none."""
    rest = structure.without_images(left_out).with_tracks_of_at_least(config.min_track_length)
    if not len(rest.points):
        raise MapError("no point is left")
    rest = refine_points(rest, [image.rays for image in images], _focal_lengths(images))
    descriptors = mean_descriptors(rest, [image.features.descriptors for image in images])
    return replace(
        landmark_map,
        scenes=(replace(landmark_map.scene(), points=range(len(rest.points))),),
        points=rest.points.astype(np.float32),
        landmark_ids=np.zeros(len(rest.points), np.int32),
        codes=landmark_map.codec.encode(descriptors),
        keyframes=make_keyframes(images, rest),
    )


def _vlad_index(images: Sequence[ExtractedImage], codec: DescriptorCodec, config: MappingConfig) -> RetrievalIndex:
    projected = [codec.project(image.features.descriptors) for image in images]
    vocabulary = Vocabulary.fit(np.concatenate(projected), config.vocabulary_words)
    rows = np.stack([vocabulary.encode(descriptors) for descriptors in projected])
    return vocabulary.index(rows)


def _left_out(images: Sequence[PosedImage], placed: Sequence[ExtractedImage]) -> dict[str, Any]:
    names = {view.image.name for view in placed}
    left_out = [image.name for image in images if image.name not in names]
    return {"images_left_out": left_out} if left_out else {}


def _provenance(structure: Structure) -> dict[str, Any]:
    return {
        "images": len(structure.poses),
        "mean_reprojection_error_px": round(structure.mean_reprojection_error_px, 4),
        "mean_track_length": round(len(structure.track_points) / len(structure.points), 3),
    }
