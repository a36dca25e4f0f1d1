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

"""Descriptors in Milvus, a vector database that robots of a fleet could share, by its client.

What PyPI has is Milvus Lite, a server in the process of the client with the interface of the distributed one: rows in
segments of 130 000, each with an index of its own. qdrant-client's local mode compares every row and has no index.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.real import MissingError

from vloc_ros.core.geometry.pose import Array
from vloc_ros.progress import bar

_COLLECTION, _VECTOR, _INSERTED = "descriptors", "descriptor", 10_000


class IndexSettings(NamedTuple):
    """How an index is made and searched.

    Attributes:
        kind: name of Milvus.
        build: parameters of building it.
        effort: the parameter that trades recall for time.
        values: of this parameter, that are measured.
    """

    kind: str
    build: dict[str, int]
    effort: str
    values: tuple[int, ...]


# lists of a segment, of which eight have as many as FAISS's of a million rows
INDEXES = (IndexSettings("IVF_FLAT", {"nlist": 128}, "nprobe", (4, 16)),)


def require_milvus() -> None:
    """Import the client and the server, of which the benchmark does not need to have any.

    Raises:
        MissingError: one is not installed.
    """
    try:
        import milvus_lite  # noqa: F401
        import pymilvus  # noqa: F401
    except ImportError as error:
        raise MissingError(f"{error.name} is missing: pip install 'pymilvus[milvus-lite]'") from error


class Database:
    """Descriptors in a Milvus Lite of this process, with an index."""

    def __init__(self, folder: Path, rows: Array, settings: IndexSettings) -> None:
        """Insert (N, D) rows of length 1, and build the index; what was in the folder is lost.

        Raises:
            MissingError: pymilvus or milvus-lite is not installed.
        """
        require_milvus()
        from pymilvus import DataType, MilvusClient

        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._client, self._folder, self._settings = MilvusClient(os.fspath(folder)), folder, settings
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=rows.shape[1])
        self._client.create_collection(_COLLECTION, schema=schema)
        for start in bar(range(0, len(rows), _INSERTED), description=f"Milvus, {settings.kind}"):
            part = enumerate(rows[start : start + _INSERTED], start)
            self._client.insert(_COLLECTION, [{"row": number, _VECTOR: row} for number, row in part])
        self._client.flush(_COLLECTION)
        index = self._client.prepare_index_params()
        index.add_index(field_name=_VECTOR, index_type=settings.kind, metric_type="IP", params=settings.build)
        self._client.create_index(_COLLECTION, index)
        self._client.load_collection(_COLLECTION)

    @property
    def size_bytes(self) -> int:
        """Of its files."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())

    def search(self, query: Array, *, count: int, effort: int) -> Array:
        """(count,) the rows that are found, best first; -1 in place of those that are not."""
        settings: dict[str, Any] = {"metric_type": "IP", "params": {self._settings.effort: effort}}
        (hits,) = self._client.search(_COLLECTION, data=[query], limit=count, search_params=settings)
        found = np.full(count, -1)
        found[: len(hits)] = [hit["row"] for hit in hits]
        return found

    def close(self) -> None:
        """End the server, and remove the files."""
        self._client.close()
        shutil.rmtree(self._folder, ignore_errors=True)
