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

"""Recorded hypotheses of many queries, in an npz file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import VlocError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.acceptance import EVIDENCE_OF, KEYPOINT_KIND

# images of the mapped world; of another one that looks like it; of another place; of a room furnished alike; of the
# mapped world with a prior that is wrong
KINDS_OF_QUERY = ("own", "aliased", "foreign", "furnished alike", "misplaced")
OWN, ALIASED, FOREIGN, FURNISHED_ALIKE, MISPLACED = range(len(KINDS_OF_QUERY))
# changes with what evidence means, so that no table is fitted to evidence of two meanings
_VERSION = 2
_COLUMNS = ("kind", "condition", "world", "map", "prior")


@dataclass(frozen=True, slots=True, eq=False)
class RecordedQuery:
    """The hypotheses of one query in one map.

    Attributes:
        evidence: (N, E) float32.
        labels: N labels; 1 right, 0 wrong, -1 between.
        kind: index in `KINDS_OF_QUERY`.
        condition: index in `CONDITIONS`.
        world: number of the world that the image shows.
        map: number of the map.
        prior: 1 where the query had one, else 0.
    """

    evidence: Array
    labels: Sequence[int]
    kind: int
    condition: int
    world: int
    map: int
    prior: int


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """What a query gave: its evidence, and of right hypotheses the errors and covariances."""

    query: RecordedQuery
    errors: Array
    covariances: Array


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceTable:
    """Recorded hypotheses, one a row, and the queries that they are of.

    Attributes:
        evidence: (N, E) float32.
        label: (N,) int8; 1 right, 0 wrong, -1 between.
        query: (N,) int64 row of `queries`.
        queries: (Q, 5) int32 kind, condition, world, map and prior of each query, with or without hypotheses.
        evidence_kind: of the hypotheses, a name of `EVIDENCE_OF`.
    """

    evidence: Array
    label: Array
    query: Array
    queries: Array
    evidence_kind: str = KEYPOINT_KIND

    @property
    def names(self) -> tuple[str, ...]:
        """Of the E columns of the evidence."""
        return EVIDENCE_OF[self.evidence_kind]

    def evidence_of(self, name: str) -> Array:
        """(N,) one piece of evidence."""
        return np.asarray(self.evidence[:, self.names.index(name)])

    @staticmethod
    def of_queries(recorded: Sequence[RecordedQuery], evidence_kind: str = KEYPOINT_KIND) -> EvidenceTable:
        """The table of recorded queries."""
        return EvidenceTable(
            np.concatenate([one.evidence for one in recorded]),
            np.concatenate([np.asarray(one.labels, np.int8) for one in recorded]),
            np.repeat(np.arange(len(recorded)), [len(one.labels) for one in recorded]),
            np.array([[getattr(one, name) for name in _COLUMNS] for one in recorded], np.int32),
            evidence_kind,
        )

    def column(self, name: str) -> Array:
        """(N,) what the query of every hypothesis has in a column."""
        return np.asarray(self.queries[self.query, _COLUMNS.index(name)])

    def queries_of(self, kind: int) -> Array:
        """(M,) rows of the queries of a kind."""
        return np.flatnonzero(self.queries[:, 0] == kind)

    def without(self, kind: int) -> EvidenceTable:
        """The table without the queries of a kind."""
        kept = self.queries[:, 0] != kind
        rows, number = kept[self.query], np.cumsum(kept) - 1
        return replace(
            self,
            evidence=self.evidence[rows],
            label=self.label[rows],
            query=number[self.query[rows]],
            queries=self.queries[kept],
        )

    def save(self, path: Path) -> None:
        """Write an npz file."""
        np.savez_compressed(
            path,
            evidence=self.evidence,
            label=self.label,
            query=self.query,
            queries=self.queries,
            version=np.array([_VERSION]),
            names=np.array(self.names),
        )

    @staticmethod
    def load(path: Path, evidence_kind: str = KEYPOINT_KIND) -> EvidenceTable:
        """Read an npz file of a kind of evidence.

        Raises:
            VlocError: it holds other evidence than this version records.
        """
        with np.load(path, allow_pickle=False) as arrays:
            names = EVIDENCE_OF[evidence_kind]
            if "version" not in arrays or arrays["version"][0] != _VERSION or tuple(arrays["names"]) != names:
                raise VlocError(f"{path}: was recorded by another version of the evidence; delete it to record it anew")
            return EvidenceTable(arrays["evidence"], arrays["label"], arrays["query"], arrays["queries"], evidence_kind)


def join_tables(tables: Sequence[EvidenceTable]) -> EvidenceTable:
    """The queries of several tables of one kind of evidence as those of one."""
    firsts = np.cumsum([0, *(len(table.queries) for table in tables)])
    return replace(
        tables[0],
        evidence=np.concatenate([table.evidence for table in tables]),
        label=np.concatenate([table.label for table in tables]),
        query=np.concatenate([table.query + first for table, first in zip(tables, firsts, strict=False)]),
        queries=np.concatenate([table.queries for table in tables]),
    )
