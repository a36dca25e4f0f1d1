"""Where the images were taken: from what they show, and from what else was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.retrieval.vlad import Vocabulary
from vloc_ros.core.sources import Progress
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.sfm.bundle_adjustment import adjust
from vloc_ros.mapping.sfm.colmap import reconstruct, triangulate
from vloc_ros.mapping.sfm.correspondences import LEAST_PARALLAX_RAD, TwoViewGeometry, match_pairs, verify_pairs
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage
from vloc_ros.mapping.sfm.measurements import (
    AbsolutePose,
    absolute_poses,
    estimate_noise,
    measured_motions,
    possible_pairs,
)
from vloc_ros.mapping.sfm.pairs import Pair, pairs_by_pose, pairs_by_similarity
from vloc_ros.mapping.sfm.pose_graph import optimize_poses
from vloc_ros.mapping.sfm.scale import GivenPoses, ScaleSource, apply_scale

# similar images beside those that lie near by the measured poses: loops that drift has torn open
_SIMILAR_PER_IMAGE = 10
_MIN_TRACK_LENGTH = 2
# error of a position over that of an orientation in measured poses, such as 2 cm over 0.3 degrees
_LEVER_M = 4.0
# images so soon after each other are compared with the measured poses, whose motions are contradicted by larger errors
_SOON = 10
_TOLERATED, _TOLERATED_M, _TOLERATED_RAD, _TOLERATED_RAD_PER_M = 0.3, 0.03, 0.05, 0.03
_MAX_CONTRADICTED = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where images were taken.

    Attributes:
        poses: map_from_camera of every image, None for those that could not be placed.
        matches: (M, 2) keypoint indices by pair of images, of all pairs that were matched, not verified.
    """

    poses: Sequence[Pose | None]
    matches: Mapping[Pair, Array]


def place(views: Sequence[ExtractedImage], scale: ScaleSource, config: MappingConfig, progress: Progress) -> Placement:
    """Find where images were taken.

    Where all images have poses, these are measurements of how the camera moved: they carry the images over what the
    images do not show, and the images correct their drift. Otherwise the images are placed by structure from motion
    alone.

    Raises:
        InputError: too few images could be placed.
        MapError: no image shows a keypoint, or measured poses contradict the images.
    """
    poses = [view.image.map_from_camera for view in views]
    known = [pose for pose in poses if pose is not None]
    if isinstance(scale, GivenPoses) and len(known) == len(views):
        return _place_by_measurements(views, known, scale, config, progress)
    pairs = pairs_by_similarity(
        _places(views, config), per_image=config.pairs_per_image, exhaustive_max=config.exhaustive_max_images
    )
    matches = _match(views, pairs, config, progress)
    geometries = _two_view_geometries(views, matches, config, progress)
    if geometries and max(found.parallax_rad for found in geometries.values()) < LEAST_PARALLAX_RAD:
        raise MapError(
            f"the {len(views)} images were taken from one place: what they show is shifted by no more than the camera "
            "turned; move the camera, points need to be seen from several places"
        )
    images = [view.image for view in views]
    verified = {pair: found.matches for pair, found in geometries.items()}
    structure = reconstruct(images, [view.features for view in views], verified, progress)
    return Placement(apply_scale(structure, images, scale), matches)


def _place_by_measurements(
    views: Sequence[ExtractedImage],
    measured: Sequence[Pose],
    given: GivenPoses,
    config: MappingConfig,
    progress: Progress,
) -> Placement:
    near = pairs_by_pose(measured, per_image=config.pairs_per_image, max_angle_rad=config.pair_max_angle_rad)
    alike = pairs_by_similarity(_places(views, config), per_image=_SIMILAR_PER_IMAGE, exhaustive_max=0)
    matches = _match(views, sorted({*near, *alike}), config, progress)
    geometries = _two_view_geometries(views, matches, config, progress)
    focal_lengths_px = np.array([view.image.camera.intrinsics[0] for view in views])
    possible = {pair: geometries[pair] for pair in possible_pairs(geometries, measured, drifting=given.drifting)}
    motions = measured_motions(measured)
    poses, agreeing = optimize_poses(measured, motions, possible, focal_lengths_px)
    _check_contradictions(measured, poses, geometries, possible)
    poses, absolute = _aligned(poses, measured), list[AbsolutePose]()
    if not given.drifting:
        noise = estimate_noise(measured, poses)
        motions, absolute = measured_motions(measured, noise), absolute_poses(measured, noise)
    if agreeing:
        placed = [replace(view.image, map_from_camera=pose) for view, pose in zip(views, poses, strict=True)]
        verified = {pair: geometries[pair].matches for pair in agreeing}
        structure = triangulate(placed, [view.features for view in views], verified)
        structure = structure.with_tracks_of_at_least(_MIN_TRACK_LENGTH)
        rays, cameras = [view.rays for view in views], [view.image.camera for view in views]
        poses = adjust(structure, rays, cameras, motions, absolute, progress)
    return Placement(_aligned(poses, measured) if given.drifting else poses, matches)


def _aligned(poses: Sequence[Pose], measured: Sequence[Pose]) -> list[Pose]:
    """The poses moved rigidly to where they agree best with the measured ones in position and orientation.

    By orientations alone a small error of theirs would move the end of a long trajectory far; by positions alone the
    turn about a straight one would be open. So each pose is compared at points ahead, beside and below it too.
    """
    measured_from_placed = Similarity.fit(_points_around(poses), _points_around(measured), with_scale=False)
    return [measured_from_placed.apply_to_pose(pose) for pose in poses]


def _points_around(poses: Sequence[Pose]) -> Array:
    """(4 N, 3) positions, and points at a distance from them along the axes."""
    offsets = np.vstack([np.zeros(3), _LEVER_M * np.eye(3)])
    return np.concatenate([pose.apply(offsets) for pose in poses])


def _check_contradictions(
    measured: Sequence[Pose], poses: Sequence[Pose], pairs: Collection[Pair], possible: Collection[Pair]
) -> None:
    """Raise where most pairs that share a view, soon after each other, moved otherwise than the measured poses say."""
    soon = [pair for pair in pairs if pair[1] - pair[0] <= _SOON]
    contradicted = 0
    for i, j in soon:
        motion = measured[i].inverse() @ measured[j]
        distance_m, turn_rad = Pose.identity().distance_to(motion)
        error_m, error_rad = (poses[i].inverse() @ poses[j]).distance_to(motion)
        tolerated_m = _TOLERATED_M + _TOLERATED * distance_m
        tolerated_rad = _TOLERATED_RAD + _TOLERATED * turn_rad + _TOLERATED_RAD_PER_M * distance_m
        contradicted += (i, j) not in possible or error_m > tolerated_m or error_rad > tolerated_rad
    if contradicted > _MAX_CONTRADICTED * len(soon):
        raise MapError(
            f"the poses contradict the images: {contradicted} of {len(soon)} pairs of images that share a view moved "
            "otherwise than their poses say; check that the poses belong to these images, in this order, and are "
            "map_from_camera of optical frames (of a bag: its TF, its stamps and the calibration of the camera)"
        )


def _places(views: Sequence[ExtractedImage], config: MappingConfig) -> Array:
    """(N, D) global descriptors of the images."""
    features = [view.features for view in views]
    sample = np.concatenate([found.descriptors for found in features])
    if not len(sample):
        raise MapError(f"none of the {len(features)} images shows a keypoint; are they dark or blurred?")
    vocabulary = Vocabulary.fit(sample, config.vocabulary_words)
    return np.stack([vocabulary.encode(found.descriptors) for found in features])


def _match(
    views: Sequence[ExtractedImage], pairs: Sequence[Pair], config: MappingConfig, progress: Progress
) -> dict[Pair, Array]:
    matched = match_pairs([view.features for view in views], pairs, ratio=config.match_ratio)
    return dict(progress(matched, description="matching", total=len(pairs)))


def _two_view_geometries(
    views: Sequence[ExtractedImage], matches: Mapping[Pair, Array], config: MappingConfig, progress: Progress
) -> dict[Pair, TwoViewGeometry]:
    """Of the pairs that share a view, their relative pose with the matches that it explains."""
    enough = {pair: found for pair, found in matches.items() if len(found) >= config.min_unposed_matches}
    verified = verify_pairs(
        enough,
        [view.rays for view in views],
        [view.image.camera for view in views],
        max_error_px=config.max_relative_pose_error_px,
    )
    return {
        pair: found
        for pair, found in progress(verified, description="relative poses", total=len(enough))
        if len(found.matches) >= config.min_unposed_matches
    }
