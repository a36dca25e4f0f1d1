"""Images in, landmark map out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.map.landmark_map import CovarianceCalibration, LandmarkMap, RetrievalIndex, Scene
from vloc_ros.core.retrieval.vlad import Vocabulary
from vloc_ros.core.sources import PosedImage, Progress, silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.landmarks.definition import define_landmarks
from vloc_ros.mapping.maps.calibration import calibrate
from vloc_ros.mapping.sfm.colmap import reconstruct, triangulate
from vloc_ros.mapping.sfm.correspondences import match_pairs, verify_pairs
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage, extract_images, make_keyframes, match_posed_images
from vloc_ros.mapping.sfm.pairs import Pair, pairs_by_similarity
from vloc_ros.mapping.sfm.scale import UNKNOWN_SCALE, GivenPoses, ScaleSource, apply_scale
from vloc_ros.mapping.sfm.structure import Structure, mean_descriptors, refine_points

_MIN_IMAGES = 3


def build_map(
    images: Sequence[PosedImage],
    *,
    name: str,
    config: MappingConfig,
    extractor: Extractor,
    localizer_factory: Callable[[LandmarkMap], Localizer],
    frame_id: str = "map",
    scale: ScaleSource | None = None,
    progress: Progress = silent,
) -> LandmarkMap:
    """Build a map.

    Args:
        images: in the order they were taken.
        name, frame_id: of the map, for people and for ROS.
        config: parameters.
        extractor: `config.extractor`'s; queries will use the same.
        localizer_factory: asks a map, to calibrate its covariance.
        scale: None keeps the images' poses exactly and triangulates; otherwise poses come from structure from motion,
            and this says what gives them scale and frame.
        progress: shows how far it has come.

    Raises:
        InputError: an image cannot be used, or poses are missing where they are needed.
        MapError: the images share too little to make a map.
    """
    _check(images, posed=scale is None)
    views, matches = _posed(extract_images(images, extractor, progress), scale, config, progress)
    structure = _triangulated(views, matches, config)
    bare = _map_of(structure, views, name=name, frame_id=frame_id, config=config)
    calibration = _calibration(bare, structure, views, config, localizer_factory, progress)
    agreement = _agreement(views, images) if isinstance(scale, GivenPoses) else {}
    return replace(
        bare.with_calibration(calibration),
        metric=scale is not UNKNOWN_SCALE,
        provenance={**bare.provenance, **agreement},
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


def _posed(
    views: Sequence[ExtractedImage], scale: ScaleSource | None, config: MappingConfig, progress: Progress
) -> tuple[Sequence[ExtractedImage], dict[Pair, Array]]:
    """Images with poses, the given or reconstructed ones, and their matches checked against them."""
    if scale is None:
        return views, match_posed_images(views, config, progress)
    return _reconstructed(views, scale, config, progress)


def _matches_of_unposed(
    views: Sequence[ExtractedImage], config: MappingConfig, progress: Progress
) -> dict[Pair, Array]:
    """Matches of pairs that look alike, those of each pair that one relative pose explains."""
    features = [view.features for view in views]
    sample = np.concatenate([found.descriptors for found in features])
    if not len(sample):
        raise MapError(f"none of the {len(features)} images shows a keypoint; are they dark or blurred?")
    vocabulary = Vocabulary.fit(sample[:: max(1, len(sample) // 50000)], config.vocabulary_words)
    places = np.stack([vocabulary.encode(found.descriptors) for found in features])
    pairs = pairs_by_similarity(places, per_image=config.pairs_per_image, exhaustive_max=config.exhaustive_max_images)
    matched = match_pairs(features, pairs, ratio=config.match_ratio)
    enough = {
        pair: found
        for pair, found in progress(matched, description="matching", total=len(pairs))
        if len(found) >= config.min_unposed_matches
    }
    verified = verify_pairs(
        enough,
        [view.rays for view in views],
        [view.image.camera for view in views],
        max_error_px=config.max_relative_pose_error_px,
    )
    return {
        pair: found
        for pair, found in progress(verified, description="relative poses", total=len(enough))
        if len(found) >= config.min_unposed_matches
    }


def _reconstructed(
    views: Sequence[ExtractedImage], scale: ScaleSource, config: MappingConfig, progress: Progress
) -> tuple[list[ExtractedImage], dict[Pair, Array]]:
    """The images that structure from motion could place, with their poses, and their matches checked against them."""
    images = [view.image for view in views]
    matches = _matches_of_unposed(views, config, progress)
    structure = reconstruct(images, [view.features for view in views], matches, progress)
    poses = apply_scale(structure, images, scale)
    posed = [
        replace(view, image=replace(view.image, map_from_camera=pose))
        for view, pose in zip(views, poses, strict=True)
        if pose is not None
    ]
    return posed, match_posed_images(posed, config, progress)


def _agreement(views: Sequence[ExtractedImage], given: Sequence[PosedImage]) -> dict[str, float]:
    """How far the placed cameras lie from the poses that gave them scale and frame: what the frame is good to."""
    poses = {image.name: image.map_from_camera for image in given}
    apart_m = [
        view.image.map_from_camera.distance_to(pose)[0]
        for view in views
        if view.image.map_from_camera is not None and (pose := poses[view.image.name]) is not None
    ]
    return {
        "median_distance_from_given_poses_m": round(float(np.median(apart_m)), 4),
        "largest_distance_from_given_poses_m": round(float(np.max(apart_m)), 4),
    }


def _triangulated(views: Sequence[ExtractedImage], matches: Mapping[Pair, Array], config: MappingConfig) -> Structure:
    """The points that enough images saw."""
    if not matches:
        raise MapError(
            f"no two of the {len(views)} images share {config.min_pair_matches} matches that fit their poses; "
            "check that the poses are map_from_camera of optical frames and belong to these images"
        )
    built = triangulate([view.image for view in views], [view.features for view in views], matches)
    structure = built.with_tracks_of_at_least(config.min_track_length)
    if not len(structure.points):
        raise MapError(
            f"no point is seen by {config.min_track_length} images; take them closer together, or check that the poses "
            "are map_from_camera of optical frames and belong to these images"
        )
    return structure


def _map_of(
    structure: Structure, views: Sequence[ExtractedImage], *, name: str, frame_id: str, config: MappingConfig
) -> LandmarkMap:
    """Describe the points, group them into landmarks, index the places."""
    descriptors = mean_descriptors(structure, [view.features.descriptors for view in views])
    codec = DescriptorCodec.fit(descriptors, config.descriptor_dimension)
    keyframes = make_keyframes(views, structure)
    landmark_ids, landmarks = define_landmarks(structure.points, keyframes, config)
    return LandmarkMap(
        name=name,
        scenes=(Scene(frame_id, range(len(structure.points)), range(len(views))),),
        points=structure.points.astype(np.float32),
        landmark_ids=landmark_ids,
        landmarks=landmarks,
        codes=codec.encode(descriptors),
        codec=codec,
        keyframes=keyframes,
        extractor=config.extractor,
        places={"vlad": _vlad_places(views, codec, config)},
        provenance=_provenance(structure),
    )


def _calibration(
    landmark_map: LandmarkMap,
    structure: Structure,
    views: Sequence[ExtractedImage],
    config: MappingConfig,
    localizer_factory: Callable[[LandmarkMap], Localizer],
    progress: Progress,
) -> CovarianceCalibration:
    """Of the covariance, from segments of the way that the map leaves out in turn."""
    return calibrate(
        [view.image for view in views],
        [view.features for view in views],
        gap_m=config.calibration_gap_m,
        map_without=lambda left_out: _map_without(left_out, landmark_map, structure, views, config),
        localizer_factory=localizer_factory,
        progress=progress,
    )


def _map_without(
    left_out: Array,
    landmark_map: LandmarkMap,
    structure: Structure,
    views: Sequence[ExtractedImage],
    config: MappingConfig,
) -> LandmarkMap:
    """The map as it would be had these images not been taken: what they saw moves no point and describes none."""
    rest = structure.without_images(left_out).with_tracks_of_at_least(config.min_track_length)
    if not len(rest.points):
        raise MapError("no point is left")
    rest = refine_points(rest, [view.rays for view in views])
    return replace(
        landmark_map,
        scenes=(replace(landmark_map.scene(), points=range(len(rest.points))),),
        points=rest.points.astype(np.float32),
        landmark_ids=np.zeros(len(rest.points), np.int32),
        codes=landmark_map.codec.encode(mean_descriptors(rest, [view.features.descriptors for view in views])),
        keyframes=make_keyframes(views, rest),
    )


def _vlad_places(views: Sequence[ExtractedImage], codec: DescriptorCodec, config: MappingConfig) -> RetrievalIndex:
    projected = [codec.project(view.features.descriptors) for view in views]
    sample = np.concatenate(projected)
    vocabulary = Vocabulary.fit(sample[:: max(1, len(sample) // 50000)], config.vocabulary_words)
    places = np.stack([vocabulary.encode(descriptors) for descriptors in projected])
    return RetrievalIndex(vocabulary.hash, places, vocabulary.arrays)


def _provenance(structure: Structure) -> dict[str, Any]:
    return {
        "images": len(structure.poses),
        "mean_reprojection_error_px": round(structure.mean_reprojection_error_px, 4),
        "mean_track_length": round(len(structure.track_points) / len(structure.points), 3),
    }
