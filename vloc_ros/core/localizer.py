"""The way of an image: features, proposals, matches, pose, verification."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from vloc_ros.core.ambiguity import is_elsewhere, rival_of
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
from vloc_ros.core.registration import agreeing, estimate_pose, find_pose
from vloc_ros.core.result import LocalizationResult, Status
from vloc_ros.core.sight import Lookout
from vloc_ros.core.verification import Verifier

# so many scenes, those with most matches, are asked about an image
_SCENES_ASKED = 3
# where a fifth of the matches are right, so many samples miss them once in a thousand times
_QUICK_ITERATIONS = 1000
_FEWEST_INLIERS = 8
# when the leader of the rivals is refused, the next one is asked
_RIVALS_VERIFIED = 2


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
            result = self._answered(features, query, proposal, lookout, clock)
            # what fits two places is no clearer where only one of them is looked at
            if result.ok or result.status is Status.AMBIGUOUS:
                return result.timed(clock.times_ms, keypoints)
            refusal = refusal.or_better(result)
        return refusal.timed(clock.times_ms, keypoints)

    def _answered(
        self, features: Sequence[Features], query: Query, proposal: Proposal, lookout: Lookout, clock: StageClock
    ) -> LocalizationResult:
        """The answer from a part of the map, or from that of several rivals which the image confirms best."""
        if proposal.keypoints is None:
            answers = list(self._answers(features, query, proposal, clock))
            with clock.stage("verification"):
                return self._best(answers, (), query, lookout)
        refusal = LocalizationResult.refused(Status.POSE_REJECTED, "no place fits")
        contenders = self._contenders(features, query, proposal, lookout, clock)
        for one in contenders[:_RIVALS_VERIFIED]:
            answers = list(self._answers(features, query, one.part, clock))
            with clock.stage("verification"):
                if not any(a.result.ok for a in answers):
                    answers.append(self._second_look(one, answers[0], features, query, lookout))
                result = self._best(answers, [c.hypothesis for c in contenders if c is not one], query, lookout)
            if result.ok or result.status is Status.AMBIGUOUS:
                return result
            refusal = refusal.or_better(result)
        return refusal

    def _contenders(
        self, features: Sequence[Features], query: Query, proposal: Proposal, lookout: Lookout, clock: StageClock
    ) -> list[_Contender]:
        """Rivals with a pose from their strongest keypoints, the one that leads all others first."""
        few = tuple(found.strongest(proposal.keypoints) for found in features)
        quick = replace(self._pose, max_iterations=min(_QUICK_ITERATIONS, self._pose.max_iterations))
        contenders = []
        for part in (proposal, *proposal.rivals):
            with clock.stage("matching"):
                matches = self.matcher.match(few, part)
            with clock.stage("pose"):
                found = find_pose(quick, matches, query)
            if found is None:
                continue
            with clock.stage("verification"):
                inliers = matches.point_indices[agreeing(found, self._pose, matches, query)]
                if len(inliers) >= max(_FEWEST_INLIERS, self._verifier.fewest_inliers(len(matches))):
                    contenders.append(_Contender(part, Hypothesis.of(found, inliers, lookout, self.map)))
        wins = [sum(lead(one.hypothesis, other.hypothesis) > 0 for other in contenders) for one in contenders]
        return [contenders[i] for i in sorted(range(len(contenders)), key=lambda i: -wins[i])]

    def _second_look(
        self, one: _Contender, refused: _Answer, features: Sequence[Features], query: Query, lookout: Lookout
    ) -> _Answer:
        """What too few distinct matches left open: is most of the image found again from the pose that they tell?

        Matches that a pose guides to agree with it, so verification as usual is not enough.
        """
        matches = one.hypothesis.sight.matches
        estimate = estimate_pose(self._pose, matches, query)
        if estimate is None:
            return refused
        inliers = np.unique(matches.point_indices[estimate.inliers])
        found_again = Hypothesis.of(estimate.map_from_rig, inliers, lookout, self.map).sight.found_again
        if found_again < self._verifier.min_found_again:
            return refused
        result = self._verifier.verify(estimate, matches, features, query, one.part.name)
        return _Answer(result, refused.matches, one.part)

    def _answers(
        self, features: Sequence[Features], query: Query, part: Proposal, clock: StageClock
    ) -> Iterator[_Answer]:
        """What a part of the map says, and each scene of it."""
        with clock.stage("matching"):
            matches = self.matcher.match(features, part)
        for of_scene in matches.by_scene(self.map)[:_SCENES_ASKED]:
            with clock.stage("pose"):
                estimate = estimate_pose(self._pose, of_scene, query)
            with clock.stage("verification"):
                yield _Answer(self._verifier.verify(estimate, of_scene, features, query, part.name), matches, part)

    def _best(
        self, answers: Sequence[_Answer], others: Sequence[Hypothesis], query: Query, lookout: Lookout
    ) -> LocalizationResult:
        """The answer that the image confirms best; none when another place explains it about as well.

        Args:
            answers: at least one.
            others: what else the image may show.
            query: the images,
            lookout: and their keypoints.
        """
        accepted = [a for a in answers if a.result.ok]
        if not accepted:
            return reduce(LocalizationResult.or_better, (a.result for a in answers))
        best, elsewhere = accepted[0], list(others)
        if len(accepted) > 1:
            shown = [self._hypothesis(a.result, lookout) for a in accepted]
            leader = max(range(len(shown)), key=lambda i: sum(lead(shown[i], other) > 0 for other in shown))
            best = accepted[leader]
            elsewhere += [other for i, other in enumerate(shown) if i != leader]
        if (rival := self._rival(best, query)) is not None:
            elsewhere.append(self._looked_at_again(Hypothesis.of(*rival, lookout, self.map), query, lookout))
        if not elsewhere:
            return best.result
        return self._unless_rivalled(best.result, self._hypothesis(best.result, lookout), elsewhere)

    def _looked_at_again(self, rough: Hypothesis, query: Query, lookout: Lookout) -> Hypothesis:
        """A pose of a few keypoints, made of all that it guides to: as good as an answer that it is compared with."""
        matches = rough.sight.matches
        found = find_pose(self._pose, matches, query)
        if found is None:
            return rough
        inliers = np.unique(matches.point_indices[agreeing(found, self._pose, matches, query)])
        return Hypothesis.of(found, inliers, lookout, self.map) if len(inliers) else rough

    def _unless_rivalled(
        self, result: LocalizationResult, shown: Hypothesis, others: Sequence[Hypothesis]
    ) -> LocalizationResult:
        """An answer; none where it leads one of the others, of another place, by too little."""
        elsewhere = [other for other in others if not self._of_one_place(shown, other)]
        leads = [lead(shown, other) for other in elsewhere]
        if min(leads, default=np.inf) >= self._verifier.min_lead:
            return result
        other = elsewhere[int(np.argmin(leads))]
        frame_id = self.map.scene_of(other.inlier_points).frame_id
        apart_m, _ = shown.map_from_rig.distance_to(other.map_from_rig)
        where = f"{apart_m:.1f} m away" if frame_id == result.frame_id else f"in {frame_id}"
        reason = f"another place, {where}, explains the image as well: {min(leads):+.1%} of what is expected"
        return result.refused_as(Status.AMBIGUOUS, reason)

    def _of_one_place(self, first: Hypothesis, second: Hypothesis) -> bool:
        scenes = [self.map.scene_of(hypothesis.inlier_points) for hypothesis in (first, second)]
        return scenes[0] is scenes[1] and not is_elsewhere(first.map_from_rig, second.map_from_rig)

    def _hypothesis(self, result: LocalizationResult, lookout: Lookout) -> Hypothesis:
        assert result.map_from_rig is not None
        return Hypothesis.of(result.map_from_rig, np.unique(result.inlier_points), lookout, self.map)

    def _rival(self, best: _Answer, query: Query) -> tuple[Pose, Array] | None:
        """Another place that many keypoints fit as well."""
        neighbours = best.part.neighbours or best.matches.neighbours
        if best.part.windows or neighbours is None:  # who knows where it is has nothing to choose
            return None
        return rival_of(best.result, neighbours, query, landmark_map=self.map, pose=self._pose)

    def _proposals(self, features: Sequence[Features], query: Query) -> Iterator[Proposal]:
        for proposer in (self._prior_view, *self._proposers):
            yield from proposer.propose(features, query)


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What was made of the matches with one part of the map."""

    result: LocalizationResult
    matches: Matches
    part: Proposal


@dataclass(frozen=True, slots=True, eq=False)
class _Contender:
    """A part of the map, and the pose that it suggests."""

    part: Proposal
    hypothesis: Hypothesis


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
