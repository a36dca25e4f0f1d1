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

"""CMake export files of the wheels name the headers of this environment."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPAIR = runpy.run_path(str(ROOT / "tools/wheel_ros/repair_exports.py"))
REPLACE = REPAIR["replace_include_folders"]


@pytest.mark.parametrize(
    "numpy_was",
    [
        "/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include",
        "/home/me/vloc/.venv/lib/python3.12/site-packages/numpy/_core/include",
        "/home/me/vloc/.venv/lib/python3.12/site-packages/numpy/core/include",
    ],
)
def test_the_headers_of_the_container_and_of_another_numpy_are_replaced(numpy_was: str) -> None:
    text = f'set(a "${{_IMPORT_PREFIX}}/include/b;{numpy_was};/opt/python/cp312-cp312/include/python3.12")'
    repaired = REPLACE(text, python_headers="/p/include", numpy_headers="/n/numpy/core/include")
    assert repaired == 'set(a "${_IMPORT_PREFIX}/include/b;/n/numpy/core/include;/p/include")'
    assert REPLACE(repaired, python_headers="/p/include", numpy_headers="/n/numpy/core/include") == repaired


@pytest.mark.parametrize(("generator", "stays"), [("rosidl_typesupport_cpp", False), ("rosidl_typesupport_c", True)])
def test_messages_are_generated_for_c_and_python_alone(generator: str, stays: bool) -> None:
    registration = (
        f'ament_register_extension(\n "rosidl_generate_idl_interfaces"\n "{generator}"\n "{generator}.cmake")'
    )
    text = f"macro(register)\n{registration}\n  set(a b)\nendmacro()"
    assert REPAIR["remove_cpp_generator"](text) == (text if stays else text.replace(registration, ""))


def test_a_file_that_is_linked_into_a_cache_is_replaced_and_the_cache_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, installed = tmp_path / "cached.cmake", tmp_path / "share" / "a" / "cmake" / "a.cmake"
    installed.parent.mkdir(parents=True)
    cached.write_text('set(a "/opt/python/cp312-cp312/include/python3.12")')
    installed.hardlink_to(cached)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    REPAIR["main"]()
    assert "/opt/python" not in installed.read_text()
    assert "/opt/python" in cached.read_text()
    assert list(installed.parent.iterdir()) == [installed]
