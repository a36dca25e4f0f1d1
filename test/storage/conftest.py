"""Fixtures of the storage tests."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

_LIMIT_BYTES = 20_000


@pytest.fixture
def full_disk() -> Iterator[int]:
    """No file may grow beyond this many bytes: the system then fails writes half-way, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT_BYTES, hard))
    yield _LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
