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

"""Which records a batch has: places at random, each with a second record of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from training.cross_modal.config import PairConfig
from training.cross_modal.records import RecordSet
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array


class PlaceFit(Protocol):
    """What a batch is made by.

    Attributes:
        places: of a batch.
        batches: of an epoch; 0 for every record once.
        seed: of the order.
    """

    @property
    def places(self) -> int: ...  # noqa: D102
    @property
    def batches(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


class BatchKey(NamedTuple):
    """A batch: its epoch and number, which seed the augmentation, and its records."""

    epoch: int
    number: int
    records: tuple[int, ...]


def count_batches(records: RecordSet, fit: PlaceFit) -> int:
    """Batches of an epoch: as many as configured, or every record once."""
    return fit.batches or -(-len(records) // fit.places)


def list_batches(records: RecordSet, pairs: PairConfig, fit: PlaceFit, epoch: int) -> list[BatchKey]:
    """Places at random, each with a second record of it, of another drive where there is one."""
    rng = np.random.default_rng([fit.seed, epoch])
    order = np.resize(rng.permutation(len(records)), (count_batches(records, fit), fit.places))
    return [
        BatchKey(epoch, k, (*anchors, *(find_partner(records, one, pairs, rng) for one in anchors)))
        for k, anchors in enumerate(order.tolist())
    ]


def label(records: RecordSet, config: PairConfig) -> tuple[Array, Array]:
    """(B, B) bool, which records show one place, themselves included, and which show different ones."""
    metres, angles = records.distances(records), records.angles(records)
    limit = np.radians(config.max_angle_deg)
    positive = (metres <= config.positive_m) & (angles <= limit)
    # what looks the other way shows something else, but the same surroundings
    negative = (metres >= config.negative_m) | (angles > 2 * limit)
    return positive, negative & ~positive


def find_partner(records: RecordSet, anchor: int, config: PairConfig, rng: np.random.Generator) -> int:
    """Another record of the same place, of another sequence where there is one; the record itself where none is."""
    one = records.select(np.array([anchor]))
    metres, angles = one.distances(records)[0], one.angles(records)[0]
    near = (metres <= config.positive_m) & (angles <= np.radians(config.max_angle_deg))
    near[anchor] = False
    other = near & (records.sequences != records.sequences[anchor])
    found = np.flatnonzero(other if other.any() else near)
    return int(rng.choice(found)) if len(found) else anchor


def require_pairs(records: RecordSet, config: PairConfig) -> None:
    """Raise InputError where no record has another one of its place."""
    for anchor in range(len(records)):
        if find_partner(records, anchor, config, np.random.default_rng(0)) != anchor:
            return
    raise InputError(
        f"no two of {len(records)} records are within {config.positive_m:g} m and {config.max_angle_deg:g} degrees, "
        "expected records of the same places; set a larger pairs.positive_m, or name other recordings"
    )
