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

"""What is kept on disk is refused where a constant that it depends on has changed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from training.acceptance import scan_worlds, tiles
from training.acceptance.kept_arrays import check_constants, list_constants, save_with_constants
from vloc_ros.core.errors import VlocError


def _module() -> ModuleType:
    module = ModuleType("package.search")
    vars(module).update(_REACH=(1.0, 2.0), LEAST=3, FOLDER=Path("/here"), helper=4, Name=5)
    return module


def test_constants_are_those_in_capitals() -> None:
    assert list_constants(_module()) == {"search.LEAST": "3", "search._REACH": "(1.0, 2.0)"}


def test_arrays_of_other_constants_are_refused(tmp_path: Path) -> None:
    path, module = tmp_path / "a.npz", _module()
    save_with_constants(path, list_constants(module), {"rows": np.arange(3)})
    check_constants(path, list_constants(module))
    module.LEAST = 4  # type: ignore[attr-defined]
    with pytest.raises(VlocError, match=r"search\.LEAST"):
        check_constants(path, list_constants(module))


def test_arrays_without_constants_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", rows=np.arange(3))
    with pytest.raises(VlocError, match="delete it"):
        check_constants(tmp_path / "a.npz", {"search.LEAST": "3"})


def test_scans_and_views_of_other_constants_are_not_used(tmp_path: Path) -> None:
    scans, views = scan_worlds.SPLITS["fit"], tiles.SPLITS[0]
    save_with_constants(tmp_path / "fit-00.npz", scan_worlds.constants_of_scans() | {"scan_worlds._QUERIES": "0"}, {})
    with pytest.raises(VlocError, match=r"scan_worlds\._QUERIES"):
        scan_worlds.simulate(tmp_path, scans, 0)
    save_with_constants(tmp_path / "fit-0-flights.npz", tiles.constants_of_views() | {"tiles._FLIGHTS": "0"}, {})
    with pytest.raises(VlocError, match=r"tiles\._FLIGHTS"):
        tiles._flights(tmp_path, views, 0)
