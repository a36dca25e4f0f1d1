"""Verification of a hypothesis: does the image show what the map says it should show from its pose?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vloc_ros.core.config import PoseConfig, VerificationConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import apply_calibration
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import sorted_unique
from vloc_ros.core.localization.hypotheses import Hypothesis
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.pose_estimation import PoseEstimate, estimate_pose_with_covariance
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.rig_consistency import RigConsistency
from vloc_ros.core.localization.scoring import PoseScorer, ScoredPose
from vloc_ros.core.map.map_index import MapIndex

_COVISIBLE_KEYFRAMES = 5
_GRID = (8, 6)
# a view of a rig with fewer inliers has them by chance: no pose follows from them
_MIN_VIEW_INLIERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedHypothesis:
    """A hypothesis and whether it may be accepted.

    Attributes:
        hypothesis: what was verified.
        result: `OK` with the calibrated covariance, or the first reason against it.
        refusal_is_final: whether no other candidate would change it.
    """

    hypothesis: Hypothesis
    result: LocalizationResult
    refusal_is_final: bool = False


@dataclass(frozen=True, slots=True)
class Consistency:
    """Agreement of an image with what the map predicts from a pose.

    Attributes:
        support: inliers over the map points expected in the image.
        coverage: part of the image regions with expected points that hold an inlier.
        explained: part of the image's keypoints that lie in regions with an inlier.
        spread: area of the inliers' convex hull over the area of the image, of the best view of a rig.
    """

    support: float
    coverage: float
    explained: float
    spread: float


@dataclass(frozen=True, slots=True)
class _Rejection:
    reason: str
    refusal_is_final: bool = False


class HypothesisVerifier:
    """Accepts or refuses each hypothesis by itself, against the map.

    Inlier counts alone are misled by a poster that hangs in two rooms: many inliers, all in one corner of the image,
    and nothing of what should surround it. So the map points that covisible keyframes observe are projected; the
    inliers must be a fair part of them, spread over the image like them, and leave little of the image unexplained.
    """

    def __init__(
        self, config: VerificationConfig, map_index: MapIndex, *, pose: PoseConfig, scorer: PoseScorer
    ) -> None:
        """`pose` is also how a pose is estimated from a single view of a rig."""
        self._config, self._pose, self._scorer = config, pose, scorer
        self._index, self._map = map_index, map_index.map
        self._rig = RigConsistency(min_inliers=config.min_inliers, pose=pose, accepts=self._accepts_alone)

    def verify(self, hypothesis: Hypothesis, observation: Observation) -> VerifiedHypothesis:
        """The hypothesis, without views of a rig that contradict the others, and whether it may be accepted."""
        if hypothesis.estimate is not None and len(observation.query.views) > 1:
            hypothesis = self._rig.drop_inconsistent_views(hypothesis, observation)
        estimate, matches = hypothesis.estimate, hypothesis.matches
        refusal = LocalizationResult(Status.POSE_REJECTED, matches=len(matches), candidate=hypothesis.candidate.name)
        if len(matches) < self._config.min_matches:
            reason = f"{len(matches)} matches, at least {self._config.min_matches} are needed"
            return VerifiedHypothesis(hypothesis, replace(refusal, status=Status.TOO_FEW_MATCHES, reason=reason))
        if estimate is None:
            reason = f"no pose explains the {len(matches)} matches"
            return VerifiedHypothesis(hypothesis, replace(refusal, reason=reason))
        scene = self._map.scene_of(matches.point_indices)
        inliers = estimate.inliers
        result = LocalizationResult(
            Status.OK,
            map_from_rig=scene.map_from(estimate.scene_from_rig),
            covariance=apply_calibration(estimate.covariance, scene.calibration),
            frame_id=scene.frame_id,
            matches=len(matches),
            inliers=int(inliers.sum()),
            candidate=hypothesis.candidate.name,
            inlier_xy=matches.xy[inliers],
            inlier_points=matches.point_indices[inliers],
            inlier_views=matches.views[inliers],
        )
        rejection = next(self._rejections(hypothesis, estimate, observation), None)
        if rejection is None:
            return VerifiedHypothesis(hypothesis, result)
        refusal = result.refused_as(Status.POSE_REJECTED, rejection.reason)
        return VerifiedHypothesis(hypothesis, refusal, refusal_is_final=rejection.refusal_is_final)

    def verify_by_guided_matching(
        self, pose: ScoredPose, first: Hypothesis, observation: Observation, *, leniency: float = 1.0
    ) -> VerifiedHypothesis | None:
        """A pose refined by the matches that it guides, where they confirm most of the image; None where not.

        For poses of too few matches that pass the ratio test. Guided matches agree with the pose that guides them, so
        the usual verification is not enough; and no view of a rig would ever contradict it, so rigs have none.

        Args:
            pose: coarse.
            first: hypothesis of the same candidate, whose neighbours it takes over.
            observation: of the query.
            leniency: factor on `min_confirmed_fraction`.
        """
        matches, query = pose.visibility.matches, observation.query
        estimate = estimate_pose_with_covariance(self._pose, matches, query) if len(query.views) == 1 else None
        if estimate is None:
            return None
        inliers = matches.point_indices[estimate.inliers]
        refined = self._scorer.score(estimate.scene_from_rig, inliers, observation)
        if refined.visibility.confirmed_fraction < leniency * self._config.min_confirmed_fraction:
            return None
        matches = replace(matches, neighbours=first.matches.neighbours)
        return self.verify(Hypothesis(first.candidate, matches, estimate), observation)

    def _rejections(
        self, hypothesis: Hypothesis, estimate: PoseEstimate, observation: Observation
    ) -> Iterator[_Rejection]:
        """Reasons against a pose, the cheapest to find first."""
        config, count, matches = self._config, int(estimate.inliers.sum()), len(hypothesis.matches)
        if count < config.min_inliers:
            yield _Rejection(f"{count} inliers, at least {config.min_inliers} are needed")
        if len(observation.query.views) > 1 and (reason := self._rig.describe_inconsistency(hypothesis, observation)):
            yield _Rejection(reason, refusal_is_final=True)
        if count < config.min_inlier_ratio * matches:
            yield _Rejection(f"{count} inliers of {matches} matches, at least {config.min_inlier_ratio:.0%} are needed")
        std = self._position_std_m(hypothesis, estimate)
        if std > config.max_position_std_m:
            limit = f"at most {config.max_position_std_m:g} m is allowed"
            yield _Rejection(f"the position is uncertain by {std:.2g} m, {limit}")
        found = self._consistency(hypothesis.matches, estimate, observation)
        for value, least, text in (
            (found.support, config.min_support, "of the expected points are inliers"),
            (found.coverage, config.min_coverage, "of the expected regions hold an inlier"),
            (found.explained, config.min_explained, "of the keypoints are explained"),
            (found.spread, config.min_spread, "of the image is spanned by the inliers"),
        ):
            if value < least:
                yield _Rejection(f"{value:.0%} {text}, at least {least:.0%} is needed")

    def _position_std_m(self, hypothesis: Hypothesis, estimate: PoseEstimate) -> float:
        """Largest standard deviation of the position in any direction."""
        calibration = self._map.scene_of(hypothesis.matches.point_indices).calibration
        covariance = apply_calibration(estimate.covariance, calibration)
        return float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])) if np.isfinite(covariance).all() else np.inf

    def _accepts_alone(self, hypothesis: Hypothesis, estimate: PoseEstimate, observation: Observation) -> bool:
        """Whether nothing speaks against the pose of one view of a rig, as of a single camera."""
        return not any(self._rejections(hypothesis, estimate, observation))

    def _consistency(self, matches: Matches, estimate: PoseEstimate, observation: Observation) -> Consistency:
        """Compare the inliers with the expected map points and with the keypoints of the same image regions.

        A view of a rig that shows nothing of the map, but people or a new shelf, does not contradict a pose that
        another view supports: it is not counted, and the others have to suffice.
        """
        query = observation.query
        inlier_points = sorted_unique(matches.point_indices[estimate.inliers])
        expected = self._map.points[self._index.covisible_points(inlier_points, keyframes=_COVISIBLE_KEYFRAMES)]
        counts = np.bincount(matches.views[estimate.inliers], minlength=len(query.views))
        supported = counts.max() >= self._config.min_inliers
        views = []
        for number, (view, found) in enumerate(zip(query.views, observation.features, strict=True)):
            if supported and counts[number] < _MIN_VIEW_INLIERS:
                continue
            camera_from_scene = (estimate.scene_from_rig @ view.rig_from_camera).inverse()
            pixels = view.camera.project(camera_from_scene.apply(expected))
            inliers = matches.xy[estimate.inliers & (matches.views == number)]
            views.append(_compare_view(view.camera, pixels[view.camera.contains(pixels)], inliers, found.xy))
        total = {name: sum(getattr(view, name) for view in views) for name in _ViewCounts.COUNTED}
        return Consistency(
            support=total["inliers"] / max(total["expected"], 1),
            coverage=total["agreeing_regions"] / max(total["expected_regions"], 1),
            explained=total["explained"] / max(total["keypoints"], 1),
            spread=max(view.spread for view in views),
        )


@dataclass(frozen=True, slots=True)
class _ViewCounts:
    """Of one view.

    Attributes:
        inliers: matches that agree with the pose.
        expected: map points that the pose predicts in the image.
        agreeing_regions: regions with expected points and inliers.
        expected_regions: regions with expected points.
        explained: keypoints in regions with an inlier.
        keypoints: of the view.
        spread: area of the inliers' convex hull over the area of the image.
    """

    COUNTED = ("inliers", "expected", "agreeing_regions", "expected_regions", "explained", "keypoints")
    inliers: int = 0
    expected: int = 0
    agreeing_regions: int = 0
    expected_regions: int = 0
    explained: int = 0
    keypoints: int = 0
    spread: float = 0.0


def _compare_view(camera: Camera, expected: Array, inliers: Array, keypoints: Array) -> _ViewCounts:
    if not len(keypoints):  # a covered lens cannot show what is expected
        return _ViewCounts()
    expected_cells, inlier_cells, keypoint_cells = (
        camera.grid_cells(xy, _GRID) for xy in (expected, inliers, keypoints)
    )
    expected_regions = sorted_unique(expected_cells)
    if not len(inliers):
        return _ViewCounts(expected=len(expected), expected_regions=len(expected_regions))
    hull = cv2.contourArea(cv2.convexHull(inliers.astype(np.float32)))
    return _ViewCounts(
        inliers=len(inliers),
        expected=len(expected),
        agreeing_regions=int(np.isin(expected_regions, inlier_cells).sum()),
        expected_regions=len(expected_regions),
        explained=int(np.isin(keypoint_cells, inlier_cells).sum()),
        keypoints=len(keypoints),
        spread=float(hull / (camera.width * camera.height)),
    )
