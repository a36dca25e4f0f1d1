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

"""Localization from above: tiles are retrieved, a view's keypoints matched with theirs, and one pose is decided on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from vloc_ros.core.config import TileConfig, VerificationConfig
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.features.nearest_neighbours import match_mutual
from vloc_ros.core.geometry.covariance import CovarianceCalibration, apply_calibration
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.acceptance import AcceptanceModel
from vloc_ros.core.localization.evidence import CLEAR_MARGIN
from vloc_ros.core.localization.ground_pose import (
    PosePriors,
    pose_from_points,
    pose_from_similarity,
    refine_above_ground,
)
from vloc_ros.core.localization.ground_view import AerialQuery, GroundViewError
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.tile_evidence import TileEvidence, measure_tile_evidence
from vloc_ros.core.localization.tile_places import AerialPlaces, GroundKeypoints
from vloc_ros.core.localization.tile_views import LEAST_KEYPOINTS, TileView, explain_too_few, observe
from vloc_ros.core.retrieval.tile_placement import TilePlacement

_LEAST_INLIERS, _RATIO = 6, 0.9
# hypotheses that are matched again with all that the map has in view
_REFINED = 3
# poses whose ground differs by less do not compete: parts of the footprint
_SAME_PLACE, _SAME_YAW_RAD = 0.25, 0.35
# of a pose's support, that of a competing one from which on either may be right, however well supported both are
_ALIKE_SHARE = 0.5
# of a scale, against the altitude; and of a yaw, against a compass
_SCALE_SIGMAS, _LEAST_SCALE, _MOST_YAW_RAD = 3.0, 0.2, 0.6
_MOST_KEYPOINTS = 8000
# tiles retrieved of all, over those where a prior expects the view
_EXPECTED = 2
# of the ground, in the search for hypotheses
_COARSE_GROUND = 2500


@dataclass(frozen=True, slots=True, eq=False)
class TileHypothesis:
    """A pose of a view above one ground size of tiles.

    Attributes:
        scene: number of the scene.
        scene_from_camera: the pose of the optical frame.
        covariance: (6, 6) by the matches and what is known besides, not calibrated.
        view: number of the size of the level view, the finest first.
        evidence: without the margin.
        middle: of the ground that the view shows, x + iy metres in the scene.
        reach: from there along the view's x axis, half of its diagonal, x + iy metres.
        matches: number of matches.
        inlier_xy: (M, 2) pixels of the image whose matches agree with the pose.
        inlier_points: (M, 3) where they lie, metres in the scene.
    """

    scene: int
    scene_from_camera: Pose
    covariance: Array
    view: int
    evidence: TileEvidence
    middle: complex
    reach: complex
    matches: int
    inlier_xy: Array
    inlier_points: Array

    @property
    def footprint_m(self) -> float:
        """Half of the diagonal of what the view shows."""
        return abs(self.reach)


class TileAnswer(NamedTuple):
    """The answer to a view, and what it was decided by.

    Attributes:
        result: the pose of the camera in the map, or a refusal.
        leader: the hypothesis that was accepted; None of a refusal.
        similarities: (P,) how much every tile resembles the view, as the cosine of global descriptors, at the most
            similar of the sizes that were searched; None where the view shows too little to be searched for.
    """

    result: LocalizationResult
    leader: TileHypothesis | None = None
    similarities: Array | None = None


class _Laid(NamedTuple):
    """A view laid on the ground by a similarity.

    Attributes:
        view: that is laid.
        scene: number of the scene.
        size_m: ground size of the tiles that it was matched with.
        inliers: number of them.
        middle: of the ground that it shows, x + iy metres in the scene.
        reach: from there along the view's x axis, half of its diagonal, x + iy metres.
    """

    view: TileView
    scene: int
    size_m: float
    inliers: int
    middle: complex
    reach: complex

    @staticmethod
    def of(view: TileView, scene: int, size_m: float, turn: complex, shift: complex, inliers: Array) -> _Laid:
        """By the similarity from its pixels, y up, to metres, and its (M,) inliers."""
        camera = view.level.camera
        middle = turn * (camera.width - 1j * camera.height) / 2 + shift
        reach = turn * view.radius_px
        return _Laid(view, scene, size_m, int(inliers.sum()), middle, reach)


class TileSearch:
    """Retrieves aerial tiles, matches a view with them, and decides."""

    def __init__(
        self,
        places: AerialPlaces,
        *,
        extractor: Extractor,
        config: TileConfig,
        verification: VerificationConfig,
        model: AcceptanceModel,
        calibration: CovarianceCalibration,
        placement: TilePlacement | None = None,
    ) -> None:
        """A search among tiles.

        Args:
            places: of the map.
            extractor: of the map.
            config: how many tiles are tried.
            verification: at which share of negatives confidence is stated.
            model: the acceptance table of tiles.
            calibration: of the covariance.
            placement: how well the tiles lie in the frame of the map, a part of the covariance; None where they are it.
        """
        self._placement = placement or TilePlacement()
        self._places, self._extractor, self._config = places, extractor, config
        self._model, self._calibration, self._share = model, calibration, verification.negative_share
        self._threshold = model.threshold(config.false_accept_rate)

    def localize(self, query: AerialQuery) -> LocalizationResult:
        """The pose of the camera in the map, or a refusal that says why there is none."""
        return self.search(query).result

    def search(self, query: AerialQuery) -> TileAnswer:
        """As `localize`, with what the answer was decided by."""
        found, result, most = list[TileHypothesis](), None, 0
        similarities = np.full(len(self._places.places), -1.0)
        try:
            for view in observe(query, self._places, self._extractor):
                most = max(most, len(view.features))
                if len(view.features) >= LEAST_KEYPOINTS:
                    similarities = np.maximum(similarities, view.similarity)
                    found += self._hypotheses(view)
                    result = self.decide(found)
                    if result.ok:
                        return TileAnswer(replace(result, keypoints=most), self._lead(found)[0], similarities)
        except GroundViewError as error:
            return TileAnswer(LocalizationResult.refused(Status.NO_FEATURES, str(error)))
        if result is None:
            return TileAnswer(LocalizationResult.refused(Status.NO_FEATURES, explain_too_few(most)))
        return TileAnswer(replace(result, keypoints=most), None, similarities)

    def find(self, query: AerialQuery) -> list[TileHypothesis]:
        """All hypotheses of a view; none where it shows too little."""
        try:
            views = list(observe(query, self._places, self._extractor))
        except GroundViewError:
            return []
        return [one for view in views if len(view.features) >= LEAST_KEYPOINTS for one in self._hypotheses(view)]

    def _hypotheses(self, view: TileView) -> list[TileHypothesis]:
        places, coarse = self._places, list[_Laid]()
        for place in self._retrieve(view):
            size_m, scene = places.ground_size(place), int(places.places.scenes[place])
            radius_m = places.places.extents[place, 0] / 2
            if view.level.ground_size_m is not None:
                radius_m = max(radius_m, view.radius_px * view.level.ground_size_m)
            centre = places.places.translations[place, :2]
            ground = places.around(scene, centre, radius_m=radius_m, ground_size_m=size_m)
            rows, columns = _match(view.projected, ground, most=_COARSE_GROUND)
            found = self._similarity(view, ground, rows, columns)
            if found is not None:
                coarse.append(_Laid.of(view, scene, size_m, *found))
        chosen: list[_Laid] = []
        for one in sorted(coarse, key=lambda one: -one.inliers):
            if not any(_alike(one, other) for other in chosen):
                chosen.append(one)
        refined = [self._refine(one) for one in chosen[:_REFINED]]
        return [one for one in refined if one is not None]

    def _retrieve(self, view: TileView) -> list[int]:
        """The tiles that resemble a view most, and some of those where it is expected.

        The former are the same with a prior as without: poses elsewhere compete with one where it says.
        """
        places, count = self._places, self._config.retrieval_top_k
        found: list[int] = places.most_similar(view.similarity, count=count).tolist()
        if view.query.prior is None:
            return found
        expected = np.flatnonzero(places.near(view.query.prior))
        count = min(-(-count // _EXPECTED), len(expected))
        more = expected[places.most_similar(view.similarity[expected], count=count)] if count else expected
        return list(dict.fromkeys([*found, *more.tolist()]))

    def _similarity(
        self, view: TileView, ground: GroundKeypoints, rows: Array, columns: Array
    ) -> tuple[complex, complex, Array] | None:
        """Turn, shift and inliers of the similarity from pixels to the ground that most matches agree with."""
        if len(rows) < _LEAST_INLIERS:
            return None
        source = np.column_stack([view.pixels[rows].real, view.pixels[rows].imag])
        limit_m = self._config.max_error_px * ground.ground_size_m
        target = ground.points[columns, :2]
        middle = target.mean(axis=0)  # OpenCV computes with 32 bits
        matrix, inliers = cv2.estimateAffinePartial2D(
            source, target - middle, ransacReprojThreshold=limit_m, maxIters=3000, confidence=0.999
        )
        if matrix is None or inliers.sum() < _LEAST_INLIERS:
            return None
        turn = complex(matrix[0, 0], matrix[1, 0])
        if not self._is_possible(view, turn):
            return None
        return turn, complex(matrix[0, 2] + middle[0], matrix[1, 2] + middle[1]), inliers.ravel().astype(bool)

    def _is_possible(self, view: TileView, turn: complex) -> bool:
        """Whether scale and yaw agree with altitude and compass, where these are known."""
        query, size_m = view.query, view.level.ground_size_m
        if not abs(turn) > 0:
            return False
        if size_m is not None:
            most = max(_SCALE_SIGMAS * query.altitude_std, _LEAST_SCALE)
            if abs(np.log(abs(turn) / size_m)) > most:
                return False
        if query.yaw_rad is None:
            return True
        yaw = np.angle(turn) + np.pi / 2 - query.yaw_rad
        return bool(abs(np.angle(np.exp(1j * yaw))) <= _MOST_YAW_RAD)

    def _refine(self, laid: _Laid) -> TileHypothesis | None:
        """Match the view with all that the map has in its footprint, and estimate the pose."""
        view, middle, size_m = laid.view, laid.middle, laid.size_m
        centre = np.array([middle.real, middle.imag])
        ground = self._places.around(laid.scene, centre, radius_m=abs(laid.reach), ground_size_m=size_m)
        rows, columns = _match(view.projected, ground)
        found = self._similarity(view, ground, rows, columns)
        if found is None:
            return None
        turn, shift, inliers = found
        posed = self._pose(view, ground, rows[inliers], columns[inliers], turn, shift)
        if posed is None:
            return None
        pose, covariance = posed
        evidence = self._evidence(view, ground, rows, columns, turn, shift)
        turned = Pose(pose.rotation @ view.level.level_from_camera.rotation, pose.translation)
        fitted = _Laid.of(view, laid.scene, size_m, turn, shift, inliers)
        xy, points = view.to_image(view.features.xy[rows[inliers]]), ground.points[columns[inliers]]
        return TileHypothesis(
            laid.scene, turned, covariance, view.number, evidence, fitted.middle, fitted.reach, len(rows), xy, points
        )

    def _pose(
        self, view: TileView, ground: GroundKeypoints, rows: Array, columns: Array, turn: complex, shift: complex
    ) -> tuple[Pose, Array] | None:
        query, camera = view.query, view.level.camera
        xy, points = view.features.xy[rows].astype(float), ground.points[columns]
        ground_z = float(np.median(points[:, 2]))
        start: Pose | None = pose_from_similarity(turn, shift, camera, ground_z)
        if query.down is None:
            error_px = self._config.max_error_px * ground.ground_size_m / abs(turn)
            start = pose_from_points(xy, points, camera, max_error_px=error_px)
        if start is None:
            return None
        down_std = None if query.down is None else query.down_std_rad
        altitude_m = None if query.altitude_m is None else query.altitude_m + ground_z
        priors = PosePriors(down_std, altitude_m, query.altitude_std * (query.altitude_m or 0.0))
        return refine_above_ground(start, xy, points, camera, priors)

    def _evidence(
        self, view: TileView, ground: GroundKeypoints, rows: Array, columns: Array, turn: complex, shift: complex
    ) -> TileEvidence:
        camera, on_ground = view.level.camera, ground.points[:, 0] + 1j * ground.points[:, 1]
        residuals = np.abs(turn * view.pixels[rows] + shift - on_ground[columns]) / ground.ground_size_m
        inliers = residuals <= self._config.max_error_px
        expected = (on_ground - shift) / turn
        expected_xy = np.column_stack([expected.real, -expected.imag])
        seen = view.shows(expected_xy)
        tile_px = abs(turn) / ground.ground_size_m
        chance = np.pi * self._config.max_error_px**2 / (camera.width * camera.height * tile_px**2)
        return measure_tile_evidence(
            inlier_xy=view.features.xy[rows[inliers]],
            residuals_px=residuals[inliers],
            matches=int((seen[columns]).sum()),
            view_xy=view.features.xy,
            expected_xy=expected_xy[seen],
            size=(camera.width, camera.height),
            chance=min(float(chance), 0.5),
        )

    def weigh(self, hypotheses: Sequence[TileHypothesis]) -> list[tuple[TileHypothesis, TileEvidence]]:
        """Each hypothesis, with the margin over the best one of another pose."""
        weighed = []
        for one in hypotheses:
            others = [other.evidence.support for other in _list_competing(one, hypotheses)]
            margin = min([CLEAR_MARGIN, *(one.evidence.support - support for support in others)])
            weighed.append((one, replace(one.evidence, margin=margin)))
        return weighed

    def decide(self, hypotheses: Sequence[TileHypothesis]) -> LocalizationResult:
        """Accept the best hypothesis where its score reaches the threshold and no other explains the view as well."""
        if not hypotheses:
            reason = (
                "no retrieved tile shows what the view does: another place, too different a time, or a wrong focal "
                "length or altitude?"
            )
            return LocalizationResult.refused(Status.TOO_FEW_MATCHES, reason)
        leader, evidence = self._lead(hypotheses)
        score = self._model.score(evidence)
        result = self.publishable(leader, self._model.confidence(score, self._share))
        if score >= self._threshold:
            other = max((one.evidence.support for one in _list_competing(leader, hypotheses)), default=0.0)
            if other >= _ALIKE_SHARE * evidence.support:  # at most one of them is right
                reason = f"two places look alike, with a support of {evidence.support:.0%} and {other:.0%}"
                return replace(result, confidence=min(result.confidence, 0.5)).refused_as(Status.AMBIGUOUS, reason)
            return result
        needed = self._model.confidence(self._threshold, self._share)
        needs = f"confidence {result.confidence:.1%}, at least {needed:.1%} is needed"
        if self._model.score(replace(evidence, margin=CLEAR_MARGIN)) >= self._threshold:
            reason = f"two places look alike, by a margin of {evidence.margin:+.1%}; {needs}"
            return result.refused_as(Status.AMBIGUOUS, reason)
        return result.refused_as(Status.POSE_REJECTED, f"{self._model.explain(evidence)}: {needs}")

    def _lead(self, hypotheses: Sequence[TileHypothesis]) -> tuple[TileHypothesis, TileEvidence]:
        """The best of one hypothesis or more, the one that is decided on."""
        return max(self.weigh(hypotheses), key=lambda one: self._model.score(one[1]))

    def publishable(self, one: TileHypothesis, confidence: float) -> LocalizationResult:
        """A hypothesis as a result in its map frame, its covariance calibrated."""
        scene, places = self._places.map.scenes[one.scene], self._places.places
        middle = places.translations[places.scenes == one.scene].mean(axis=0)
        placed = self._placement.uncertainty(middle).at(one.scene_from_camera.translation)
        return LocalizationResult(
            Status.OK,
            map_from_rig=scene.map_from(one.scene_from_camera),
            covariance=apply_calibration(one.covariance, self._calibration) + placed,
            frame_covariance=placed,
            frame_id=scene.frame_id,
            matches=one.matches,
            inliers=round(float(np.expm1(one.evidence.inliers))),
            confidence=confidence,
            candidate="retrieval/aerial",
        )


def _match(projected: Array, ground: GroundKeypoints, *, most: int = _MOST_KEYPOINTS) -> tuple[Array, Array]:
    """Rows and columns of mutual nearest neighbours that are clearly nearer than the second (Lowe 2004)."""
    if min(len(projected), len(ground.points)) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    kept = np.arange(0, len(ground.points), -(-len(ground.points) // most))
    rows, columns = match_mutual(projected, ground.descriptors[kept], ratio=_RATIO)
    return rows, kept[columns]


def _alike(one: _Laid, other: _Laid) -> bool:
    """Whether two similarities lay the view on the same ground."""
    apart = abs(one.middle - other.middle) + abs(one.reach - other.reach)
    return one.scene == other.scene and apart < _SAME_PLACE * max(abs(one.reach), abs(other.reach))


def _list_competing(one: TileHypothesis, hypotheses: Sequence[TileHypothesis]) -> list[TileHypothesis]:
    """Those that show other ground."""
    return [other for other in hypotheses if other is not one and not _is_same(one, other)]


def _is_same(one: TileHypothesis, other: TileHypothesis) -> bool:
    """Whether two hypotheses show the same ground: of unknown tilt, their positions may differ all the same."""
    most_m = _SAME_PLACE * max(one.footprint_m, other.footprint_m)
    near = max(abs(one.middle - other.middle), abs(one.footprint_m - other.footprint_m)) < most_m
    turned_rad = abs(float(np.angle(one.reach / other.reach)))
    return one.scene == other.scene and near and turned_rad < _SAME_YAW_RAD
