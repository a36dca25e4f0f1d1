"""Could the camera be somewhere else just as well?

A ratio test keeps what looks like one place alone. In a building of rooms that are furnished alike that is not enough:
where one room's points are mapped and its twin's are not, the twin's images match the one room distinctly. But then
many other keypoints fit another place: the neighbours that the ratio test turned down are asked for a pose of their
own, and when about as many keypoints agree on it, a contest has to say which of the two the image shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.integer_arrays import sorted_unique
from vloc_ros.core.localization.candidates import DescriptorNeighbours
from vloc_ros.core.localization.matching import Matches
from vloc_ros.core.localization.pose_estimation import estimate_absolute_pose, inlier_mask
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.map.landmark_map import LandmarkMap, Scene
from vloc_ros.core.query import Query

# neighbours as near in descriptor space as this part of those that the accepted pose explains
_LIKE_PERCENTILE = 90.0
# a pose that this part of the accepted one's keypoints fit leaves it open which of the two it is
_SHARE = 0.25
_PLACES_TRIED = 6
# nearer poses are about one place: a camera of a rig that sits elsewhere than it should is not for this to find
_ELSEWHERE_M, _TURNED_RAD = 1.0, 0.5
# the keyframe that saw most of what fits another pose need not have seen all of it
_OF_ONE_KEYFRAME = 0.6
# what fits is more than the least that counts: in buildings of rooms that are alike more samples found no more rivals
_MISSED = 0.1
_ITERATIONS = (20, 1000)


def competing_hypotheses(
    accepted: LocalizationResult,
    known: Sequence[tuple[str, Pose]],
    neighbours: DescriptorNeighbours,
    query: Query,
    *,
    landmark_map: LandmarkMap,
    pose: PoseConfig,
) -> Iterator[tuple[Pose, Array]]:
    """Poses elsewhere in the map that many of the keypoints fit as well, each with the points that do.

    Args:
        accepted: with its pose.
        known: scenes and poses that it is compared with anyway.
        neighbours: of all keypoints of the query.
        query: the images' cameras.
        landmark_map: where the points are.
        pose: when a point fits.
    """
    assert accepted.map_from_rig is not None
    pairs = _Pairs.in_scene(landmark_map.scene(accepted.frame_id), neighbours, landmark_map)
    near = inlier_mask(accepted.map_from_rig, pose, pairs.matches, query)
    if not near.any():
        return
    farthest = float(np.percentile(pairs.distances[near], _LIKE_PERCENTILE))
    needed = _SHARE * len(sorted_unique(pairs.keypoints[near & (pairs.distances <= farthest)]))
    taken = [(accepted.frame_id, accepted.map_from_rig), *known]
    for scene in landmark_map.scenes:
        pairs = _Pairs.in_scene(scene, neighbours, landmark_map)
        poses = [other for frame_id, other in taken if frame_id == scene.frame_id]
        yield from _rivals_among(pairs.only(pairs.distances <= farthest), poses, query, pose=pose, needed=needed)


def _rivals_among(
    pairs: _Pairs, taken: Sequence[Pose], query: Query, *, pose: PoseConfig, needed: float
) -> Iterator[tuple[Pose, Array]]:
    """Of the pairs of one scene the poses that so many keypoints fit, beside those that are taken."""
    for other in taken:
        pairs = pairs.only(~inlier_mask(other, pose, pairs.matches, query))
    rest = pairs
    for _ in range(_PLACES_TRIED):
        if len(sorted_unique(rest.keypoints)) < _OF_ONE_KEYFRAME * needed:
            return
        seen = rest.seen_together()
        together = rest.only(seen).nearest()
        if len(together.keypoints) < _OF_ONE_KEYFRAME * needed:
            return
        quick = replace(pose, max_iterations=_iterations(_OF_ONE_KEYFRAME * needed / len(together.keypoints)))
        found = estimate_absolute_pose(quick, together.matches, query)
        if found and all(is_distinct_pose(found, other) for other in taken):
            fitting = pairs.only(inlier_mask(found, pose, pairs.matches, query)).nearest()
            if len(fitting.keypoints) >= needed:
                yield found, sorted_unique(fitting.points)
        rest = rest.only(~seen)


def is_distinct_pose(some: Pose, other: Pose) -> bool:
    """Whether two poses in one scene are of two places, or of two views from one."""
    apart_m, turned = some.distance_to(other)
    return apart_m > _ELSEWHERE_M or turned > _TURNED_RAD


def _iterations(inlier_ratio: float) -> int:
    """Samples of three among which one of inliers alone is likely, where so many are inliers; bounded."""
    all_inliers = min(inlier_ratio, 0.9) ** 3
    return int(np.clip(np.log(_MISSED) / np.log1p(-all_inliers), *_ITERATIONS))


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """(N,) keypoints, points of the map that look like them, and squared distances."""

    neighbours: DescriptorNeighbours
    landmark_map: LandmarkMap
    keypoints: Array
    points: Array
    distances: Array

    @staticmethod
    def in_scene(scene: Scene, neighbours: DescriptorNeighbours, landmark_map: LandmarkMap) -> _Pairs:
        points = neighbours.point_indices
        keypoints, rank = np.nonzero((points >= scene.points.start) & (points < scene.points.stop))
        return _Pairs(
            neighbours, landmark_map, keypoints, points[keypoints, rank], neighbours.distances[keypoints, rank]
        )

    def only(self, chosen: Array) -> _Pairs:
        some = (self.keypoints[chosen], self.points[chosen], self.distances[chosen])
        return _Pairs(self.neighbours, self.landmark_map, *some)

    def nearest(self) -> _Pairs:
        """Of each keypoint the one most alike."""
        order = np.argsort(self.distances, kind="stable")
        return self.only(order[np.unique(self.keypoints[order], return_index=True)[1]])

    def seen_together(self) -> Array:
        """(N,) whether the keyframe that saw the points of most of them saw each."""
        votes = self.landmark_map.seen_by(self.points)
        return np.isin(self.points, self.landmark_map.keyframes.visible(int(votes.argmax())))

    @property
    def matches(self) -> Matches:
        """The pairs as matches."""
        positions = self.landmark_map.points[self.points].astype(np.float64)
        return Matches(
            self.neighbours.views[self.keypoints], self.neighbours.xy[self.keypoints], self.points, positions
        )
