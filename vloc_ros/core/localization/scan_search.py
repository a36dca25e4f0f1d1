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

"""The way of a scan: places, alignments, the one decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from vloc_ros.core.clouds.place_clouds import level
from vloc_ros.core.clouds.point_cloud import level_ground_share
from vloc_ros.core.config import CloudConfig, VerificationConfig
from vloc_ros.core.geometry.covariance import CovarianceCalibration, apply_calibration
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.acceptance import AcceptanceModel
from vloc_ros.core.localization.cloud_evidence import CloudAgreement, CloudEvidence, measure_agreement
from vloc_ros.core.localization.evidence import CLEAR_MARGIN
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.scan_covariance import describe_open_position, estimate_covariance
from vloc_ros.core.localization.scan_places import LidarPlaces, PlaceGuess, is_certain
from vloc_ros.core.localization.selection import Decision

# fewer points determine nothing
_MIN_POINTS = 100
# poses that differ by less do not compete: in metres, whatever the range of the map, as a wrong pose is wrong by metres
_SAME_PLACE_M, _SAME_PLACE_RAD = 0.5, 0.2
# of a scan with z up, more of the points lie on one level plane
_LEVEL_GROUND = 0.05
# cosine of how far two frames whose z axes point up may be tilted against each other
_UPRIGHT = 0.8
# similarities of views from above that differ by less do not tell which place is the right one
_ALIKE = 0.1
# neighbouring places guess the same pose, so many of which are tried; two guesses are of one pose within a share of the
# range of the map
_PLACES_OF_ONE_POSE, _SAME_GUESS = 2, 0.05
# coarse alignments that are refined: of different poses, those that overlap most
_FINALISTS = 4


class ScanSearch(Protocol):
    """Localizes the clouds of queries."""

    def search(self, observation: Observation) -> Decision:
        """A decision on a query's cloud; undecided where there is nothing to decide."""
        ...


class NoScans:
    """A map without LiDAR places."""

    def search(self, observation: Observation) -> Decision:
        """Nothing."""
        reason = "the map has no LiDAR places with points and descriptors; make them with `vloc map lidar`"
        return Decision(LocalizationResult.refused(Status.NO_CANDIDATES, reason))


@dataclass(frozen=True, slots=True, eq=False)
class ScanHypothesis:
    """A pose of a scan by one place.

    Attributes:
        guess: the place.
        scene: number of its scene.
        place_from_scan: the alignment.
        scene_from_rig: the pose.
        covariance: (6, 6) of the rig in the scene by the matches, not calibrated.
        agreement: with the place.
        name: of the candidate.
    """

    guess: PlaceGuess
    scene: int
    place_from_scan: Pose
    scene_from_rig: Pose
    covariance: Array
    agreement: CloudAgreement
    name: str

    @property
    def evidence(self) -> CloudEvidence:
        """Without the margin."""
        return self.agreement.evidence


@dataclass(frozen=True, slots=True, eq=False)
class _Scan:
    """A query's cloud: levelled points, prepared points, and where it is on the rig."""

    points: Array
    prepared: Any
    rig_from_scan: Pose


class PlaceSearch:
    """Retrieves LiDAR places by the scan's descriptor, aligns it with each, and decides."""

    def __init__(
        self,
        places: LidarPlaces,
        *,
        config: CloudConfig,
        verification: VerificationConfig,
        max_prior_std_m: float,
        model: AcceptanceModel,
        calibration: CovarianceCalibration,
    ) -> None:
        """A search among places.

        Args:
            places: of the map.
            config: how many places are tried.
            verification: when a pose is accepted.
            max_prior_std_m: a prior less certain is ignored.
            model: the acceptance table of clouds.
            calibration: of the covariance.
        """
        self._places, self._config, self._max_prior_std_m = places, config, max_prior_std_m
        self._model, self._calibration, self._verification = model, calibration, verification
        self._threshold = model.threshold(config.false_accept_rate)

    def search(self, observation: Observation) -> Decision:
        """A pose by the places that the scan resembles, and those near a prior."""
        query = observation.query
        if query.cloud is None:
            reason = "the map has LiDAR places alone and the query no scan; give a point cloud"
            return Decision(LocalizationResult.refused(Status.NO_CANDIDATES, reason))
        with observation.clock.stage("features"):
            points, rig_from_scan = level(query.cloud)
            scan = _Scan(points, self._places.registration.prepare(points), rig_from_scan)
        if (count := len(scan.prepared.points)) < _MIN_POINTS:
            reason = f"the scan has {count} voxels with points, at least {_MIN_POINTS} are needed"
            return Decision(LocalizationResult.refused(Status.NO_FEATURES, reason))
        near: list[ScanHypothesis] = []
        if query.prior is not None and is_certain(query.prior, max_std_m=self._max_prior_std_m):
            guesses = self._places.near(query.prior, rig_from_scan, best=self._config.prior_places)
            near = self.align(scan, guesses, "prior/lidar", observation)
        decision = self.decide(self.find(scan, observation, near), observation)
        return decision if decision.result.ok else _explain_frame(decision, scan.points)

    def find(self, scan: _Scan, observation: Observation, near: Sequence[ScanHypothesis] = ()) -> list[ScanHypothesis]:
        """Hypotheses of the places that a scan resembles; where none convinces, by a global registration too.

        Those near a prior are among them and have no advantage: a prior that is off by one aisle fits well, too.
        """
        with observation.clock.stage("candidates"):
            rows = self._places.encoder.encode_query(observation.query)
            guesses = self._keep_similar(self._places.retrieve(scan.points, rows, count=self._config.retrieval_top_k))
        found = [*near, *self.align(scan, guesses, "retrieval/lidar", observation)]
        if any(self._model.score(one.evidence) >= self._threshold for one in found):
            return found
        with observation.clock.stage("matching"):
            globally = [self._align_globally(scan, one) for one in guesses[: self._config.global_places]]
        again = [one for one in globally if one is not None]
        return [*found, *self.align(scan, again, "registration/lidar", observation)]

    def _keep_similar(self, guesses: Sequence[PlaceGuess]) -> list[PlaceGuess]:
        """The best guesses, and more where many places resemble the scan alike, as in a street of equal houses.

        Few of them are of one pose, so that those of competing poses are tried, too.
        """
        within_m = _SAME_GUESS * self._places.encoder.context.range_m
        kept = self._keep_few_of_one_pose(guesses, _PLACES_OF_ONE_POSE, within_m=within_m)
        alike = sum(one.similarity > kept[0].similarity - _ALIKE for one in kept)
        return kept[: min(max(alike, self._config.places), self._config.most_places)]

    def _keep_few_of_one_pose(self, guesses: Sequence[PlaceGuess], most: int, *, within_m: float) -> list[PlaceGuess]:
        """The first guesses of each pose, so many at most."""
        kept: list[tuple[PlaceGuess, Pose, int]] = []
        for guess in guesses:
            pose, scene = self._places.scene_from_scan(guess), int(self._places.places.scenes[guess.place])
            same = sum(scene == of_scene and _is_near(pose, other, within_m=within_m) for _, other, of_scene in kept)
            if same < most:
                kept.append((guess, pose, scene))
        return [guess for guess, _, _ in kept]

    def align(
        self, scan: _Scan, guesses: Sequence[PlaceGuess], name: str, observation: Observation
    ) -> list[ScanHypothesis]:
        """Hypotheses of the places that overlap most once the scan was aligned with each.

        Those that lay the scan on its side are left out: the z axes of both point up.
        """
        with observation.clock.stage("pose"):
            approached = sorted((self._approach(scan, guess) for guess in guesses), key=lambda one: -one.similarity)
            chosen = self._keep_few_of_one_pose(approached, 1, within_m=_SAME_PLACE_M)[:_FINALISTS]
            found = [self._align(scan, guess, name) for guess in chosen]
        return [one for one in found if one.place_from_scan.rotation[2, 2] > _UPRIGHT]

    def _approach(self, scan: _Scan, guess: PlaceGuess) -> PlaceGuess:
        """A guess at the pose of the coarse alignment, as similar as it overlaps there."""
        place = self._places.prepared(guess.place)
        pose, overlap = self._places.registration.approach(scan.prepared, place, guess.place_from_scan)
        return replace(guess, place_from_scan=pose, similarity=overlap)

    def decide(self, hypotheses: Sequence[ScanHypothesis], observation: Observation) -> Decision:
        """Accept the best hypothesis where its score reaches the threshold, unless a competing pose fits as well."""
        if not hypotheses:
            reason = "no place of the map can be aligned with the scan"
            return Decision(LocalizationResult.refused(Status.NO_CANDIDATES, reason))
        with observation.clock.stage("verification"):
            leader, evidence = max(self.weigh(hypotheses), key=lambda one: self._model.score(one[1]))
            score = self._model.score(evidence)
            result = self._publishable(leader, self._model.confidence(score, self._verification.negative_share))
            assert result.covariance is not None
            most_m = self._verification.max_position_std_m
            if reason := describe_open_position(result.covariance, most_m=most_m):
                return Decision(result.refused_as(Status.POSE_REJECTED, reason))
            if score >= self._threshold:
                return Decision(result, is_final=True)
            needed = self._model.confidence(self._threshold, self._verification.negative_share)
            needs = f"confidence {result.confidence:.1%}, at least {needed:.1%} is needed"
            if self._model.score(replace(evidence, margin=CLEAR_MARGIN)) >= self._threshold:
                reason = f"a competing pose overlaps about as well, by a margin of {evidence.margin:+.1%}; {needs}"
                return Decision(result.refused_as(Status.AMBIGUOUS, reason), is_final=True)
            reason = f"{self._model.explain(evidence)}: {needs}"
            return Decision(result.refused_as(Status.POSE_REJECTED, reason))

    def weigh(self, hypotheses: Sequence[ScanHypothesis]) -> list[tuple[ScanHypothesis, CloudEvidence]]:
        """Each hypothesis, with the margin over the best one of another pose."""
        weighed = []
        for one in hypotheses:
            others = [other.agreement.support for other in hypotheses if not self._is_same_pose(one, other)]
            margin = min([CLEAR_MARGIN, *(one.agreement.support - support for support in others)])
            weighed.append((one, replace(one.evidence, margin=margin)))
        return weighed

    def _is_same_pose(self, first: ScanHypothesis, second: ScanHypothesis) -> bool:
        return first.scene == second.scene and _is_near(
            first.scene_from_rig, second.scene_from_rig, within_m=_SAME_PLACE_M
        )

    def _align_globally(self, scan: _Scan, guess: PlaceGuess) -> PlaceGuess | None:
        found = self._places.registration.align_globally(scan.prepared, self._places.prepared(guess.place))
        return None if found is None else replace(guess, place_from_scan=found)

    def _align(self, scan: _Scan, guess: PlaceGuess, name: str) -> ScanHypothesis:
        places, registration = self._places.places, self._places.registration
        place = self._places.prepared(guess.place)
        place_from_scan = registration.refine(scan.prepared, place, guess.place_from_scan)
        matches = registration.match(scan.prepared, place, place_from_scan)
        agreement = measure_agreement(
            scan.prepared,
            place,
            place_from_scan,
            matches,
            registration.match(place, scan.prepared, place_from_scan.inverse()),
            voxel_m=self._places.voxel_m,
            range_m=self._places.encoder.context.range_m,
        )
        scene_from_place = places.pose(guess.place)
        scene_from_rig = scene_from_place @ place_from_scan @ scan.rig_from_scan.inverse()
        covariance = estimate_covariance(
            matches, agreement.on_surface, scene_from_place, scene_from_rig, voxel_m=self._places.voxel_m
        )
        scene = int(places.scenes[guess.place])
        return ScanHypothesis(guess, scene, place_from_scan, scene_from_rig, covariance, agreement, name)

    def _publishable(self, one: ScanHypothesis, confidence: float) -> LocalizationResult:
        scene, inliers = self._places.map.scenes[one.scene], int(np.expm1(one.evidence.inliers).round())
        of_frame = scene.frame_uncertainty.at(one.scene_from_rig.translation)
        return LocalizationResult(
            Status.OK,
            map_from_rig=scene.map_from(one.scene_from_rig),
            covariance=apply_calibration(one.covariance, self._calibration) + of_frame,
            frame_covariance=of_frame,
            frame_id=scene.frame_id,
            matches=one.agreement.upright,
            inliers=inliers,
            confidence=confidence,
            candidate=one.name,
        )


def _is_near(first: Pose, second: Pose, *, within_m: float) -> bool:
    distance_m, turn_rad = first.distance_to(second)
    return bool(distance_m < within_m and turn_rad < _SAME_PLACE_RAD)


def _explain_frame(decision: Decision, points: Array) -> Decision:
    """A refusal that says so where the scan shows no level ground: its z axis may not point up."""
    if decision.is_final or level_ground_share(points) >= _LEVEL_GROUND:
        return decision
    reason = f"{decision.result.reason}; the scan shows no level ground: does the z axis of its frame point up?"
    return replace(decision, result=replace(decision.result, reason=reason))
