"""Mining of training batches: positives with little overlap, negatives nearby.

The random choice depends on (seed, epoch, number) alone, so that a resumed training draws the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.place_recognition.config import MiningConfig
from training.place_recognition.labels import Overlap
from training.place_recognition.views import CovisibleImages
from vloc_ros.core.geometry.pose import Array

_POOL = 12
_TURN_PER_DISTANCE = 0.5  # rotation in radians that is equivalent to the typical distance of views that share points


class Miner:
    """Draws batches: groups of an anchor, positives that share points with it, and hard or random negatives."""

    def __init__(self, views: CovisibleImages, overlap: Overlap, config: MiningConfig) -> None:
        self._views, self.overlap, self._config = views, overlap, config
        self._linked = overlap.shared.astype(bool).astype(np.int32)
        self._reach = self._typical_reach()
        self.anchors = np.flatnonzero([len(self.positives(i)) > 0 for i in range(len(views))])

    def positives(self, view: int) -> Array:
        """Other views that share enough points with one, least overlap first."""
        shared, share = self.overlap.row(view)
        shared[view] = 0
        enough = np.flatnonzero(shared >= self._config.min_shared)
        return enough[np.argsort(share[enough], kind="stable")]

    def negatives(self, view: int) -> Array:
        """(N,) bool, which views share no point with one."""
        shared, _ = self.overlap.row(view)
        shared[view] = 1
        return np.asarray(shared == 0)

    def near_by_pose(self, view: int) -> Array:
        """Negatives of the same scene, nearest in position and viewing direction first.

        They are behind a wall, round a corner, or face the other way.
        """
        views = self._views
        candidates = np.flatnonzero(self.negatives(view) & (views.scenes == views.scenes[view]))
        away = np.linalg.norm(views.translations[candidates] - views.translations[view], axis=1) / self._reach
        cosine = views.rotations[candidates, :, 2] @ views.rotations[view, :, 2]
        turned = np.arccos(np.clip(cosine, -1, 1)) / _TURN_PER_DISTANCE
        return candidates[np.argsort(away + turned, kind="stable")]

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

    def batches(self, epoch: int, *, groups: int, seed: int) -> Iterator[tuple[int, ...]]:
        """The views of every batch of an epoch, which has every anchor once."""
        order = np.random.default_rng([seed, epoch]).permutation(self.anchors)
        for number, first in enumerate(range(0, len(order), groups)):
            rng = np.random.default_rng([seed, epoch, number])
            yield tuple(view for anchor in order[first : first + groups] for view in self.group(int(anchor), rng))

    def _typical_reach(self) -> float:
        """Median distance of views that share points."""
        pairs = self.overlap.shared.tocoo()
        apart = self._views.translations[pairs.row] - self._views.translations[pairs.col]
        lengths = np.linalg.norm(apart[(pairs.row != pairs.col) & (pairs.data >= self._config.min_shared)], axis=1)
        return max(float(np.median(lengths)) if len(lengths) else 1.0, 1e-6)
