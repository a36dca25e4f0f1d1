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

"""Matching of two sets of keypoints stage by stage, with pruning and early stopping.

Depth and width adapt as in LightGlue (Lindenberger et al. 2023): keypoints without a match are removed, and no further
layers run when nearly all matches are final. Unlike LightGlue, which counts removed keypoints as final, the share is of
those that remain: it stops later. IMP (Xue et al. 2023) has a pose found between the stages, which may move
the positions of one set: see `MatchingRun.move_second`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import ModelError
from vloc_ros.core.features.matching_network import LayerOutput, MatchableSet, MatchingNetwork, TokenSet
from vloc_ros.core.geometry.pose import Array

# LightGlue's own, chosen by its authors
_MIN_PROBABILITY = 0.1
_UNMATCHABLE = 0.01
_CONFIDENT_SHARE = 0.95
# tokens of a set that pruning leaves, so that a pose can still be found
_LEAST_KEPT = 128


@dataclass(frozen=True, slots=True, eq=False)
class SetMatches:
    """Matches of two sets.

    Attributes:
        first: (M,) int64 rows of the first set, ascending.
        second: (M,) int64 rows of the second set, each once.
        probabilities: (M,) float32.
        is_final: whether further layers would hardly change them, or there are none.
        groups: how many groups of layers have run.
    """

    first: Array
    second: Array
    probabilities: Array
    is_final: bool
    groups: int

    def __len__(self) -> int:
        return len(self.first)


class IterativeMatcher:
    """Matches sets of keypoints by a network, the strongest of each where they are many."""

    def __init__(self, network: MatchingNetwork, *, max_keypoints: int = 1024, adaptive: bool = True) -> None:
        """A matcher.

        Args:
            network: the stages.
            max_keypoints: of each set; time and memory grow with the product of both.
            adaptive: prunes and stops early.
        """
        self.network, self.max_keypoints, self._adaptive = network, max_keypoints, adaptive

    def start(self, first: MatchableSet, second: MatchableSet) -> MatchingRun:
        """Begin to match two sets; of more keypoints than the matcher takes the first ones count.

        Raises:
            ModelError: the descriptors have another length than the network takes.
        """
        for keypoints in (first, second):
            if keypoints.descriptors.shape[1] != self.network.dimension and len(keypoints):
                raise ModelError(
                    f"descriptors have {keypoints.descriptors.shape[1]} values, the matcher {self.network.name} takes "
                    f"{self.network.dimension}: those of {self.network.extractor} ({', '.join(self.network.models)})"
                )
        return MatchingRun(self.network, *map(self._strongest, (first, second)), adaptive=self._adaptive)

    def match(self, first: MatchableSet, second: MatchableSet) -> SetMatches:
        """The matches after the last layers that are needed.

        Raises:
            ModelError: the descriptors have another length than the network takes.
        """
        run = self.start(first, second)
        matches = run.advance()
        while not matches.is_final:
            matches = run.advance()
        return matches

    def _strongest(self, keypoints: MatchableSet) -> MatchableSet:
        kept = slice(self.max_keypoints)
        return MatchableSet(keypoints.positions[kept], keypoints.descriptors[kept])


class MatchingRun:
    """Two sets on their way through the network."""

    def __init__(self, network: MatchingNetwork, first: MatchableSet, second: MatchableSet, *, adaptive: bool) -> None:
        self._network, self._adaptive, self._group = network, adaptive, 0
        self._rows = [np.arange(len(first)), np.arange(len(second))]
        self._sets = [network.embed(keypoints) for keypoints in (first, second)] if len(first) and len(second) else []

    def advance(self) -> SetMatches:
        """Run the next group of layers; only before the matches are final."""
        if not self._sets:
            none = np.zeros(0, np.int64)
            return SetMatches(none, none, np.zeros(0, np.float32), is_final=True, groups=0)
        assert self._group < self._network.groups
        outputs = self._network.run_layers(self._group, *self._sets)
        self._sets = [TokenSet(out.tokens, old.encoding) for out, old in zip(outputs, self._sets, strict=True)]
        log_scores = self._network.assign(self._group, *(of_set.tokens for of_set in self._sets))
        self._group += 1
        first, second, probabilities = mutual_maxima(log_scores)
        is_last = self._group == self._network.groups
        is_final = is_last or (self._adaptive and self._are_final(outputs))
        matches = SetMatches(self._rows[0][first], self._rows[1][second], probabilities, is_final, self._group)
        if self._adaptive and not is_final:
            self._prune(outputs)
        return matches

    def move_second(self, positions: Array, visible: Array) -> None:
        """New positions of the second set, as a pose that was found projects it; what is invisible is removed.

        Args:
            positions: (N, 2) float32 normalised, of all keypoints that the second set had at the start.
            visible: (N,) bool; of those that are not the positions do not count.
        """
        kept = np.flatnonzero(visible[self._rows[1]])
        if not len(kept):
            return
        self._keep(1, kept)
        encoding = self._network.encode_positions(positions[self._rows[1]])
        self._sets[1] = TokenSet(self._sets[1].tokens, encoding)

    def _threshold(self) -> float:
        """Confidence above which a match counts as final: early layers are surer than they should be."""
        return float(0.8 + 0.1 * np.exp(-4.0 * self._group / self._network.groups))

    def _are_final(self, outputs: tuple[LayerOutput, LayerOutput]) -> bool:
        confidence = np.concatenate([out.confidence for out in outputs])
        return bool((confidence >= self._threshold()).mean() > _CONFIDENT_SHARE)

    def _prune(self, outputs: tuple[LayerOutput, LayerOutput]) -> None:
        """Remove tokens that are sure to have no match."""
        for side, out in enumerate(outputs):
            kept = (out.matchability > _UNMATCHABLE) | (out.confidence <= self._threshold())
            if kept.sum() < min(_LEAST_KEPT, len(kept)):
                kept[np.argsort(-out.matchability, kind="stable")[:_LEAST_KEPT]] = True
            self._keep(side, np.flatnonzero(kept))

    def _keep(self, side: int, rows: Array) -> None:
        old = self._sets[side]
        if len(rows) < len(old):
            self._sets[side] = TokenSet(old.tokens[rows], old.encoding[rows])
            self._rows[side] = self._rows[side][rows]


def mutual_maxima(log_scores: Array) -> tuple[Array, Array, Array]:
    """Rows, columns and probabilities of the entries of an (N, M) matrix that are the largest of both, and large."""
    best = log_scores.argmax(axis=1)
    rows = np.flatnonzero(log_scores.argmax(axis=0)[best] == np.arange(len(best)))
    probabilities = np.exp(log_scores[rows, best[rows]])
    likely = probabilities > _MIN_PROBABILITY
    return rows[likely], best[rows][likely], probabilities[likely]
