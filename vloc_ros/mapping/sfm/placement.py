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

"""Where the images were taken: from what they show, and from what else was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.sources import Progress
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.sfm.anchors import Anchors, align_to_anchors, anchors_of, check_positions
from vloc_ros.mapping.sfm.bundle_adjustment import Adjusted, adjust, adjust_roughly
from vloc_ros.mapping.sfm.colmap import reconstruct, triangulate
from vloc_ros.mapping.sfm.correspondences import LEAST_PARALLAX_RAD
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage
from vloc_ros.mapping.sfm.map_bending import bending_of_images
from vloc_ros.mapping.sfm.measurements import RelativePose
from vloc_ros.mapping.sfm.pairs import Pair, pairs_by_similarity
from vloc_ros.mapping.sfm.scale import (
    GivenPoses,
    KnownDistance,
    MeasuredPositions,
    ScaleSource,
    UnknownScale,
    apply_scale,
)
from vloc_ros.mapping.sfm.structure import Structure
from vloc_ros.mapping.sfm.view_pairs import global_descriptors, match_views, two_view_geometries
from vloc_ros.mapping.workers import THIS_PROCESS, Workers

_MIN_TRACK_LENGTH = 2


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where images were taken.

    Attributes:
        poses: map_from_camera of every image, None for those that could not be placed.
        matches: (M, 2) keypoint indices by pair of images, of all pairs that were matched, not verified.
        measured: of every image the measured pose in the frame of the map, None where there is none.
        anchors: in the frame of the map, by image.
        time_offset_s: how much later than the images the measured poses are stamped; None where it was not estimated.
        bending: (6,) variances, see `Adjusted`; zeros where nothing was adjusted to measurements.
        motions: measured between images.
        is_exact: the poses were given, and are kept.
        leading: (S,) numbers of images that stand for those which cameras of a rig took together; None for all images.
    """

    poses: Sequence[Pose | None]
    matches: Mapping[Pair, Array]
    measured: Sequence[Pose | None]
    anchors: Anchors
    time_offset_s: float | None = None
    bending: Array = field(default_factory=lambda: np.zeros(6))
    motions: Sequence[RelativePose] = ()
    is_exact: bool = False
    leading: Array | None = None

    @property
    def is_leading(self) -> Array:
        """(P,) bool of the placed images, see `leading`."""
        placed = np.array([i for i, pose in enumerate(self.poses) if pose is not None])
        return np.ones(len(placed), bool) if self.leading is None else np.isin(placed, self.leading)

    def measured_and_placed(self, counted: Sequence[bool] | Array) -> tuple[list[Pose], list[Pose]]:
        """The measured and the placed poses of images that have both, of the placed ones that count."""
        placed = [(before, after) for before, after in zip(self.measured, self.poses, strict=True) if after]
        both = [(b, a) for (b, a), counts in zip(placed, counted, strict=True) if b and a and counts]
        return [before for before, _ in both], [after for _, after in both]


def place_by_images(
    views: Sequence[ExtractedImage],
    scale: ScaleSource,
    config: MappingConfig,
    progress: Progress,
    workers: Workers = THIS_PROCESS,
    *,
    matched: Mapping[Pair, Array] | None = None,
) -> Placement:
    """Find where images were taken by structure from motion; positions and gravity give the frame.

    Args:
        views: images.
        scale: what gives the structure its scale.
        config: parameters.
        progress: shows the progress.
        workers: match the pairs.
        matched: matches of pairs that were matched before.

    Raises:
        InputError: too few images could be placed, or positions leave the frame open.
        MapError: no image shows a keypoint, the camera stood still, or positions contradict the images.
    """
    pairs = pairs_by_similarity(
        global_descriptors(views, config), per_image=config.pairs_per_image, exhaustive_max=config.exhaustive_max_images
    )
    matches = match_views(views, pairs, matched, config, progress, workers)
    geometries = two_view_geometries(views, matches, config, progress, workers)
    if geometries and max(found.parallax_rad for found in geometries.values()) < LEAST_PARALLAX_RAD:
        raise MapError(
            f"the {len(views)} images were taken from one place: what they show is shifted by no more than the camera "
            "turned; move the camera, points need to be seen from several places"
        )
    images = [view.image for view in views]
    verified = {pair: found.matches for pair, found in geometries.items()}
    structure = reconstruct(images, [view.features for view in views], verified, progress)
    poses, anchors = apply_scale(structure, images, scale), anchors_of(images)
    if isinstance(scale, MeasuredPositions) or (anchors.gravity and not isinstance(scale, GivenPoses)):
        turned = align_to_anchors(poses, anchors, with_scale=isinstance(scale, MeasuredPositions))
        poses = [pose and turned.apply_to_pose(pose) for pose in poses]
    bending = np.zeros(6)
    if isinstance(scale, UnknownScale | KnownDistance):
        rays, cameras = [view.rays for view in views], [image.camera for image in images]
        names = [image.name for image in images]
        known = (names.index(scale.first), names.index(scale.second)) if isinstance(scale, KnownDistance) else None
        bending = bending_of_images(_moved(structure, poses), rays, cameras, known_distance=known)
    if isinstance(scale, MeasuredPositions):
        poses, bending = _adjusted(views, poses, verified, anchors, progress)
        check_positions(poses, anchors)
    given = [image.map_from_camera if isinstance(scale, GivenPoses) else None for image in images]
    return Placement(poses, matches, given, anchors, bending=bending)


def _moved(structure: Structure, poses: Sequence[Pose | None]) -> Structure:
    """The structure in the frame and scale of these poses of its images."""
    both = [(b, a) for b, a in zip(structure.poses, poses, strict=True) if b is not None and a is not None]
    to_map = Similarity.fit_poses([before for before, _ in both], [after for _, after in both], with_scale=True)
    return replace(structure, points=to_map.apply(structure.points), poses=tuple(poses))


def adjust_to_measurements(
    views: Sequence[ExtractedImage],
    poses: Sequence[Pose],
    matches: Mapping[Pair, Array],
    motions: Sequence[RelativePose],
    anchors: Anchors,
    progress: Progress,
) -> Adjusted:
    """Triangulate what posed images show, and adjust the poses to that and to measurements.

    Twice, the first time roughly: by poses that are some pixels off, right tracks are broken and wrong ones fit.

    Args:
        views: N images.
        poses: of each of them.
        matches: verified.
        motions: measured.
        anchors: in the frame of the poses.
        progress: shows the iterations.
    """
    rays, cameras = [view.rays for view in views], [view.image.camera for view in views]
    structure = _triangulate(views, poses, matches)
    structure = _triangulate(views, adjust_roughly(structure, rays, cameras, motions, anchors), matches)
    return adjust(structure, rays, cameras, motions, anchors, progress)


def _triangulate(views: Sequence[ExtractedImage], poses: Sequence[Pose], matches: Mapping[Pair, Array]) -> Structure:
    placed = [replace(view.image, map_from_camera=pose) for view, pose in zip(views, poses, strict=True)]
    structure = triangulate(placed, [view.features for view in views], matches)
    return structure.with_tracks_of_at_least(_MIN_TRACK_LENGTH)


def _adjusted(
    views: Sequence[ExtractedImage],
    poses: Sequence[Pose | None],
    matches: Mapping[Pair, Array],
    anchors: Anchors,
    progress: Progress,
) -> tuple[list[Pose | None], Array]:
    """The poses of the placed images, adjusted to their positions too, and their bending."""
    placed = [(i, pose) for i, pose in enumerate(poses) if pose is not None]
    number = {i: k for k, (i, _) in enumerate(placed)}
    adjusted = adjust_to_measurements(
        [views[i] for i, _ in placed],
        [pose for _, pose in placed],
        {(number[i], number[j]): found for (i, j), found in matches.items() if i in number and j in number},
        [],
        anchors.renumber(number),
        progress,
    )
    return [adjusted.poses[number[i]] if i in number else None for i in range(len(poses))], adjusted.bending
