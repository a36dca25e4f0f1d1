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

"""Evidence for a hypothesis from keypoints: what the image shows of what the map predicts, as a few named numbers.

No number depends on the extractor's distances, and for each more is better. What they weigh is fitted, see
`acceptance`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.geometry.covariance import apply_calibration
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.hypotheses import Hypothesis
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.pose_estimation import PoseEstimate, largest_position_std, reprojection_residuals
from vloc_ros.core.localization.scoring import MIN_EXPECTED, PredictedVisibility, ScoredPose
from vloc_ros.core.map.landmark_map import LandmarkMap

# a competing pose that is outscored by more does not compete
CLEAR_MARGIN = 0.15
# the regions that show the map best; with fewer than twice as many, how evenly it is shown says nothing
_BEST_REGIONS = 3
_LEAST = 1e-3
# a view of a rig with more inliers supports the pose by itself, one with fewer has them by chance
SUPPORTING_INLIERS, _MIN_VIEW_INLIERS = 25, 4


@dataclass(frozen=True, slots=True)
class KeypointEvidence:
    """Evidence for one hypothesis; greater is better for every attribute.

    Attributes:
        inliers: natural logarithm of 1 + the matches that agree with the pose.
        inlier_ratio: inliers over matches.
        support: inliers over the points that the pose predicts, or over the keypoints where these are fewer.
        similarity: mean over the image regions of how similar the keypoints at the projections are to the expected
            points, each weighed by the number of keyframes that observe it.
        evenness: that mean over its value in the best regions: a dark image shows less of the map everywhere, a poster
            that hangs in two rooms shows all in one region and nothing in the others.
        coverage: share of the regions with expected points that are confirmed beyond chance.
        explained: share of the keypoints that lie in confirmed regions.
        spread: area of the inliers' convex hull over the area of the image, of the best view of a rig.
        fit: negative natural logarithm of the inliers' median reprojection error over the largest allowed one.
        certainty: negative natural logarithm of the position's standard deviation over the points' median distance,
            before calibration.
        margin: score margin over the best competing pose, `CLEAR_MARGIN` at most and where there is none.
    """

    inliers: float
    inlier_ratio: float
    support: float
    similarity: float
    evenness: float
    coverage: float
    explained: float
    spread: float
    fit: float
    certainty: float
    margin: float = CLEAR_MARGIN

    def values(self) -> Array:
        """(E,) float64, in the order of `EVIDENCE`."""
        return np.array([getattr(self, name) for name in EVIDENCE])


EVIDENCE = tuple(item.name for item in fields(KeypointEvidence))


def measure_evidence(
    hypothesis: Hypothesis, scored: ScoredPose, observation: Observation, *, pose: PoseConfig
) -> KeypointEvidence:
    """The evidence for a hypothesis with an estimate, without the margin.

    A view of a rig that shows nothing of the map, but people or a new shelf, does not contradict a pose that another
    view supports: it is not counted, and the others have to suffice.

    Args:
        hypothesis: whose matches and inliers count.
        scored: its pose with the visibility that it predicts.
        observation: of the query.
        pose: how it was estimated.
    """
    estimate, views = hypothesis.estimate, _views_that_count(hypothesis, len(observation.query.views))
    assert estimate is not None
    visibility, counted = scored.visibility.of_views(views), views[hypothesis.matches.views]
    inliers, matches = estimate.inliers & counted, int(counted.sum())
    count = int(inliers.sum()) * hypothesis.candidate.every
    possible = min(int(visibility.expected.sum()), int(visibility.keypoints.sum()))
    similarity, evenness = _similarity(visibility)
    coverage, explained = visibility.confirmed_shares
    errors = np.linalg.norm(
        reprojection_residuals(estimate.scene_from_rig, hypothesis.matches, observation.query)[inliers], axis=1
    )
    return KeypointEvidence(
        inliers=float(np.log1p(count)),
        inlier_ratio=int(inliers.sum()) / max(matches, 1),
        support=min(count / max(possible, 1), 1.0),
        similarity=similarity,
        evenness=evenness,
        coverage=coverage,
        explained=explained,
        spread=_spread(hypothesis.matches, inliers, observation),
        fit=_fit(errors, pose.max_error_px),
        certainty=_certainty(hypothesis.matches.points[inliers], estimate),
    )


def _views_that_count(hypothesis: Hypothesis, views: int) -> Array:
    """(V,) bool."""
    assert hypothesis.estimate is not None
    inliers = np.bincount(hypothesis.matches.views[hypothesis.estimate.inliers], minlength=views)
    supported = inliers.max(initial=0) >= SUPPORTING_INLIERS
    return np.asarray(inliers >= _MIN_VIEW_INLIERS) if supported else np.ones(views, bool)


def _similarity(visibility: PredictedVisibility) -> tuple[float, float]:
    """Mean similarity of the regions with enough expected points, and how even it is."""
    similarity = visibility.similarity[visibility.expected >= MIN_EXPECTED]
    if not len(similarity):
        return 0.0, 0.0
    mean, best = float(similarity.mean()), float(np.sort(similarity)[-_BEST_REGIONS:].mean())
    known = min(len(similarity) / (2 * _BEST_REGIONS), 1.0)
    return mean, known * mean / max(best, _LEAST)


def _spread(matches: Matches, inliers: Array, observation: Observation) -> float:
    shares = [0.0]
    for number, view in enumerate(observation.query.views):
        xy = matches.xy[inliers & (matches.views == number)]
        if len(xy):
            hull = cv2.contourArea(cv2.convexHull(xy.astype(np.float32)))
            shares.append(float(hull) / (view.camera.width * view.camera.height))
    return max(shares)


def _fit(errors_px: Array, max_error_px: float) -> float:
    median_px = float(np.median(errors_px)) if len(errors_px) else max_error_px
    return -float(np.log(max(median_px / max_error_px, _LEAST)))


def _certainty(inlier_points: Array, estimate: PoseEstimate) -> float:
    relative_std = relative_position_std(inlier_points, estimate)
    return -float(np.log(max(relative_std, _LEAST))) if np.isfinite(relative_std) else 0.0


def relative_position_std(inlier_points: Array, estimate: PoseEstimate) -> float:
    """Largest standard deviation of the position over the median distance of the inliers' (M, 3) points, uncalibrated.

    Infinite where the position is not determined.
    """
    std_m = largest_position_std(estimate.covariance)
    if not len(inlier_points) or not np.isfinite(std_m):
        return np.inf
    distance_m = float(np.median(np.linalg.norm(inlier_points - estimate.scene_from_rig.translation, axis=1)))
    return std_m / max(distance_m, _LEAST)


def position_std_m(landmark_map: LandmarkMap, hypothesis: Hypothesis) -> float:
    """Largest standard deviation of the position in the map, calibrated; infinite where it is undetermined."""
    assert hypothesis.estimate is not None
    calibration = landmark_map.scene_of(hypothesis.matches.point_indices).calibration
    return largest_position_std(apply_calibration(hypothesis.estimate.covariance, calibration))
