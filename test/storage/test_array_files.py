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

"""Array files of any size: groups of columns, pieces of a stream, memory of the caller."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage import arrays
from vloc_ros.storage.arrays import decode_array, encode_array

ARRAYS = {
    "rows": np.random.default_rng(0).integers(-300, 300, (257, 3)).astype(np.int16),
    "many columns": np.random.default_rng(1).integers(0, 9, (40, 64)).astype(np.uint8),
    "differences": np.cumsum(np.random.default_rng(2).integers(0, 50, 300)).astype(np.int64),
    "numbers": np.random.default_rng(3).normal(size=(31, 3, 3)),
    "no rows": np.zeros((0, 3), np.float32),
}


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every array is a large one."""
    for name, value in {"_GROUP_BYTES": 600, "_READ_BYTES": 7, "_INFLATED_BYTES": 11, "_LARGE_BYTES": 1}.items():
        monkeypatch.setattr(arrays, name, value)


def _write(folder: Path, array: Array) -> dict[str, object]:
    entry, data = encode_array("x", array)
    (folder / str(entry["file"])).write_bytes(data)
    return entry


@pytest.mark.parametrize("name", ARRAYS)
def test_a_large_array_comes_back(tmp_path: Path, small_groups: None, name: str) -> None:
    array = ARRAYS[name]
    entry = _write(tmp_path, array)
    out = np.full(array.nbytes, 255, np.uint8)
    for back in (decode_array(tmp_path, "x", entry), decode_array(tmp_path, "x", entry, out=out)):
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
        assert not back.flags.writeable
    assert np.shares_memory(back, out) or not array.size
    assert out.tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ARRAYS)
def test_a_small_array_has_the_file_of_earlier_versions(name: str) -> None:
    array = ARRAYS[name]
    stored = np.diff(array, prepend=0).astype(array.dtype) if array.ndim == 1 else array
    planes = stored.reshape(-1).view(np.uint8).reshape(-1, array.itemsize * max(int(np.prod(array.shape[1:])), 1)).T
    assert encode_array("x", array)[1] == zlib.compress(planes.tobytes(), 9)


@given(cut=st.integers(1, 400))
def test_a_stream_that_ends_early_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    entry = _write(folder, ARRAYS["rows"])
    path = folder / str(entry["file"])
    data = path.read_bytes()
    path.write_bytes(data[: max(len(data) - cut, 0)])
    with pytest.raises(MapError, match=r"cut short|is damaged|cannot hold"):
        decode_array(folder, "x", entry)


@pytest.mark.parametrize("rows", [-1, 1])
def test_a_stream_of_another_length_is_refused(tmp_path: Path, small_groups: None, rows: int) -> None:
    entry = _write(tmp_path, ARRAYS["rows"])
    with pytest.raises(MapError, match="of another size"):
        decode_array(tmp_path, "x", {**entry, "shape": [257 + rows, 3]})
