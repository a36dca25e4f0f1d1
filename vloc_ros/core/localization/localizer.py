"""The way of an image: features, proposals, matches, pose, verification."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vloc_ros.core.config import PoseConfig, TrackingConfig
from vloc_ros.core.features.keypoints import Extractor, Features, extract_scaled
from vloc_ros.core.localization.candidates import Candidate, CandidateGenerator, PriorCandidates
from vloc_ros.core.localization.landmark_candidates import LandmarkRecognizer
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.pose_solver import MatchingPoseSolver
from vloc_ros.core.localization.query_context import QueryContext, StageClock
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.scoring import KeypointGrid
from vloc_ros.core.localization.selection import HypothesisSelector
from vloc_ros.core.localization.verification import Verifier
from vloc_ros.core.map.covisibility import LandmarkCovisibility
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query


class Localizer:
    """Answers where a query was taken. Not thread-safe: one worker owns it."""

    def __init__(
        self,
        landmark_map: LandmarkMap,
        *,
        extractor: Extractor,
        prior_view: PriorCandidates,
        proposers: Sequence[CandidateGenerator],
        matcher: NearestNeighbourMatcher,
        places: LandmarkCovisibility,
        recognizer: LandmarkRecognizer | None,
        pose: PoseConfig,
        verifier: Verifier,
        tracking: TrackingConfig,
    ) -> None:
        self.map = landmark_map
        self._extractor = extractor
        self._prior_view = prior_view
        self._proposers = tuple(proposers)
        # these serve other localizers of the same map
        self.matcher, self.places, self.recognizer = matcher, places, recognizer
        contest = HypothesisSelector(landmark_map, pose=pose, min_lead=verifier.min_lead)
        self._solver = MatchingPoseSolver(landmark_map, matcher=matcher, pose=pose, verifier=verifier, contest=contest)
        self._tracking = tracking

    def localize(self, query: Query) -> LocalizationResult:
        """A pose with its covariance, or a typed no.

        With a prior, coarse keypoints that lie where it says answer in a fraction of the time; when they do not, the
        query is answered as if nothing had been tried.
        """
        clock = StageClock()
        scale = max(
            self._tracking.image_scale, self._tracking.min_image_width_px / min(v.camera.width for v in query.views)
        )
        with clock.stage("proposals"):
            believed = list(self._prior_view.propose((), query)) if scale < 1.0 else []
        if believed:
            with clock.stage("features"):
                coarse = tuple(extract_scaled(self._extractor, view.image, scale) for view in query.views)
            tracked = self._answered(self._asked(query, coarse, clock), iter(believed))
            if tracked.ok:
                return tracked
            query = replace(query, prior=None)
        with clock.stage("features"):
            features = self.extract(query)
        return self._answered(self._asked(query, features, clock), self._proposals(features, query))

    def extract(self, query: Query) -> tuple[Features, ...]:
        """The features of every view."""
        return tuple(self._extractor.extract(view.image) for view in query.views)

    def localize_features(self, features: Sequence[Features], query: Query) -> LocalizationResult:
        """`localize` for features that were extracted before."""
        return self._answered(self._asked(query, features, StageClock()), self._proposals(features, query))

    def _asked(self, query: Query, features: Sequence[Features], clock: StageClock) -> QueryContext:
        return QueryContext(query, features, KeypointGrid(self.map, features, query), clock)

    def _answered(self, asked: QueryContext, proposals: Iterator[Candidate]) -> LocalizationResult:
        if not asked.keypoints:
            refusal = LocalizationResult.refused(Status.NO_FEATURES, "the image shows no keypoints")
            return refusal.timed(asked.clock.times_ms, 0)
        refusal = LocalizationResult.refused(Status.NO_CANDIDATES, "nothing in the map was proposed")
        while True:
            with asked.clock.stage("proposals"):
                proposal = next(proposals, None)
            if proposal is None:
                return refusal.timed(asked.clock.times_ms, asked.keypoints)
            result = self._solver.solve(asked, proposal)
            if result.is_final:
                return result.timed(asked.clock.times_ms, asked.keypoints)
            refusal = refusal.or_better(result)

    def _proposals(self, features: Sequence[Features], query: Query) -> Iterator[Candidate]:
        for proposer in (self._prior_view, *self._proposers):
            yield from proposer.propose(features, query)
