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

"""Validation of a cross-modal model on worlds that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.cross_modal.records import RecordSet
from training.cross_modal.scores import PROTOCOLS, make_trial, score_directions
from vloc_ros.core.geometry.pose import Array

# about as many places as a map would have; below the 5 m of many data sets, of which rounding would drop some
_SPACING_M = 4.0


class Validation:
    """Queries and a database of other worlds, and what is right."""

    def __init__(self, records: RecordSet) -> None:
        """Of some records, thinned.

        Raises:
            InputError: none of them is a revisit.
        """
        self.queries, self.database = split_roles(records.thin(_SPACING_M))
        self._trials = {name: make_trial(self.queries, self.database, of) for name, of in PROTOCOLS.items()}

    def score(self, describe: Callable[[RecordSet], dict[str, Array]]) -> dict[str, float]:
        """R@1 of all directions by both protocols; `R@1` is the mean of the two across modalities at 20 m.

        Args:
            describe: (N, D) descriptors of records, by modality.
        """
        queries, database = describe(self.queries), describe(self.database)
        found = {
            f"R@1 {direction} {name}": one.first.value or 0.0
            for name, trial in self._trials.items()
            for direction, one in score_directions(queries, database, trial).items()
        }
        mean = (found["R@1 2D-3D 20 m"] + found["R@1 3D-2D 20 m"]) / 2
        return {"R@1": round(mean, 4), **{name: round(value, 4) for name, value in found.items()}}


def split_roles(records: RecordSet) -> tuple[RecordSet, RecordSet]:
    """Queries and database: the first sequence of a world is its database; a world of one sequence is both."""
    first = {world: records.sequences[records.worlds == world].min() for world in np.unique(records.worlds).tolist()}
    is_database = records.sequences == np.array([first[world] for world in records.worlds.tolist()])
    alone = [world for world in first if not (~is_database & (records.worlds == world)).any()]
    queries = ~is_database | np.isin(records.worlds, alone)
    return records.select(queries), records.select(is_database)
