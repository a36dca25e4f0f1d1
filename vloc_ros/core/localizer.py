"""The way of an image: features, proposals, matches, pose, verification."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce

from vloc_ros.core.ambiguity import rival_of
from vloc_ros.core.config import PoseConfig, TrackingConfig
from vloc_ros.core.features import Extractor, Features, extract_scaled
from vloc_ros.core.landmark_map import LandmarkMap
from vloc_ros.core.matching import Matches, NearestNeighbourMatcher
from vloc_ros.core.proposals import PriorView, Proposal, Proposer
from vloc_ros.core.query import Query
from vloc_ros.core.registration import estimate_pose
from vloc_ros.core.result import LocalizationResult, Status
from vloc_ros.core.verification import Verifier

# so many scenes, those with most matches, are asked about an image
_SCENES_ASKED = 3
# when another scene explains an image with more than this part of the inliers, nothing in it tells them apart
_RIVAL_INLIERS = 0.5


class Localizer:
    """Answers where a query was taken. Not thread-safe: one worker owns it."""

    def __init__(
        self,
        landmark_map: LandmarkMap,
        *,
        extractor: Extractor,
        prior_view: PriorView,
        proposers: Sequence[Proposer],
        matcher: NearestNeighbourMatcher,
        pose: PoseConfig,
        verifier: Verifier,
        tracking: TrackingConfig,
    ) -> None:
        self.map = landmark_map
        self._extractor = extractor
        self._prior_view = prior_view
        self._proposers = tuple(proposers)
        self.matcher = matcher  # its index serves other localizers of the same map
        self._pose = pose
        self._verifier = verifier
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
            tracked = self._localize(coarse, query, iter(believed), clock)
            if tracked.ok:
                return tracked
            query = replace(query, prior=None)
        with clock.stage("features"):
            features = self.extract(query)
        return self._localize(features, query, self._proposals(features, query), clock)

    def extract(self, query: Query) -> tuple[Features, ...]:
        """The features of every view."""
        return tuple(self._extractor.extract(view.image) for view in query.views)

    def localize_features(self, features: Sequence[Features], query: Query) -> LocalizationResult:
        """`localize` for features that were extracted before."""
        return self._localize(features, query, self._proposals(features, query), StageClock())

    def _localize(
        self, features: Sequence[Features], query: Query, proposals: Iterator[Proposal], clock: StageClock
    ) -> LocalizationResult:
        keypoints = sum(len(f) for f in features)
        if not keypoints:
            refusal = LocalizationResult.refused(Status.NO_FEATURES, "the image shows no keypoints")
            return refusal.timed(clock.times_ms, 0)
        refusal = LocalizationResult.refused(Status.NO_CANDIDATES, "nothing in the map was proposed")
        while (proposal := clock.timed_next(proposals)) is not None:
            with clock.stage("matching"):
                matches = self.matcher.match(features, proposal)
            result = self._best_scene(matches, features, query, proposal, clock)
            # what fits two places is no clearer where only one of them is looked at
            if result.ok or result.status is Status.AMBIGUOUS:
                return result.timed(clock.times_ms, keypoints)
            refusal = refusal.or_better(result)
        return refusal.timed(clock.times_ms, keypoints)

    def _best_scene(
        self, matches: Matches, features: Sequence[Features], query: Query, proposal: Proposal, clock: StageClock
    ) -> LocalizationResult:
        """The answer of the scene with most inliers; none when another scene explains the image as well."""
        answers = []
        for part in matches.by_scene(self.map)[:_SCENES_ASKED]:
            with clock.stage("pose"):
                estimate = estimate_pose(self._pose, part, query)
            with clock.stage("verification"):
                answers.append(self._verifier.verify(estimate, part, features, query, proposal.name))
        accepted = sorted((a for a in answers if a.ok), key=lambda a: -a.inliers)
        if len(accepted) > 1 and accepted[1].inliers > _RIVAL_INLIERS * accepted[0].inliers:
            first, second = accepted[:2]
            reason = f"{first.inliers} inliers in {first.frame_id}, {second.inliers} in {second.frame_id}"
            return first.refused_as(Status.AMBIGUOUS, reason)
        if not accepted:
            return reduce(LocalizationResult.or_better, answers)
        with clock.stage("verification"):
            return self._unrivalled(accepted[0], matches, query, proposal)

    def _unrivalled(
        self, accepted: LocalizationResult, matches: Matches, query: Query, proposal: Proposal
    ) -> LocalizationResult:
        """An answer, or none when about as much of the image fits another place of the scene."""
        if proposal.windows or matches.neighbours is None:  # who knows where the camera is has nothing to choose
            return accepted
        rival = rival_of(accepted, matches.neighbours, query, landmark_map=self.map, pose=self._pose)
        if rival is None:
            return accepted
        reason = f"{rival.keypoints} keypoints fit another place as well, {rival.of_accepted} this one"
        return accepted.refused_as(Status.AMBIGUOUS, reason)

    def _proposals(self, features: Sequence[Features], query: Query) -> Iterator[Proposal]:
        for proposer in (self._prior_view, *self._proposers):
            yield from proposer.propose(features, query)


class StageClock:
    """Adds up milliseconds by stage on the monotonic clock."""

    def __init__(self) -> None:
        self.times_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body as a part of `name`."""
        start = time.perf_counter()
        yield
        self.times_ms[name] = self.times_ms.get(name, 0.0) + (time.perf_counter() - start) * 1e3

    def timed_next(self, proposals: Iterator[Proposal]) -> Proposal | None:
        """The next proposal, its search timed as `proposals`."""
        with self.stage("proposals"):
            return next(proposals, None)
