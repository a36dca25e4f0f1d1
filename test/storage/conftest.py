"""Fixtures of the storage tests."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from stored_map import make_map

from vloc_ros.storage.maps import write_map

_LIMIT_BYTES = 20_000


@pytest.fixture
def full_disk() -> Iterator[int]:
    """No file may grow beyond this many bytes: the system then fails writes half-way, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT_BYTES, hard))
    yield _LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_map(make_map(), tmp_path / "map")
    return tmp_path / "map"
