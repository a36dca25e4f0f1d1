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

"""What the test of an index takes and gives: options, the scores of every re-ranking, rows for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.ranking import Ranking
from vloc_ros.datasets.place_recognition.place_images import PlaceSplit, distance_or_none, positions_of
from vloc_ros.evaluation.place_retrieval import Reranking
from vloc_ros.evaluation.place_scores import PlaceScores

# of positions by local features
POSITION_LIMITS_M = (1.0, 5.0, 25.0)


@dataclass(frozen=True, slots=True)
class TestOptions:
    """How an index is tested.

    Attributes:
        method: of the queries.
        size: height and width to which images are resized; None is the benchmark's, or the model's own.
        scales: of the descriptors.
        radius_m: of positives, and of a place of the database.
        rerankings: each is measured by itself.
        camera: of all images; None guesses one.
    """

    method: str
    size: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    radius_m: float = 25.0
    rerankings: tuple[Reranking, ...] = ()
    camera: Camera | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RerankingResult:
    """What a re-ranking did.

    Attributes:
        reranking: which.
        scores: after it; None where it was refused.
        ms: for one query.
        refused: why.
        position_errors_m: by local features, (Q,) metres, infinite where none was found, or one in another UTM
            zone; None of others.
    """

    reranking: Reranking
    scores: PlaceScores | None
    ms: float
    refused: str = ""
    position_errors_m: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TestResult:
    """What an index did.

    Attributes:
        index: its name.
        dimension: values of a descriptor.
        split: the images that could be read.
        positives: of each query.
        ranking: of the queries.
        scores: of the ranking.
        describe_ms: for one query.
        search_ms: for one query.
        cost: as its manifest has it.
        damaged: images that were left out, and why.
        hash: of the encoder.
        rerankings: in the order of the options.
    """

    index: str
    dimension: int
    split: PlaceSplit
    positives: Sequence[Array]
    ranking: Ranking
    scores: PlaceScores
    describe_ms: float
    search_ms: float
    cost: dict[str, Any]
    damaged: list[str]
    hash: str
    rerankings: list[RerankingResult] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with a row for each query."""
        return {
            "index": self.index,
            "name": Path(self.index).name,
            "hash": self.hash,
            "dimension": self.dimension,
            "bytes_float32": 4 * self.dimension,
            "bytes_in_a_map": self.dimension,
            "describe_ms": self.describe_ms,
            "search_ms": self.search_ms,
            "cost": self.cost,
            "damaged": self.damaged,
            "scores": self.scores.as_dict(),
            "rerankings": [_reranking_as_dict(one) for one in self.rerankings],
            "results": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Of each query its first result, how far away that is (None in another UTM zone), and whether it is right."""
        database = positions_of(self.split.database)
        rows = []
        for q, (query, right) in enumerate(zip(self.split.queries, self.positives, strict=True)):
            first = int(self.ranking.rows[q, 0])
            distances = np.linalg.norm(database - [query.easting_m, query.northing_m], axis=1)
            rows.append(
                {
                    "query": query.name,
                    "first": self.split.database[first].name,
                    "distance_m": distance_or_none(float(distances[first])),
                    "nearest_m": distance_or_none(float(distances.min())),
                    "right": bool(np.isin(first, right)),
                    "positives": len(right),
                    "similarity": float(self.ranking.similarities[q, 0]),
                }
            )
        return rows


def describe_positions(result: TestResult, found: RerankingResult) -> dict[str, Any]:
    """How many queries have a position by local features, how far off these are, and what the first result alone says.

    Shares are of all queries.
    """
    errors, rows = found.position_errors_m, result.rows()
    assert errors is not None
    first = np.array([np.inf if row["distance_m"] is None else row["distance_m"] for row in rows])
    located = errors[np.isfinite(errors)]
    return {
        "located": len(located),
        "median_m": float(np.median(located)) if len(located) else None,
        "first_result_median_m": float(np.median(first[np.isfinite(errors)])) if len(located) else None,
        "within": {f"{limit:g}m": float((errors <= limit).mean()) for limit in POSITION_LIMITS_M},
        "first_result_within": {f"{limit:g}m": float((first <= limit).mean()) for limit in POSITION_LIMITS_M},
    }


def _reranking_as_dict(found: RerankingResult) -> dict[str, Any]:
    values: dict[str, Any] = {"name": str(found.reranking), "ms": found.ms, "refused": found.refused}
    values["scores"] = found.scores.as_dict() if found.scores else None
    if found.position_errors_m is not None:
        values["position_errors_m"] = [e if np.isfinite(e) else None for e in found.position_errors_m.tolist()]
    return values
