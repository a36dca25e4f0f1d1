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

python tools/first_pose.py MAP IMAGE CAMERA
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Localize, and print the seconds of each step."""
    folder, image, camera = map(Path, sys.argv[1:])
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
    steps["MB read"] = _read_mb()
    if not result.ok:
        raise SystemExit(f"{image} was not localized: {result.reason}")
    print(json.dumps({name: round(seconds, 3) for name, seconds in steps.items()}))


def _age_s() -> float:
    """Seconds since this process was started."""
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return time.clock_gettime(time.CLOCK_BOOTTIME) - float(ticks) / os.sysconf("SC_CLK_TCK")


def _read_mb() -> float:
    """What had to be read from the disk for this process."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes")) / 1e6


if __name__ == "__main__":
    main()
