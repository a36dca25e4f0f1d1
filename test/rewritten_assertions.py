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

"""Test files as pytest compiles them, with assertions that show their values; none is compiled in a new checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest


def rewrite_assertions(config: pytest.Config, folder: Path, *, processes: int) -> None:
    """Compile the test files of a folder once; otherwise each process of pytest-xdist would compile all of them."""
    try:
        from _pytest.assertion.rewrite import PYC_TAIL, _read_pyc, _rewrite_test, _write_pyc, assertstate_key
    except ImportError:  # not of pytest's public interface
        return
    if sys.dont_write_bytecode or assertstate_key not in config.stash:  # --assert=plain
        return
    state, missing = config.stash[assertstate_key], []
    for file in (*folder.rglob("test_*.py"), *folder.rglob("conftest.py")):
        compiled = file.parent / "__pycache__" / (file.stem + PYC_TAIL)
        if _read_pyc(file, compiled) is None:
            missing.append((file, compiled))
    children = []
    for number in range(processes if missing else 0):
        child = os.fork()
        if not child:
            try:
                for file, compiled in missing[number::processes]:
                    compiled.parent.mkdir(exist_ok=True)
                    source, code = _rewrite_test(file, config)
                    _write_pyc(state, code, source, compiled)
            finally:  # a file with an error is reported where it is loaded
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
