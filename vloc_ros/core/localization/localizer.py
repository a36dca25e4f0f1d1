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

"""The way of an image: candidates, hypotheses, a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vloc_ros.core.config import TrackingConfig
from vloc_ros.core.features.keypoints import Extractor, Features, extract_scaled
from vloc_ros.core.localization.candidates import Candidate, CandidateGenerator
from vloc_ros.core.localization.hypotheses import PoseSolver
from vloc_ros.core.localization.observation import Observation, StageClock
from vloc_ros.core.localization.resolution import MapResolution, convert_pixels, restore_pixels
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.scan_search import NoScans, ScanSearch
from vloc_ros.core.localization.selection import Decision, HypothesisSelector
from vloc_ros.core.localization.views_from_above import AerialSearch
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import PosePrior, Query

_NO_GRAVITY = "the map's aerial tiles were not searched, since gravity is unknown"
# places that are tried one after the other, each since it explains the image better than the one before
_MOST_BETTER_PLACES = 3


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
        scans: ScanSearch | None = None,
        tiles: AerialSearch | None = None,
        prior_from_above: CandidateGenerator | None = None,
        last_pass: CandidateGenerator | None = None,
        always_last_pass: bool = False,
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
            scans: localizes point clouds; None for a map without LiDAR places.
            tiles: localizes views from above; None for a map without aerial tiles.
            prior_from_above: candidates from a prior that the tiles gave; None where these are the map.
            last_pass: of candidates that are tried on request where the others gave no decision, since their solver
                takes long; None for none.
            always_last_pass: without a request too.
        """
        self.map_index, self.map, self.extractor = map_index, map_index.map, extractor
        self._prior, self._generators = prior, (prior, *generators)
        self._solvers, self.selector, self._tracking = solvers, selector, tracking
        self._resolution = MapResolution(self.map, extractor)
        self._scans: ScanSearch = scans or NoScans()
        self._tiles = tiles
        self._prior_from_above = () if prior_from_above is None else (prior_from_above,)
        self._last_pass, self._always_last_pass = () if last_pass is None else (last_pass,), always_last_pass

    @property
    def has_tiles(self) -> bool:
        """Whether views from above can be localized, see `Query.flight`."""
        return self._tiles is not None

    def localize(self, query: Query, *, on_request: bool = False) -> LocalizationResult:
        """A pose with its covariance, or a typed refusal.

        With a prior, the keypoints of a smaller image that match where it says give a result in a fraction of the time.
        Where they do not, the query is searched for as if it had no prior. A point cloud counts where the images have
        no answer, or there are none. Then images are searched from above: among the map's aerial tiles, where gravity
        says which way is down or the map has no landmarks. Landmarks are searched for around the pose that they give.

        Args:
            query: images, a point cloud, or both.
            on_request: somebody waits for this very answer, and it may take longer, see `matcher.last_pass`.
        """
        clock = StageClock()
        if len(self.map.points) and query.views:
            result = self._search_images(query, clock, on_request=on_request)
            result = result if result.ok else self._search_scan(query, result, clock)
        elif query.cloud is None and self.has_tiles:
            return self._search_tiles(query, clock)
        else:
            result = self._scans.search(self._observe(query, clock)).result.timed(clock.times_ms, 0)
        return result if result.ok or not query.views else self._search_from_above(query, result, clock)

    def localize_features(
        self, features: Sequence[Features], query: Query, *, on_request: bool = False
    ) -> LocalizationResult:
        """`localize` for features that were extracted before, in pixels of the query's images."""
        working = self._resolution.reduce(query)
        scaled = convert_pixels(features, query, working)
        observation = Observation(working, self.map, StageClock(), lambda: scaled)
        result = self._search_everywhere(observation, on_request=on_request)
        return restore_pixels(result, query, working)

    def extract(self, query: Query) -> tuple[Features, ...]:
        """The features of every view, in pixels of its image."""
        working = self._resolution.reduce(query)
        return convert_pixels(self._extract(working), working, query)

    def _reduce(self, query: Query, clock: StageClock) -> Query:
        """A query in the map's resolution; the time that this takes is one of its features."""
        if not self._resolution.is_exceeded_by(query):
            return query
        with clock.stage("features"):
            return self._resolution.reduce(query)

    def _extract(self, query: Query) -> tuple[Features, ...]:
        return tuple(self.extractor.extract(view.image).seen_through(view.camera) for view in query.views)

    def _search_images(self, query: Query, clock: StageClock, *, on_request: bool) -> LocalizationResult:
        working = self._reduce(query, clock)
        scale = self._tracking_scale(working)
        if scale < 1.0:
            reduced = self._observe(working, clock, scale)
            tracked = self._search(reduced, [self._prior])
            if tracked.result.ok:
                result = tracked.result.timed(clock.times_ms, reduced.keypoint_count)
                return restore_pixels(result, query, working)
            working = replace(working, prior=None)
        result = self._search_everywhere(self._observe(working, clock), on_request=on_request)
        return restore_pixels(result, query, working)

    def _search(self, observation: Observation, generators: Sequence[CandidateGenerator]) -> Decision:
        """The first final decision, candidate by candidate; where none is final, the one that progressed furthest."""
        decision = Decision.undecided()
        for generator in generators:
            for candidate in observation.clock.iterate("candidates", generator.generate(observation)):
                decision = decision.or_better(self._decide(candidate, observation))
                if decision.is_final:
                    return decision
        return decision

    def _decide(self, candidate: Candidate, observation: Observation) -> Decision:
        """What a candidate amounts to. Where another place explains the image better, that one is tried, and so on."""
        first = decision = self._decide_on(candidate, observation)
        for _ in range(_MOST_BETTER_PLACES):
            if decision.better is None:
                break
            decision = self._decide_on(decision.better, observation)
        return decision if decision.result.ok else first

    def _decide_on(self, candidate: Candidate, observation: Observation) -> Decision:
        hypotheses = self._solvers[candidate.kind].solve(observation, candidate)
        return self.selector.decide(hypotheses, candidate, observation)

    def _search_everywhere(self, observation: Observation, *, on_request: bool) -> LocalizationResult:
        decision = self._search(observation, self._generators)
        if not decision.is_final and (on_request or self._always_last_pass):
            decision = decision.or_better(self._search(observation, self._last_pass))
        result = decision.result
        if result.status is Status.NO_CANDIDATES and not observation.keypoint_count and observation.query.views:
            result = LocalizationResult.refused(Status.NO_FEATURES, "the image shows no keypoints")
        return result.timed(observation.clock.times_ms, observation.keypoint_count)

    def _search_scan(self, query: Query, visual: LocalizationResult, clock: StageClock) -> LocalizationResult:
        """What the query's point cloud says, or the refusal of the images where it has none."""
        if query.cloud is None or isinstance(self._scans, NoScans):
            return visual
        found = self._scans.search(self._observe(query, clock)).result
        keep_visual = not found.ok and visual.progress >= found.progress
        return visual if keep_visual else found.timed(clock.times_ms, visual.keypoints)

    def _search_from_above(self, query: Query, refusal: LocalizationResult, clock: StageClock) -> LocalizationResult:
        """What aerial tiles say of images that have no other answer, or their refusal where it says more."""
        if not self.has_tiles:
            return refusal
        if query.flight.down is None and len(self.map.points):
            return replace(refusal, reason=f"{refusal.reason}; {_NO_GRAVITY}")
        above = self._search_tiles(query, clock)
        if not above.ok:
            return refusal.timed(clock.times_ms, refusal.keypoints) if refusal.progress >= above.progress else above
        below = self._search_below(query, above, clock)
        return below if below.ok else above

    def _search_tiles(self, query: Query, clock: StageClock) -> LocalizationResult:
        assert self._tiles is not None
        found = self._tiles.search(query, clock)
        return found.timed(clock.times_ms, found.keypoints)

    def _search_below(self, query: Query, above: LocalizationResult, clock: StageClock) -> LocalizationResult:
        """The pose by the landmarks around one that aerial tiles gave, which is the less exact."""
        assert above.map_from_rig is not None
        assert above.covariance is not None
        prior = PosePrior(above.map_from_rig, above.covariance, above.frame_id)
        working = self._reduce(replace(query, prior=prior), clock)
        observation = self._observe(working, clock)
        result = self._search(observation, self._prior_from_above).result
        result = replace(result, candidate=f"aerial/{result.candidate}") if result.ok else result
        return restore_pixels(result.timed(clock.times_ms, observation.keypoint_count), query, working)

    def _observe(self, query: Query, clock: StageClock, scale: float = 1.0) -> Observation:
        """The keypoints of a query's views at an image scale, extracted when they are needed."""

        def extract() -> Sequence[Features]:
            with clock.stage("features"):
                if scale < 1.0:
                    return [
                        extract_scaled(self.extractor, view.image, scale).seen_through(view.camera)
                        for view in query.views
                    ]
                return self._extract(query)

        return Observation(query, self.map, clock, extract)

    def _tracking_scale(self, query: Query) -> float:
        """Image scale with a prior; 1 without one, or where the images are small."""
        if query.prior is None or not query.views:
            return 1.0
        width = min(view.camera.width for view in query.views)
        least = max(self.extractor.least_scale, self._tracking.min_image_width_px / width)
        return max(self._tracking.image_scale, least)
