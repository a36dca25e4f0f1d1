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
