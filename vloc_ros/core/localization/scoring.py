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

"""Scoring of poses: what a pose predicts against what the image shows.

A pose predicts where the map's points appear; a keypoint that lies there and looks like the point confirms it. In rooms
that are furnished alike many keypoints fit two poses, and the room whose map is denser gets more inliers, right or
wrong. What distinguishes the two is what should be visible and is not: the poster that hangs in one room only. So the
image is compared with both predictions, in the regions where both predict something: what one map happens to lack is no
evidence. All regions weigh alike: most points lie on furniture, which is the same in both rooms, and what is not, a
wall's own marks, lies in regions of few points. Differences count by their squares: one thing that is present or absent
is stronger evidence than a little noise everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from vloc_ros.core.features.descriptor_statistics import DescriptorLimit
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.integer_arrays import sorted_unique
from vloc_ros.core.localization.guided_matching import GuidedPairs, pair_at_projections
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.map.scene import Scene

_GRID = (8, 8)
_REGIONS = _GRID[0] * _GRID[1]
# keyframes whose points a pose is expected to show
KEYFRAMES = 8
# similarity is measured in a smaller circle than matches are searched in: a rough pose has to find matches, and a good
# one has to be distinguished from another
_SIMILARITY_RADIUS_PX = 6.0
# regions with fewer expected points are not counted as confirmed or not
MIN_EXPECTED = 3
_MIN_CONFIRMED = 0.15
# with fewer regions to compare, numbers of confirmed points decide: twice as many are worth a margin of 7 %
_MIN_REGIONS, _NUMBER_WEIGHT = 3, 0.1


@dataclass(frozen=True, slots=True, eq=False)
class PredictedVisibility:
    """What the views show of the points that a pose predicts, by image region.

    Attributes:
        expected: (V, 64) points that should appear in each region of each view.
        confirmed: (V, 64) those that a keypoint confirms.
        similarity: (V, 64) mean similarity, 0 to 1, of the expected points to the keypoints at their projections; 0
            where none is expected. A point weighs by the number of keyframes that observe it: one that is seldom
            detected is weak evidence when it is missing.
        keypoints: (V, 64) all keypoints of the views.
        matches: keypoints that confirm a point, each with the most similar one.
    """

    expected: Array
    confirmed: Array
    similarity: Array
    keypoints: Array
    matches: Matches

    @property
    def confirmed_shares(self) -> tuple[float, float]:
        """Shares of the expected regions, and of the keypoints, in regions confirmed beyond chance.

        Chance confirms a few points everywhere, and hardly any region of many.
        """
        regions = self.expected >= MIN_EXPECTED
        confirmed = regions & (self.confirmed >= _MIN_CONFIRMED * self.expected)
        explained = self.keypoints[confirmed].sum() / max(int(self.keypoints.sum()), 1)
        return float(confirmed.sum() / max(int(regions.sum()), 1)), float(explained)

    def of_views(self, views: Array) -> PredictedVisibility:
        """The regions of some views, by (V,) bool; the matches are those of all."""
        return replace(
            self,
            expected=self.expected[views],
            confirmed=self.confirmed[views],
            similarity=self.similarity[views],
            keypoints=self.keypoints[views],
        )


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPose:
    """A pose with what the image shows of its prediction; `score_margin` compares two.

    Attributes:
        scene: of the map.
        scene_from_rig: the pose.
        inlier_points: (M,) map points that support it, ascending, each once.
        visibility: of the points that it predicts.
    """

    scene: Scene
    scene_from_rig: Pose
    inlier_points: Array
    visibility: PredictedVisibility


def score_margin(first: ScoredPose, second: ScoredPose) -> float:
    """How much more the image supports the first pose than the second, -1 to 1; negative for the second.

    The signed square root of the mean of signed squared differences in similarity, over the regions in which both
    poses predict something. Views of a rig weigh alike, so that a wrong one has one vote however much it shows; a view
    without keypoints, such as a covered camera, has none.
    """
    a, b = first.visibility, second.visibility
    difference = a.similarity - b.similarity
    gain = difference * np.abs(difference)
    comparable = (a.expected > 0) & (b.expected > 0) & a.keypoints.any(axis=1, keepdims=True)
    if comparable.sum() >= _MIN_REGIONS:
        view_means = [float(of_view[mask].mean()) for of_view, mask in zip(gain, comparable, strict=True) if mask.any()]
        mean = fmean(view_means)
        return float(np.sign(mean) * np.sqrt(abs(mean)))
    # not the inliers that each came with: they depend on how many keypoints were matched for it
    confirmed_a, confirmed_b = (max(int(visibility.confirmed.sum()), 1) for visibility in (a, b))
    return _NUMBER_WEIGHT * float(np.log(confirmed_a / confirmed_b))


class PoseScorer:
    """Scores poses of queries in one map."""

    def __init__(self, map_index: MapIndex) -> None:
        self._index, self._map = map_index, map_index.map
        self._max_distance = map_index.map.descriptor_limit(DescriptorLimit.EVIDENCE)

    def score(self, scene_from_rig: Pose, inlier_points: Array, observation: Observation) -> ScoredPose:
        """What the image shows of the points that a pose predicts.

        They are those that keyframes observe which are covisible with its (M,) inlier points of one scene, M >= 1.
        """
        inlier_points = sorted_unique(inlier_points)
        expected = self._index.covisible_points(inlier_points, keyframes=KEYFRAMES)
        visibility = self.predict_visibility(scene_from_rig, expected, observation)
        return ScoredPose(self._map.scene_of(inlier_points), scene_from_rig, inlier_points, visibility)

    def predict_visibility(self, scene_from_rig: Pose, points: Array, observation: Observation) -> PredictedVisibility:
        """What the views show of (N,) map points of one scene, if they were taken from a pose."""
        views = range(len(observation.query.views))
        parts = [self._in_view(observation, number, scene_from_rig, points) for number in views]
        regions = np.stack([of_regions for of_regions, _, _ in parts], axis=1)
        keypoints, seen = [k for _, k, _ in parts], np.concatenate([p for _, _, p in parts])
        matches = Matches(
            np.repeat(np.arange(len(parts), dtype=np.int32), [len(k) for k in keypoints]),
            np.concatenate([grid.xy[k] for grid, k in zip(observation.grids, keypoints, strict=True)]),
            seen,
            self._map.points[seen].astype(np.float64),
        )
        shown = [
            np.bincount(view.camera.grid_cells(grid.xy, _GRID), minlength=_REGIONS)
            for grid, view in zip(observation.grids, observation.query.views, strict=True)
        ]
        return PredictedVisibility(
            regions[0].astype(np.int64), regions[1].astype(np.int64), regions[2], np.stack(shown), matches
        )

    def _in_view(
        self, observation: Observation, number: int, scene_from_rig: Pose, points: Array
    ) -> tuple[Array, Array, Array]:
        """Of one view (3, 64) expected, confirmed and similarity by region, and the keypoints and points matched."""
        view, grid = observation.query.views[number], observation.grids[number]
        pixels = view.camera.project((scene_from_rig @ view.rig_from_camera).inverse().apply(self._map.points[points]))
        inside = view.camera.contains(pixels)
        pixels, points = pixels[inside], points[inside]
        pairs = pair_at_projections(self._map, points, pixels, grid)
        region, weights = view.camera.grid_cells(pixels, _GRID), self._index.observation_counts(points)
        similar = pairs.within(self._max_distance)
        similarity = np.exp(-((self._nearest_distances(pairs, len(points)) / self._max_distance) ** 2))
        expected = np.bincount(region, minlength=_REGIONS)
        confirmed = np.bincount(region[sorted_unique(similar.rows)], minlength=_REGIONS)
        total = np.maximum(np.bincount(region, weights, minlength=_REGIONS), 1)
        mean_similarity = np.bincount(region, weights * similarity, minlength=_REGIONS) / total
        mutual = similar.mutual()
        return (
            np.stack([expected, confirmed, mean_similarity]),
            mutual.keypoints,
            points[mutual.rows].astype(np.int64),
        )

    def _nearest_distances(self, pairs: GuidedPairs, count: int) -> Array:
        """(N,) distance of each point to the most similar keypoint close to its projection; infinite for none."""
        nearest = np.full(count, np.inf)
        close = pairs.errors_px < _SIMILARITY_RADIUS_PX
        np.minimum.at(nearest, pairs.rows[close], pairs.distances[close])
        return nearest
