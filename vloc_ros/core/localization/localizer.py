"""The way of an image: candidates, hypotheses, a decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from vloc_ros.core.config import TrackingConfig
from vloc_ros.core.features.keypoints import Extractor, Features, extract_scaled
from vloc_ros.core.localization.candidates import Candidate, CandidateGenerator
from vloc_ros.core.localization.hypotheses import PoseSolver
from vloc_ros.core.localization.observation import Observation, StageClock
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.selection import Decision, HypothesisSelector
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import Query


class Localizer:
    """Localizes queries in one map. Not thread-safe: one worker owns it."""

    def __init__(
        self,
        map_index: MapIndex,
        *,
        extractor: Extractor,
        prior: CandidateGenerator,
        generators: Sequence[CandidateGenerator],
        solvers: Mapping[str, PoseSolver],
        selector: HypothesisSelector,
        tracking: TrackingConfig,
    ) -> None:
        """A localizer of stages, see `assembly.build_localizer`.

        Args:
            map_index: the map.
            extractor: the map's own.
            prior: candidates from a query's prior.
            generators: of further candidates, in the order of cost and evidence.
            solvers: by kind of candidate.
            selector: decides on the hypotheses.
            tracking: image size with a prior.
        """
        self.map_index, self.map = map_index, map_index.map
        self._extractor, self._prior, self._generators = extractor, prior, (prior, *generators)
        self._solvers, self._selector, self._tracking = solvers, selector, tracking

    def localize(self, query: Query) -> LocalizationResult:
        """A pose with its covariance, or a typed refusal.

        With a prior, the keypoints of a smaller image that match where it says give a result in a fraction of the time.
        Where they do not, the query is searched for as if it had no prior.
        """
        clock, scale = StageClock(), self._tracking_scale(query)
        if scale < 1.0:
            reduced = self._observe(query, clock, scale)
            if expected := list(self._candidates(reduced, [self._prior])):
                result = self._search(reduced, iter(expected))
                if result.ok:
                    return result
                query = replace(query, prior=None)
        observation = self._observe(query, clock)
        return self._search(observation, self._candidates(observation, self._generators))

    def localize_features(self, features: Sequence[Features], query: Query) -> LocalizationResult:
        """`localize` for features that were extracted before."""
        observation = Observation(query, self.map, StageClock(), lambda: features)
        return self._search(observation, self._candidates(observation, self._generators))

    def extract(self, query: Query) -> tuple[Features, ...]:
        """The features of every view."""
        return tuple(self._extractor.extract(view.image) for view in query.views)

    def _search(self, observation: Observation, candidates: Iterator[Candidate]) -> LocalizationResult:
        """Match each candidate and decide on its hypotheses, until a decision is final."""
        if not observation.keypoint_count and observation.query.cloud is None:
            refusal = LocalizationResult.refused(Status.NO_FEATURES, "the image shows no keypoints")
            return refusal.timed(observation.clock.times_ms, 0)
        decision = Decision.undecided()
        for candidate in candidates:
            hypotheses = self._solvers[candidate.kind].solve(observation, candidate)
            decision = decision.or_better(self._selector.decide(hypotheses, candidate, observation))
            if decision.is_final:
                break
        return decision.result.timed(observation.clock.times_ms, observation.keypoint_count)

    def _candidates(self, observation: Observation, generators: Sequence[CandidateGenerator]) -> Iterator[Candidate]:
        """Of all generators in turn, each made when the one before did not decide."""
        for generator in generators:
            generated = generator.generate(observation)
            while True:
                with observation.clock.stage("candidates"):
                    candidate = next(generated, None)
                if candidate is None:
                    break
                yield candidate

    def _observe(self, query: Query, clock: StageClock, scale: float = 1.0) -> Observation:
        """The keypoints of a query's views at an image scale, extracted when they are needed."""

        def extract() -> Sequence[Features]:
            with clock.stage("features"):
                if scale < 1.0:
                    return [extract_scaled(self._extractor, view.image, scale) for view in query.views]
                return self.extract(query)

        return Observation(query, self.map, clock, extract)

    def _tracking_scale(self, query: Query) -> float:
        """Image scale with a prior; 1 where the images are small."""
        widths = [view.camera.width for view in query.views]
        return max(self._tracking.image_scale, self._tracking.min_image_width_px / min(widths)) if widths else 1.0
