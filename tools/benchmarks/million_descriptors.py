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

"""A search among a million descriptors: inverted lists of FAISS on disk, and a vector database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
from benchmarks.provenance import Rows
from benchmarks.real import MissingError
from benchmarks.vector_database import INDEXES, Database, IndexSettings, require_milvus

from vloc_ros.core.geometry.pose import Array

# descriptors of a network, as few lists as make it exact enough, bytes of a code
_SEED, _ROWS, _AXES, _ASKED, _LISTS, _CODES, _SEARCHED = 83_000, 1_000_000, 256, 200, 1024, (16, 32, 64), (8, 32)
_RANKED = 100
# how far a query lies from the row that it is of, and rows that are alike: of unit vectors
_NOISE, _ALIKE, _SPREAD = 1.0, 10, 0.5
_ITERATIONS, _TRAINED_ON = 8, 64


class Descriptors(NamedTuple):
    """Drawn descriptors.

    Attributes:
        rows: (N, D) float32 of length 1, of which ten each are alike, as neighbouring tiles are.
        queries: (Q, D) float32 of length 1, near some of the rows.
        truth: (Q,) the rows that the queries are of.
        exact: (Q, 100) the most similar rows, best first.
        exact_ms: median time of finding them.
    """

    rows: Array
    queries: Array
    truth: Array
    exact: Array
    exact_ms: float


def million_descriptors(out: Path) -> dict[str, Any]:
    """Figures of each search; kept as rows. Those of Milvus are skipped, with the reason, where it is missing."""
    folder, rows, drawn = out / "million_descriptors", Rows.of("million_descriptors"), [_SEED, _ROWS, _AXES, _ASKED]
    of = json.dumps([*drawn, _LISTS, _CODES, _SEARCHED])
    found = {"million": rows.once("million", of=of, measure=lambda: search_codes(folder, draw_descriptors()))}
    for settings in INDEXES:
        of, name = json.dumps([*drawn, settings]), f"milvus {settings.kind}"
        try:
            found[name] = rows.once(name, of=of, measure=partial(_search_database, folder, settings))
        except MissingError as missing:
            print(f"   skipped: {name}: {missing}", flush=True)
    return {**found, "row_revisions": rows.revisions}


@cache
def draw_descriptors() -> Descriptors:
    """The descriptors, and what the exact search finds."""
    rng = np.random.default_rng(_SEED)
    rows = np.repeat(rng.standard_normal((_ROWS // _ALIKE, _AXES), np.float32), _ALIKE, axis=0)
    rows += _SPREAD * rng.standard_normal(rows.shape, np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    truth = rng.choice(_ROWS, _ASKED, replace=False)
    queries = rows[truth] + _NOISE / np.sqrt(_AXES) * rng.standard_normal((_ASKED, _AXES), np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    answers = [_timed(partial(_search_exactly, rows, query)) for query in queries]
    exact = np.array([best for _, best in answers])
    return Descriptors(rows, queries, truth, exact, 1000 * float(np.median([seconds for seconds, _ in answers])))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    done = work()
    return time.perf_counter() - start, done


def _search_exactly(rows: Array, query: Array) -> Array:
    """(100,) the most similar rows, best first."""
    similar = rows @ query
    best = np.argpartition(-similar, _RANKED)[:_RANKED]
    return np.asarray(best[np.argsort(-similar[best])])


def search_codes(folder: Path, drawn: Descriptors) -> dict[str, Any]:
    """FAISS's inverted lists of product-quantised codes on disk, beside the exact search (Jégou et al. 2011)."""
    found: dict[str, Any] = {"rows": _ROWS, "values": _AXES, "queries": _ASKED, "lists": _LISTS, "codes": {}}
    found["exact"] = {"ms": drawn.exact_ms, **_recall(drawn.exact, drawn.truth)}
    folder.mkdir(parents=True, exist_ok=True)
    for size in _CODES:
        found["codes"][str(size)] = _measure_codes(folder / f"million-{size}.faiss", drawn, size)
    return found


def _measure_codes(path: Path, drawn: Descriptors, size: int) -> dict[str, Any]:
    """An index on disk with so many bytes a code, read page by page as a query needs them."""
    start = time.perf_counter()
    centres = faiss.IndexFlatIP(_AXES)
    index = faiss.IndexIVFPQ(centres, _AXES, _LISTS, size, 8, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid = _ITERATIONS, _TRAINED_ON
    index.train(drawn.rows[:: _ROWS // (_TRAINED_ON * _LISTS)])
    index.add(drawn.rows)
    build_s = time.perf_counter() - start
    faiss.write_index(index, str(path))
    del index
    load_s, on_disk = _timed(lambda: faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY))
    found: dict[str, Any] = {"bytes_each": path.stat().st_size / _ROWS, "build_s": build_s, "load_s": load_s}
    for searched in _SEARCHED:
        on_disk.nprobe = searched
        answers = [_timed(partial(on_disk.search, query[None], _RANKED)) for query in drawn.queries]
        ms = 1000 * float(np.median([seconds for seconds, _ in answers]))
        found[str(searched)] = {"ms": ms, **_score(np.array([labels[0] for _, (_, labels) in answers]), drawn)}
    path.unlink()
    return found


def _search_database(folder: Path, settings: IndexSettings) -> dict[str, Any]:
    require_milvus()  # before descriptors are drawn
    return search_database(folder, draw_descriptors(), settings)


def search_database(folder: Path, drawn: Descriptors, settings: IndexSettings) -> dict[str, Any]:
    """An index of Milvus. Times are of CPU, of this process, in which its server runs.

    Raises:
        MissingError: Milvus is not installed.
    """
    start = time.process_time()
    database = Database(folder / f"{settings.kind}.db", drawn.rows, settings)
    try:
        made_s, found = time.process_time() - start, dict[str, Any]()
        for effort in settings.values:
            start = time.process_time()
            ranked = np.array([database.search(query, count=_RANKED, effort=effort) for query in drawn.queries])
            cpu_ms = 1000 * (time.process_time() - start) / len(ranked)
            found[str(effort)] = {"cpu_ms": cpu_ms, **_score(ranked, drawn)}
        return {"bytes_each": database.size_bytes / len(drawn.rows), "build_cpu_s": made_s, "searched": found}
    finally:
        database.close()


def _score(ranked: Array, drawn: Descriptors) -> dict[str, float]:
    """Recall of (Q, 100) rows as they are ranked and compared exactly, and how many of the exact 10 are among them."""
    pairs = zip(ranked, drawn.queries, strict=True)
    again = np.array([one[np.argmax(drawn.rows[one] @ query)] for one, query in pairs])
    shared = [len(np.intersect1d(one, other[:_ALIKE])) for one, other in zip(ranked, drawn.exact, strict=True)]
    return {
        **_recall(ranked, drawn.truth),
        "re-ranked recall@1": float((again == drawn.truth).mean()),
        "of the exact 10": float(np.mean(shared)) / _ALIKE,
    }


def _recall(ranked: Array, truth: Array) -> dict[str, float]:
    found = ranked == truth[:, None]
    return {f"recall@{count}": float(found[:, :count].any(axis=1).mean()) for count in (1, 10, _RANKED)}
