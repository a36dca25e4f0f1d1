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
python tools/first_pose.py --from-disk MAP IMAGE CAMERA

With --from-disk, what the process reads is put out of memory before it starts, as after a reboot: Python, its
libraries, this package, the map with its model, and the image. What another process has mapped stays, so that nothing
else should run from this environment; the line says how much was read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Localize, and print the seconds of each step."""
    if sys.argv[1] == "--from-disk":  # this process has loaded nothing but the standard library
        words = sys.argv[2:]
        for path in (Path(sys.prefix), Path(sys.base_prefix), _ROOT / "vloc_ros", *map(Path, words)):
            _evict(path)
        raise SystemExit(subprocess.run([sys.executable, __file__, *words], check=False).returncode)
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


def _evict(path: Path) -> None:
    """Have the system read this file, or all files of this folder, from the disk when they are read next."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file() and os.access(file, os.R_OK):
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
