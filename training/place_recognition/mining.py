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

"""Mining of training batches: positives with little overlap, negatives nearby.

The random choice depends on (seed, epoch, number) alone, so that a resumed training draws the same batches.
"""

from __future__ import annotations

import numpy as np

from training.data.overlap import Overlap
from training.data.posed_images import PosedImages
from training.place_recognition.config import MiningConfig, PlaceFitConfig
from training.place_recognition.examples import ViewBatchKey
from vloc_ros.core.geometry.pose import Array

_POOL = 12
_TURN_PER_DISTANCE = 0.5  # rotation in radians that is equivalent to the typical distance of views that share points


class Miner:
    """Draws batches: groups of an anchor, positives that share points with it, and hard or random negatives."""

    def __init__(self, views: PosedImages, overlap: Overlap, config: MiningConfig) -> None:
        self._views, self.overlap, self._config = views, overlap, config
        self._linked = overlap.linked.astype(np.int32)
        self._reach = self._typical_reach()
        self.anchors = np.flatnonzero([len(self.positives(i)) > 0 for i in range(len(views))])

    def positives(self, view: int) -> Array:
        """Other views of the same place as one, least overlap first."""
        positive, _, share = self.overlap.row(view)
        positive[view] = False
        enough = np.flatnonzero(positive)
        return enough[np.argsort(share[enough], kind="stable")]

    def negatives(self, view: int) -> Array:
        """(N,) bool, which views share nothing with one."""
        _, linked, _ = self.overlap.row(view)
        linked[view] = True
        return ~linked

    def near_by_pose(self, view: int) -> Array:
        """Negatives of the same scene, nearest in position and, where it is known, viewing direction first.

        They are behind a wall, round a corner, or face the other way.
        """
        views = self._views
        candidates = np.flatnonzero(self.negatives(view) & (views.scenes == views.scenes[view]))
        away = np.linalg.norm(views.positions[candidates] - views.positions[view], axis=1) / self._reach
        if views.rotations is not None:
            cosine = views.rotations[candidates, :, 2] @ views.rotations[view, :, 2]
            away = away + np.arccos(np.clip(cosine, -1, 1)) / _TURN_PER_DISTANCE
        return candidates[np.argsort(away, kind="stable")]

    def near_by_covisibility(self, view: int) -> Array:
        """Negatives that share points with a third view, as one does; most such views first."""
        links = np.asarray((self._linked[view] @ self._linked).todense()).ravel()
        candidates = np.flatnonzero(self.negatives(view) & (links > 0))
        return candidates[np.argsort(-links[candidates], kind="stable")]

    def group(self, anchor: int, rng: np.random.Generator) -> list[int]:
        """An anchor, its positives and its negatives."""
        config, positives = self._config, self.positives(anchor)
        chosen = [anchor]
        for number in range(config.positives):
            # every other one from the half with least overlap
            pool = positives[: max(1, len(positives) // 2)] if number % 2 else positives
            chosen.append(int(rng.choice(pool)))
        others = np.flatnonzero(self.negatives(anchor))
        pools = [others]
        if config.negative_selection == "hard":
            pools = [self.near_by_pose(anchor)[:_POOL], self.near_by_covisibility(anchor)[:_POOL]]
        for number in range(config.negatives):
            near = pools[number % len(pools)]
            pool = near if len(near) else others
            chosen.append(int(rng.choice(pool if len(pool) else np.arange(len(self._views)))))
        return chosen

    def count_batches(self, groups: int) -> int:
        """The number of batches of an epoch."""
        return -(-len(self.anchors) // groups)

    def list_batches(self, epoch: int, fit: PlaceFitConfig) -> list[ViewBatchKey]:
        """The keys of an epoch's batches, which have every anchor once."""
        order = np.random.default_rng([fit.seed, epoch]).permutation(self.anchors)
        keys = []
        for number, first in enumerate(range(0, len(order), fit.groups)):
            rng = np.random.default_rng([fit.seed, epoch, number])
            anchors = order[first : first + fit.groups]
            keys.append(
                ViewBatchKey(epoch, number, tuple(view for one in anchors for view in self.group(int(one), rng)))
            )
        return keys

    def _typical_reach(self) -> float:
        """Median distance of views that share points."""
        pairs = self.overlap.positive.tocoo()
        apart = self._views.positions[pairs.row] - self._views.positions[pairs.col]
        lengths = np.linalg.norm(apart[(pairs.row != pairs.col) & pairs.data], axis=1)
        return max(float(np.median(lengths)) if len(lengths) else 1.0, 1e-6)
