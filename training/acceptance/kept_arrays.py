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

"""Arrays kept on disk with the constants that they depend on, so that those of other constants are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vloc_ros.core.errors import VlocError

_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")
_KEY = "constants"


def list_constants(*modules: ModuleType) -> dict[str, str]:
    """The constants of some modules, those that they import included, by module and name; no paths of this machine."""
    return {
        f"{_name(module)}.{name}": repr(value)
        for module in modules
        for name, value in sorted(vars(module).items())
        if _CONSTANT.fullmatch(name) and not isinstance(value, Path)
    }


def _name(module: ModuleType) -> str:
    """Without its package, also where it is run by `python -m`."""
    return (module.__spec__.name if module.__spec__ else module.__name__).rsplit(".", 1)[-1]


def save_with_constants(path: Path, constants: Mapping[str, str], arrays: Mapping[str, Any]) -> None:
    """Write arrays and constants to an npz file in one step."""
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(unfinished, **{**arrays, _KEY: np.array(json.dumps(constants, sort_keys=True))})
    unfinished.replace(path)


def check_constants(path: Path, expected: Mapping[str, str]) -> None:
    """Compare the constants of a file with those of today.

    Raises:
        VlocError: some differ.
    """
    with np.load(path) as arrays:
        found = json.loads(str(arrays[_KEY])) if _KEY in arrays else {}
    differ = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if differ:
        raise VlocError(f"{path}: was made with other constants ({', '.join(differ)}); delete it to make it anew")
