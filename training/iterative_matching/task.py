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

"""The training of a matcher: pairs of views, the loss of each layer, scores of held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.framework.task import TrainingTask
from training.iterative_matching.batches import (
    LabelledPair,
    MatchBatch,
    MatchBatchKey,
    PairKey,
    collate,
    draw_keypoints,
    label,
    list_batches,
    list_pair_keys,
)
from training.iterative_matching.config import IMP, MatcherTrainingConfig
from training.iterative_matching.imp import ImpMatcher
from training.iterative_matching.layer_matches import batch_of_one
from training.iterative_matching.loss import matching_loss
from training.iterative_matching.network import RotaryMatcher
from training.iterative_matching.scores import MatchViews, score_matches
from training.iterative_matching.sources import JoinedViews
from training.iterative_matching.views import View
from vloc_ros.core.features.iterative_matching import mutual_maxima
from vloc_ros.core.features.matching_network import normalise_positions
from vloc_ros.core.geometry.pose import Array

Matcher = RotaryMatcher | ImpMatcher


class IterativeMatchingTask(TrainingTask[Matcher, MatchBatchKey, MatchBatch]):
    """Training of a matcher.

    Attributes:
        config: all parameters.
        held_out: the pairs that are scored, of scenes that nothing is trained on.
    """

    def __init__(
        self,
        views: JoinedViews,
        pairs: Array,
        held_out: Sequence[LabelledPair],
        config: MatcherTrainingConfig,
        *,
        dimension: int,
    ) -> None:
        """A task.

        Args:
            views: that are trained on.
            pairs: (P, 2) of them.
            held_out: pairs of other scenes.
            config: all parameters.
            dimension: of the descriptors.
        """
        self.config, self.held_out = config, held_out
        self._views, self._pairs, self._dimension = views, pairs, dimension

    def build_network(self) -> Matcher:
        """The network of the configuration."""
        kind = ImpMatcher if self.config.model.kind == IMP else RotaryMatcher
        return kind(self.config.model, dimension=self._dimension)

    @property
    def batches_per_epoch(self) -> int:
        """As many as configured."""
        return -(-self.config.fit.pairs // self.config.fit.batch)

    def list_batches(self, epoch: int, network: Matcher) -> list[MatchBatchKey]:
        """In random order."""
        keys = list_pair_keys(self._pairs, self._views.places, epoch, self.config.data, self.config.fit)
        return list_batches(keys, epoch, self.config.fit.batch)

    def load_batch(self, key: MatchBatchKey) -> MatchBatch:
        """Some keypoints of each view, padded."""
        return collate([self._load_pair(pair, key.epoch) for pair in key.pairs])

    def _load_pair(self, key: PairKey, epoch: int) -> LabelledPair:
        views = [self._views.view(index, epoch=epoch) for index in (key.first, key.second)]
        return draw_keypoints(
            label(*views, self.config.data, same=key.same), self.config.data, self.config.fit, key.seed
        )

    def loss(self, network: Matcher, batch: MatchBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Of the matches of each layer, and what else is configured."""
        return matching_loss(list(network.layers(batch)), batch, self.config.loss)

    def validate(self, network: Matcher) -> dict[str, float]:
        """Scores of the held-out pairs by the last layer."""
        return score_matches(wrap_network(network), self.held_out).as_dict() if self.held_out else {}

    def sample_inputs(self, network: Matcher) -> tuple[Tensor, ...]:
        """A pair of views."""
        count = self.config.fit.scored_keypoints
        return (torch.zeros(count, self._dimension), torch.zeros(count, 2)) * 2


def choose_held_out(views: JoinedViews, pairs: Array, config: MatcherTrainingConfig) -> list[LabelledPair]:
    """Pairs that are scored, of the strongest keypoints; a part are of different places."""
    fit = config.fit
    rng = np.random.default_rng([fit.seed, 3])
    chosen = pairs[rng.permutation(len(pairs))[: fit.scored_pairs]]
    rows = np.arange(fit.scored_keypoints)

    def strongest(index: int) -> View:
        view = views.view(index)
        return view.select(rows[: len(view)])

    found = [label(strongest(first), strongest(second), config.data, same=True) for first, second in chosen.tolist()]
    for first in chosen[: len(chosen) // 10, 0].tolist():
        others = np.flatnonzero(views.places != views.places[first])
        if len(others):
            found.append(label(strongest(first), strongest(int(rng.choice(others))), config.data, same=False))
    return found


def wrap_network(network: Matcher) -> MatchViews:
    """The network as a function of two views."""

    @torch.no_grad()
    def match(first: View, second: View) -> tuple[Array, Array]:
        if not len(first) or not len(second):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        device = next(network.parameters()).device
        of_views = [
            (view.descriptors, normalise_positions(view.xy, *view.size), view.scores) for view in (first, second)
        ]
        sides = [[torch.from_numpy(np.asarray(array, np.float32)).to(device) for array in side] for side in of_views]
        (*first_set, first_scores), (*second_set, second_scores) = sides
        pair = batch_of_one(*first_set, *second_set, scores=(first_scores, second_scores))
        *_, last = network.layers(pair, supervised=False)
        rows, columns, _ = mutual_maxima(last.log_scores[0].float().cpu().numpy())
        return rows, columns

    return match
