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

"""Images placed by how the camera was measured to move, which what they show corrects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.sources import PosedImage, Progress
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.sfm.anchors import (
    DOWN,
    Anchors,
    align_to_anchors,
    anchors_of,
    carried_on,
    check_positions,
    is_level,
    level_alignment,
    measured_down,
    with_level_odometry,
)
from vloc_ros.mapping.sfm.correspondences import VerifiedPair, choose_by_measured_motions
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage
from vloc_ros.mapping.sfm.image_sets import ImageSets
from vloc_ros.mapping.sfm.measurements import (
    absolute_poses,
    estimate_noise,
    possible_pairs,
    rotation_bias,
)
from vloc_ros.mapping.sfm.pairs import Pair, pairs_by_pose, pairs_by_similarity
from vloc_ros.mapping.sfm.placement import Placement, adjust_to_measurements
from vloc_ros.mapping.sfm.pose_graph import optimize_poses
from vloc_ros.mapping.sfm.scale import GivenPoses
from vloc_ros.mapping.sfm.time_offset import estimate_time_offset
from vloc_ros.mapping.sfm.view_pairs import global_descriptors, match_views, two_view_geometries
from vloc_ros.mapping.workers import THIS_PROCESS, Workers

# similar images beside those that lie near by the measured poses: loops that drift has torn open
_SIMILAR_PER_IMAGE = 10
# error of a position over that of an orientation in measured poses, such as 2 cm over 0.3 degrees
_LEVER_M = 4.0
# images so soon after each other are compared with the measured poses, whose motions are contradicted by larger errors
_SOON = 10
_TOLERATED, _TOLERATED_M, _TOLERATED_RAD, _TOLERATED_RAD_PER_M = 0.3, 0.03, 0.05, 0.03
_MAX_CONTRADICTED = 0.5


def place_by_measurements(
    views: Sequence[ExtractedImage],
    given: GivenPoses,
    config: MappingConfig,
    progress: Progress,
    workers: Workers = THIS_PROCESS,
    *,
    matched: Mapping[Pair, Array] | None = None,
) -> Placement:
    """Find where images were taken whose poses were measured: they carry them over what the images do not show.

    Images that cameras of a rig took together are tied by its extrinsics, and what was measured of the rig counts once.
    Where positions were measured too, their frame is that of the map. Odometry without them keeps its own frame; the
    poses lie in it as they agree best with all of it.

    Args:
        views: all with measured poses.
        given: what these are.
        config: parameters.
        progress: shows the progress.
        workers: match the pairs.
        matched: matches of pairs that were matched before.

    Raises:
        InputError: positions leave the frame open.
        MapError: no image shows a keypoint, or measurements contradict the images.
    """
    given_poses = (view.image.map_from_camera for view in views)
    measured: Sequence[Pose] = [pose for pose in given_poses if pose is not None]
    sets = ImageSets.of([view.image for view in views])
    near = pairs_by_pose(
        measured,
        per_image=config.pairs_per_image,
        max_angle_rad=config.pair_max_angle_rad,
        sets=sets.rig_numbers,
    )
    alike = pairs_by_similarity(global_descriptors(views, config), per_image=_SIMILAR_PER_IMAGE, exhaustive_max=0)
    matches = match_views(views, sorted({*near, *alike}), matched, config, progress, workers)
    geometries = two_view_geometries(views, matches, config, progress, workers)
    stamps_ns = [view.image.stamp_ns for view in sets.choose(views)]
    offset_s = estimate_time_offset(stamps_ns, given.camera_path, sets.choose_pairs(geometries))
    measured, anchors = _in_frame_of_map(views, measured, given, offset_s)
    geometries = choose_by_measured_motions(
        geometries,
        _short_motions(geometries, measured, sets.set_numbers),
        [view.rays for view in views],
        [view.image.camera for view in views],
        max_error_px=config.max_relative_pose_error_px,
        workers=workers,
    )
    poses, agreeing = _follow_images(views, measured, sets, anchors, geometries, drifting=given.drifting)
    motions = sets.motions(measured)
    if not anchors.positions:
        poses = _aligned(poses, measured, anchors)
    if not given.drifting:
        noise = estimate_noise(sets.choose(measured), sets.choose(poses))
        motions, leading = sets.motions(measured, noise), set(sets.leading.tolist())
        absolute = absolute_poses(measured, np.hypot(noise, rotation_bias(measured, poses)))
        anchors = replace(anchors, poses=[one for one in absolute if one.image in leading])
    bending = np.zeros(6)
    if agreeing:
        verified = {pair: geometries[pair].matches for pair in agreeing}
        adjusted = adjust_to_measurements(views, poses, verified, motions, anchors, progress)
        poses, bending = adjusted.poses, adjusted.bending
    if not anchors.place_the_frame:
        poses = _aligned(poses, measured, anchors)
    check_positions(poses, anchors)
    return Placement(poses, matches, measured, anchors, offset_s, bending, motions, leading=sets.leading)


def _short_motions(pairs: Collection[Pair], measured: Sequence[Pose], sets: Array) -> dict[Pair, Pose]:
    """The measured motions between images soon after each other, over which odometry hardly drifts."""
    return {
        (i, j): measured[i].inverse() @ measured[j] for i, j in pairs if 0 < abs(int(sets[j]) - int(sets[i])) <= _SOON
    }


def _in_frame_of_map(
    views: Sequence[ExtractedImage], measured: Sequence[Pose], given: GivenPoses, offset_s: float | None
) -> tuple[Sequence[Pose], Anchors]:
    """The measured poses and what anchors them, in the frame of the map and at the times of the images."""
    anchors, in_own_frame = anchors_of([view.image for view in views]), measured
    if given.drifting and (anchors.positions or anchors.gravity):
        alignment = align_to_anchors(measured, anchors, with_scale=False)
        measured = _moved(measured, alignment)
        if not anchors.gravity and is_level(alignment):
            anchors = with_level_odometry(anchors, measured)
    elif anchors.gravity:
        anchors = replace(anchors, down=measured_down(measured, anchors.gravity))
    if not offset_s:
        return measured, anchors
    shifted = _shifted(in_own_frame, [view.image for view in views], given, offset_s)
    motions = [before.inverse() @ after for before, after in zip(in_own_frame, shifted, strict=True)]
    moved = [pose @ motion for pose, motion in zip(measured, motions, strict=True)]
    return moved, carried_on(anchors, measured, moved)


def _follow_images(
    views: Sequence[ExtractedImage],
    measured: Sequence[Pose],
    sets: ImageSets,
    anchors: Anchors,
    geometries: Mapping[Pair, VerifiedPair],
    *,
    drifting: bool,
) -> tuple[list[Pose], list[Pair]]:
    """The poses that agree best with measurements and pairs of images, and the pairs that agree with them.

    Raises:
        MapError: most pairs contradict the measured poses.
    """
    focal_lengths_px = np.array([view.image.camera.intrinsics[0] for view in views])
    motions, guess = sets.motions(measured), measured
    if anchors.positions:
        guess, _ = optimize_poses(measured, motions, {}, focal_lengths_px, anchors)
        drifting = drifting and len(anchors.positions) < len(sets.leading)
    allowed = possible_pairs(
        geometries, guess, drifting=drifting, positions_std_m=_std_m(anchors), sets=sets.set_numbers
    )
    possible = {pair: geometries[pair] for pair in allowed}
    poses, agreeing = optimize_poses(guess, motions, possible, focal_lengths_px, anchors)
    _check_contradictions(measured, poses, geometries, possible, sets.set_numbers)
    return poses, agreeing


def _shifted(measured: Sequence[Pose], images: Sequence[PosedImage], given: GivenPoses, offset_s: float) -> list[Pose]:
    """The measured poses at the images' times by the other clock; at the ends of the recording carried on."""
    assert given.camera_path is not None
    of_lead = [given.camera_path(image.stamp_ns + round(1e9 * offset_s)) for image in images]
    shifted = [
        pose @ image.rig.lead_from_camera if pose and image.rig else pose
        for pose, image in zip(of_lead, images, strict=True)
    ]
    known = [i for i, pose in enumerate(shifted) if pose is not None]
    nearest = [min(known, key=lambda k: abs(k - i)) for i in range(len(shifted))]
    motions = {k: measured[k].inverse() @ pose for k in known if (pose := shifted[k]) is not None}
    return [pose @ motions[k] for pose, k in zip(measured, nearest, strict=True)]


def _aligned(poses: Sequence[Pose], measured: Sequence[Pose], anchors: Anchors) -> list[Pose]:
    """The poses moved rigidly to where they agree best with the measured ones in position and orientation.

    By orientations alone a small error of theirs would move the end of a long trajectory far; by positions alone the
    turn about a straight one would be open. So each pose is compared at points ahead, beside and below it too. What
    gravity has made level stays so.
    """
    source, target = _points_around(poses), _points_around(measured)
    if anchors.gravity and not anchors.poses and np.array_equal(anchors.down, DOWN):
        return _moved(poses, level_alignment(source, target))
    return _moved(poses, Similarity.fit(source, target, with_scale=False))


def _std_m(anchors: Anchors) -> float:
    """A typical standard deviation of the measured positions; 0 where there are none."""
    stds_m = [float(np.linalg.norm(one.std)) for one in anchors.positions.values()]
    return float(np.median(stds_m)) if stds_m else 0.0


def _moved(poses: Sequence[Pose], alignment: Similarity) -> list[Pose]:
    return [alignment.apply_to_pose(pose) for pose in poses]


def _points_around(poses: Sequence[Pose]) -> Array:
    """(4 N, 3) positions, and points at a distance from them along the axes."""
    offsets = np.vstack([np.zeros(3), _LEVER_M * np.eye(3)])
    return np.concatenate([pose.apply(offsets) for pose in poses])


def _check_contradictions(
    measured: Sequence[Pose], poses: Sequence[Pose], pairs: Collection[Pair], possible: Collection[Pair], sets: Array
) -> None:
    """Raise where most pairs that share a view, soon after each other, moved otherwise than the measured poses say."""
    soon = [(i, j) for i, j in pairs if 0 < sets[j] - sets[i] <= _SOON]
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
