"""The way of an image: features, proposals, matches, pose, verification."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from vloc_ros.core.ambiguity import rival_of
from vloc_ros.core.config import PoseConfig, TrackingConfig
from vloc_ros.core.contest import Hypothesis, lead
from vloc_ros.core.covisibility import ReferencePlaces
from vloc_ros.core.features import Extractor, Features, extract_scaled
from vloc_ros.core.landmark_map import LandmarkMap
from vloc_ros.core.matching import Matches, NearestNeighbourMatcher
from vloc_ros.core.pose import Array, Pose
from vloc_ros.core.proposals import PriorView, Proposal, Proposer
from vloc_ros.core.query import Query
from vloc_ros.core.recognition import Recognizer
from vloc_ros.core.registration import PoseEstimate, agreeing, estimate_pose, find_pose, refine_pose
from vloc_ros.core.result import LocalizationResult, Status
from vloc_ros.core.sight import Lookout
from vloc_ros.core.verification import Verifier

# so many scenes, those with most matches, are asked about an image
_SCENES_ASKED = 3
# where a fifth of the matches are right, so many samples miss them once in a thousand times
_QUICK_ITERATIONS = 1000
# nearer answers of one scene are about one place
_SAME_PLACE_M = 1.0


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
        places: ReferencePlaces,
        recognizer: Recognizer | None,
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
        lookout = Lookout(self.map, features, query)
        while (proposal := clock.timed_next(proposals)) is not None:
            answers = list(self._answers(features, query, proposal, lookout, clock))
            with clock.stage("verification"):
                result = self._best(answers, query, lookout)
            # what fits two places is no clearer where only one of them is looked at
            if result.ok or result.status is Status.AMBIGUOUS:
                return result.timed(clock.times_ms, keypoints)
            refusal = refusal.or_better(result)
        return refusal.timed(clock.times_ms, keypoints)

    def _answers(
        self, features: Sequence[Features], query: Query, proposal: Proposal, lookout: Lookout, clock: StageClock
    ) -> Iterator[_Answer]:
        """What each part of the map says that a proposal names, and each scene of it."""
        few = tuple(found.strongest(proposal.keypoints) for found in features)
        for part in (proposal, *proposal.rivals):
            with clock.stage("matching"):
                matches = self.matcher.match(few, part)
            for of_scene in matches.by_scene(self.map)[:_SCENES_ASKED]:
                with clock.stage("pose"):
                    if part.keypoints is None:
                        estimate = estimate_pose(self._pose, of_scene, query)
                    else:
                        estimate, of_scene = self._guided(of_scene, query, lookout)
                with clock.stage("verification"):
                    result = self._verifier.verify(estimate, of_scene, features, query, part.name)
                    yield _Answer(result, matches, part)

    def _guided(self, few: Matches, query: Query, lookout: Lookout) -> tuple[PoseEstimate | None, Matches]:
        """A pose from a few matches, and then from what all keypoints show from there."""
        quick = replace(self._pose, max_iterations=min(_QUICK_ITERATIONS, self._pose.max_iterations))
        found = find_pose(quick, few, query)
        if found is None:
            return None, few
        inliers = few.point_indices[agreeing(found, self._pose, few, query)]
        matches = Hypothesis.of(found, inliers, lookout, self.map).sight.matches
        return refine_pose(self._pose, found, matches, query), matches

    def _best(self, answers: Sequence[_Answer], query: Query, lookout: Lookout) -> LocalizationResult:
        """The answer that the image confirms best; none when another place explains it about as well."""
        accepted = sorted((a.result for a in answers if a.result.ok), key=lambda result: -result.inliers)
        if not accepted:
            return reduce(LocalizationResult.or_better, (a.result for a in answers))
        places = list[tuple[LocalizationResult, Hypothesis]]()
        for result in accepted:
            if not any(_of_one_place(result, other) for other, _ in places):
                places.append((result, self._hypothesis(result, lookout)))
        best, shown = places[0]
        for result, other in places[1:]:
            if lead(other, shown) > 0:
                best, shown = result, other
        others = [other for _, other in places if other is not shown]
        answer = next(a for a in answers if a.result is best)
        if (rival := self._rival(answer, query)) is not None:
            others.append(Hypothesis.of(*rival, lookout, self.map))
        least = min((lead(shown, other) for other in others), default=np.inf)
        if least >= self._verifier.min_lead:
            return best
        reason = f"another place explains the image as well: {least:+.1%} of what is expected"
        return best.refused_as(Status.AMBIGUOUS, reason)

    def _hypothesis(self, result: LocalizationResult, lookout: Lookout) -> Hypothesis:
        assert result.map_from_rig is not None
        return Hypothesis.of(result.map_from_rig, np.unique(result.inlier_points), lookout, self.map)

    def _rival(self, best: _Answer, query: Query) -> tuple[Pose, Array] | None:
        """Another place of the same part of the map that many keypoints fit as well."""
        if best.part.windows or best.matches.neighbours is None:  # who knows where it is has nothing to choose
            return None
        return rival_of(best.result, best.matches.neighbours, query, landmark_map=self.map, pose=self._pose)

    def _proposals(self, features: Sequence[Features], query: Query) -> Iterator[Proposal]:
        for proposer in (self._prior_view, *self._proposers):
            yield from proposer.propose(features, query)


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What was made of the matches with one part of the map."""

    result: LocalizationResult
    matches: Matches
    part: Proposal


def _of_one_place(first: LocalizationResult, second: LocalizationResult) -> bool:
    """Whether two accepted answers are of the same place."""
    assert first.map_from_rig is not None
    assert second.map_from_rig is not None
    apart_m, _ = first.map_from_rig.distance_to(second.map_from_rig)
    return first.frame_id == second.frame_id and apart_m < _SAME_PLACE_M


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
