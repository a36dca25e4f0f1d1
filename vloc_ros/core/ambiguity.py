"""Could the camera be somewhere else just as well?

A ratio test keeps what looks like one place alone. In a building of rooms that are furnished alike that is not enough:
where one room's points are mapped and its twin's are not, the twin's images match the one room distinctly. But then
many other keypoints fit another place: the neighbours that the ratio test turned down are asked for a pose of their
own, and when about as many keypoints agree on it, the image does not say which of the two it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.landmark_map import LandmarkMap
from vloc_ros.core.matching import Matches, Neighbours
from vloc_ros.core.pose import Array, Pose
from vloc_ros.core.query import Query
from vloc_ros.core.registration import estimate_pose, reprojection_residuals
from vloc_ros.core.result import LocalizationResult

# neighbours as near in descriptor space as this part of those that the accepted pose explains
_LIKE_PERCENTILE = 90.0
_PLACES_TRIED = 3
# nearer poses are about one place: a camera of a rig that sits elsewhere than it should is not for this to find
_ELSEWHERE_M = 1.0
# the keyframe that saw most of what fits another pose need not have seen all of it
_OF_ONE_KEYFRAME = 0.6
_MISSED = 1e-3
_ITERATIONS = (20, 1000)


@dataclass(frozen=True, slots=True)
class Rival:
    """How many keypoints fit another pose, and how many the accepted one."""

    keypoints: int
    of_accepted: int


def rival_of(
    accepted: LocalizationResult,
    neighbours: Neighbours,
    query: Query,
    *,
    landmark_map: LandmarkMap,
    pose: PoseConfig,
    share: float,
) -> Rival | None:
    """The pose elsewhere in the scene that most keypoints fit; None when they are fewer than `share` of those that fit
    the accepted one.

    Args:
        accepted: with its pose.
        neighbours: of all keypoints of the query.
        query: the images' cameras.
        landmark_map: where the points are.
        pose: when a point fits.
        share: of the accepted pose's keypoints.
    """
    assert accepted.map_from_rig is not None
    scene = landmark_map.scene(accepted.frame_id).points
    keypoint, rank = np.nonzero((neighbours.point_indices >= scene.start) & (neighbours.point_indices < scene.stop))
    pairs = _Pairs(keypoint, neighbours.point_indices[keypoint, rank], neighbours.distances[keypoint, rank])
    near = pairs.fit(accepted.map_from_rig, neighbours, query, landmark_map, pose.max_error_px)
    if not near.any():
        return None
    like = pairs.distances <= np.percentile(pairs.distances[near], _LIKE_PERCENTILE)
    of_accepted = len(np.unique(pairs.keypoints[near & like]))
    needed = share * of_accepted
    rivals = rest = pairs.only(like & ~near)
    for _ in range(_PLACES_TRIED):
        seen = _seen_together(rest, landmark_map)
        together = rest.only(seen).nearest()
        if len(together.keypoints) < _OF_ONE_KEYFRAME * needed:
            return None
        quick = replace(pose, max_iterations=_iterations(_OF_ONE_KEYFRAME * needed / len(together.keypoints)))
        estimate = estimate_pose(quick, together.matches(neighbours, landmark_map), query)
        if estimate is not None:
            fitting = rivals.fit(estimate.map_from_rig, neighbours, query, landmark_map, pose.max_error_px)
            count = len(np.unique(rivals.keypoints[fitting]))
            metres, _ = estimate.map_from_rig.distance_to(accepted.map_from_rig)
            if metres > _ELSEWHERE_M and count >= needed:
                return Rival(count, of_accepted)
        rest = rest.only(~seen)
    return None


def _iterations(inlier_ratio: float) -> int:
    """Samples of three among which one of inliers alone is as good as certain, where so many are inliers; bounded."""
    all_inliers = min(inlier_ratio, 0.9) ** 3
    return int(np.clip(np.log(_MISSED) / np.log1p(-all_inliers), *_ITERATIONS))


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """(N,) keypoints, points that look like them, and squared distances."""

    keypoints: Array
    points: Array
    distances: Array

    def only(self, chosen: Array) -> _Pairs:
        return _Pairs(self.keypoints[chosen], self.points[chosen], self.distances[chosen])

    def nearest(self) -> _Pairs:
        """Of each keypoint the one most alike."""
        order = np.argsort(self.distances, kind="stable")
        return self.only(order[np.unique(self.keypoints[order], return_index=True)[1]])

    def matches(self, neighbours: Neighbours, landmark_map: LandmarkMap) -> Matches:
        points = landmark_map.points[self.points].astype(np.float64)
        return Matches(neighbours.views[self.keypoints], neighbours.xy[self.keypoints], self.points, points)

    def fit(
        self, map_from_rig: Pose, neighbours: Neighbours, query: Query, landmark_map: LandmarkMap, max_error_px: float
    ) -> Array:
        """(N,) whether each point lies at its keypoint."""
        residuals = reprojection_residuals(map_from_rig, self.matches(neighbours, landmark_map), query)
        return np.asarray(np.nan_to_num(np.linalg.norm(residuals, axis=1), nan=np.inf) < max_error_px)


def _seen_together(pairs: _Pairs, landmark_map: LandmarkMap) -> Array:
    """(N,) whether the keyframe that saw the points of most of them saw each."""
    keyframes = landmark_map.keyframes
    weight = np.bincount(pairs.points, minlength=len(landmark_map.points))
    running = np.concatenate([[0], np.cumsum(weight[keyframes.point_indices])])
    votes = running[keyframes.point_offsets[1:]] - running[keyframes.point_offsets[:-1]]
    return np.isin(pairs.points, keyframes.visible(int(votes.argmax())))
