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

"""A process that localizes one image and says how long that took since it was started; see `benchmarks.engines`.

    python tools/first_pose.py localize|forget MAP IMAGE CAMERA

`forget` drops from memory what `localize` read, as far as no other process uses it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Localize, and print the seconds of each step."""
    what, folder, image, camera = sys.argv[1], *map(Path, sys.argv[2:])
    steps = {"python": _age_s()}
    from vloc_ros.assembly import build_localizer
    from vloc_ros.core.config import LocalizerConfig
    from vloc_ros.core.query import Query
    from vloc_ros.storage.cameras import read_camera
    from vloc_ros.storage.images import read_image
    from vloc_ros.storage.maps import read_map

    steps["libraries"] = _age_s()
    localizer = build_localizer(LocalizerConfig(), read_map(folder))
    steps["map and model"] = _age_s()
    result = localizer.localize(Query.single(read_image(image), read_camera(camera)))
    steps["first pose"], steps["CPU time of all"] = _age_s(), time.process_time()
    if not result.ok:
        raise SystemExit(f"{image} was not localized: {result.reason}")
    if what == "forget":
        _forget([*_loaded_files(), *folder.rglob("*"), image])
    print(json.dumps({name: round(seconds, 3) for name, seconds in steps.items()}))


def _age_s() -> float:
    """Seconds since this process was started."""
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return time.clock_gettime(time.CLOCK_BOOTTIME) - float(ticks) / os.sysconf("SC_CLK_TCK")


def _loaded_files() -> list[Path]:
    """Shared libraries, and Python's modules with their compiled forms."""
    libraries = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    modules = {
        str(name)
        for module in list(sys.modules.values())
        for name in (getattr(module, "__file__", None), getattr(module, "__cached__", None))
        if name
    }
    return [Path(name) for name in libraries | modules]


def _forget(paths: list[Path]) -> None:
    for path in paths:
        if path.is_file():
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
