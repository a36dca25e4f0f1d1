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

"""Makes the ROS wheels' CMake export files fit this environment.

They name its own Python and NumPy headers afterwards, and generate messages for Python (and C, below it) alone.

The wheels were built in a manylinux container, and the export files of the message packages still name its include
folders (`/opt/python/cp3XX-cp3XX/...`). CMake refuses an imported target whose include folder does not exist, so no
message package could be built against them. Nothing in C++ is built against the wheels, and C++ was half of the time
that building vloc_msgs took. Run after every installation of the wheels; a second run changes nothing.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

# also those of this environment before another major version of NumPy was installed
_NUMPY_HEADERS = re.compile(r"/[^;\"]*?/site-packages/numpy/(?:_core|core)/include")
_PYTHON_HEADERS = re.compile(r"/opt/python/[^;\"/]+/include/python3\.\d+")
# how the package of a generator takes part in `rosidl_generate_interfaces`
_REGISTRATION = re.compile(r"ament_register_extension\(\s*\"rosidl_generate_idl_interfaces\"\s+\"\w+_cpp\"[^)]*\)")


def replace_include_folders(text: str, *, python_headers: str, numpy_headers: str) -> str:
    """Return the text of an export file with the container's two include folders replaced."""
    text = _NUMPY_HEADERS.sub(lambda _: numpy_headers, text)
    return _PYTHON_HEADERS.sub(lambda _: python_headers, text)


def remove_cpp_generator(text: str) -> str:
    """Return the text of a package's CMake file without its registration as a generator for C++."""
    return _REGISTRATION.sub("", text)


def main() -> int:
    """Repair every export file below the environment's share folder; print how many were changed."""
    changed = 0
    for path in sorted(Path(sys.prefix, "share").glob("*/cmake/*.cmake")):
        text = path.read_text(encoding="utf-8")
        fixed = replace_include_folders(
            remove_cpp_generator(text), python_headers=sysconfig.get_path("include"), numpy_headers=np.get_include()
        )
        if fixed != text:
            # the file may be a link into the cache of an installer: a new one takes its place
            unfinished = path.with_name(f"{path.name}.part")
            unfinished.write_text(fixed, encoding="utf-8")
            unfinished.replace(path)
            changed += 1
    print(f"{changed} CMake export files repaired")
    return 0


if __name__ == "__main__":
    sys.exit(main())
